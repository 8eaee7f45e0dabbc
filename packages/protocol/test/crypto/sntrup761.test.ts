import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { fromHex } from '../../src/crypto/hex.ts'
import { nativeCrypto } from '../../src/crypto/native.ts'
import {
  sntrup761Decapsulate,
  sntrup761Encapsulate,
  sntrup761Generate,
} from '../../src/crypto/sntrup761.ts'
import {
  decodeRounded,
  decodeRq,
  decodeSmall,
  encodeRounded,
  encodeRq,
  encodeSmall,
} from '../../src/crypto/sntrup761-encoding.ts'
import {
  inverseInR3,
  inverseOfThreeTimes,
  multiplyInR3,
  multiplyInRq,
  P,
  WEIGHT,
} from '../../src/crypto/sntrup761-rings.ts'
import { toHex } from '../suites/crypto-provider.ts'
import known from '../vectors/sntrup761.json' with { type: 'json' }

const crypto = nativeCrypto()

test('sntrup761 opens the known answers of liboqs, damaged ones included', () => {
  for (const vector of known.vectors) {
    const secretKey = fromHex(vector.secretKey)
    const ciphertext = fromHex(vector.ciphertext)
    assert.is(toHex(sntrup761Decapsulate(crypto, secretKey, ciphertext)), vector.sharedSecret)
    ciphertext[vector.damagedCiphertextByte]! ^= 1
    assert.is(toHex(sntrup761Decapsulate(crypto, secretKey, ciphertext)), vector.rejectedSecret)
  }
})

test('sntrup761 encapsulates to the keys of liboqs', () => {
  for (const vector of known.vectors) {
    const made = sntrup761Encapsulate(crypto, fromHex(vector.publicKey))
    const opened = sntrup761Decapsulate(crypto, fromHex(vector.secretKey), made.ciphertext)
    assert.equal(opened, made.sharedSecret)
  }
})

test('sntrup761 agrees with itself, and never twice on the same secret', () => {
  const { secretKey, publicKey } = sntrup761Generate(crypto)
  assert.is(publicKey.length, 1158)
  assert.is(secretKey.length, 1763)
  const first = sntrup761Encapsulate(crypto, publicKey)
  const second = sntrup761Encapsulate(crypto, publicKey)
  assert.not.equal(first.sharedSecret, second.sharedSecret)
  for (const { ciphertext, sharedSecret } of [first, second]) {
    assert.is(ciphertext.length, 1039)
    assert.equal(sntrup761Decapsulate(crypto, secretKey, ciphertext), sharedSecret)
  }
})

test('a damaged ciphertext gives another secret, always the same one', () => {
  const { secretKey, publicKey } = sntrup761Generate(crypto)
  const { ciphertext, sharedSecret } = sntrup761Encapsulate(crypto, publicKey)
  for (const at of [0, 500, 1006, 1007, 1038]) {
    const damaged = ciphertext.slice()
    damaged[at]! ^= 1
    const rejected = sntrup761Decapsulate(crypto, secretKey, damaged)
    assert.not.equal(rejected, sharedSecret)
    assert.equal(sntrup761Decapsulate(crypto, secretKey, damaged), rejected)
  }
})

test('values of a wrong length or form are refused', () => {
  const { secretKey, publicKey } = sntrup761Generate(crypto)
  assert.throws(
    () => sntrup761Encapsulate(crypto, publicKey.subarray(1)),
    (error: unknown) => error instanceof RangeError,
  )
  assert.throws(() => sntrup761Encapsulate(crypto, new Uint8Array(1158).fill(255)), /canonical/)
  assert.throws(
    () => sntrup761Decapsulate(crypto, secretKey, new Uint8Array(1038)),
    (error: unknown) => error instanceof RangeError,
  )
  assert.throws(
    () => sntrup761Decapsulate(crypto, secretKey.subarray(1), new Uint8Array(1039)),
    (error: unknown) => error instanceof RangeError,
  )
})

test('a secret key is short: 286 coefficients are not zero', () => {
  for (let count = 0; count < 3; count++) {
    const f = decodeSmall(sntrup761Generate(crypto).secretKey.subarray(0, 191))
    assert.is(f.filter((value) => value !== 0).length, WEIGHT)
  }
})

test('inverses are inverses', () => {
  const { secretKey } = sntrup761Generate(crypto)
  const f = decodeSmall(secretKey.subarray(0, 191))
  const tripled = f.map((value) => 3 * value)
  const one = multiplyInRq(inverseOfThreeTimes(f), tripled)
  assert.equal(Array.from(one), [1, ...new Array<number>(P - 1).fill(0)])
  const gInverse = decodeSmall(secretKey.subarray(191, 382))
  const g = inverseInR3(gInverse)
  assert.ok(g !== undefined)
  if (g === undefined) return
  assert.equal(Array.from(multiplyInR3(g, gInverse)), [1, ...new Array<number>(P - 1).fill(0)])
  assert.is(inverseInR3(new Int8Array(P)), undefined)
})

test('encodings round trip', () => {
  const values = (min: number, max: number): fc.Arbitrary<number[]> =>
    fc.array(fc.integer({ min, max }), { minLength: P, maxLength: P })
  void fc.assert(
    fc.property(values(-2295, 2295), values(-765, 765), values(-1, 1), (wide, thirds, small) => {
      const rq = Int16Array.from(wide)
      assert.is(encodeRq(rq).length, 1158)
      assert.equal(decodeRq(encodeRq(rq)), rq)
      const rounded = Int16Array.from(thirds, (value) => 3 * value)
      assert.is(encodeRounded(rounded).length, 1007)
      assert.equal(decodeRounded(encodeRounded(rounded)), rounded)
      const tiny = Int8Array.from(small)
      assert.equal(decodeSmall(encodeSmall(tiny)), tiny)
    }),
    { numRuns: 20 },
  )
})

test.run()
