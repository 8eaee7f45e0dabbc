import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultCrypto, nativeCrypto } from '../../src/crypto/native.ts'
import { nobleCrypto } from '../../src/crypto/noble.ts'
import type { CurveName } from '../../src/crypto/provider.ts'
import { cryptoProviderSuite, misaligned } from '../suites/crypto-provider.ts'

const native = nativeCrypto()
cryptoProviderSuite(native)

const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length })
const data = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc.integer({ min: 500, max: 3000 }).map((length) => new Uint8Array(length).fill(0x5a)),
)

test('the native primitives of Node are all taken', () => {
  // Only Node promises them; elsewhere the suite above shows that whatever was taken works.
  const runtime = globalThis as { readonly process?: { readonly release?: { name?: string } } }
  const isNode = runtime.process?.release?.name === 'node' && !('Bun' in globalThis)
  if (!isNode || 'Deno' in globalThis) return
  assert.equal([...native.fast].sort(), [
    'aes-ctr',
    'aes-gcm',
    'chacha20',
    'ecdh',
    'ecdsa',
    'ed25519',
    'hash',
    'hmac',
    'modpow',
    'rsa',
    'x25519',
  ])
})

test('the default provider is probed once', () => {
  assert.is(defaultCrypto(), defaultCrypto())
  assert.equal([...defaultCrypto().fast], [...native.fast])
})

test('native and portable code agree on symmetric primitives', () => {
  void fc.assert(
    fc.property(bytes(32), bytes(16), data, fc.nat({ max: 3 }), (key, iv, plain, offset) => {
      const name = 'sha512' as const
      assert.equal(native.hash(name, plain, iv), nobleCrypto.hash(name, plain, iv))
      assert.equal(
        native.hmac('sha256', key).packet(0xfffffffe, plain),
        nobleCrypto.hmac('sha256', key).packet(0xfffffffe, plain),
      )
      const one = misaligned(plain, offset)
      const two = misaligned(plain, offset)
      const nonce = iv.subarray(0, 12)
      const tag = native.aesGcm(key).seal(nonce, iv, one)
      assert.equal(nobleCrypto.aesGcm(key).seal(nonce, iv, two), tag)
      assert.equal(one, two)
      native.aesCtr(key, iv).apply(one)
      nobleCrypto.aesCtr(key, iv).apply(two)
      assert.equal(one, two)
      native.chacha20(key, iv.subarray(0, 8), 7, one)
      nobleCrypto.chacha20(key, iv.subarray(0, 8), 7, two)
      assert.equal(one, two)
      assert.equal(native.poly1305(key, one), nobleCrypto.poly1305(key, two))
    }),
    { numRuns: 60 },
  )
})

test('modPow with a modulus of its own is not held up by a test for primality', () => {
  // Odd and of 4096 bits; OpenSSL would take seconds to look at each, beyond this file's limit.
  for (let round = 0; round < 20; round++) {
    const modulus = native.random(512)
    modulus[0]! |= 0x80
    modulus[511]! |= 1
    assert.is(native.modPow(new Uint8Array([5]), native.random(64), modulus).length, 512)
  }
})

test('native and portable code agree on curves, each with the keys of the other', () => {
  void fc.assert(
    fc.property(bytes(32), bytes(32), data, (one, two, message) => {
      const point = nobleCrypto.ed25519.publicKey(one)
      assert.equal(native.ed25519.publicKey(one), point)
      const signature = native.ed25519.sign(one, message)
      assert.equal(nobleCrypto.ed25519.sign(one, message), signature)
      assert.ok(nobleCrypto.ed25519.verify(point, message, signature))
      // Any 32 bytes are a point on the curve or its twist.
      assert.equal(native.x25519.agree(one, two), nobleCrypto.x25519.agree(one, two))
    }),
    {
      numRuns: 10,
      examples: [[new Uint8Array(32), new Uint8Array(32).fill(9), new Uint8Array(0)]],
    },
  )
  for (const curve of ['nistp256', 'nistp384', 'nistp521'] satisfies CurveName[]) {
    const one = native.ecdh.generate(curve)
    const two = nobleCrypto.ecdh.generate(curve)
    assert.equal(
      native.ecdh.agree(curve, one.secretKey, two.publicKey),
      nobleCrypto.ecdh.agree(curve, two.secretKey, one.publicKey),
    )
    assert.equal(native.ecdsa.publicKey(curve, two.secretKey), two.publicKey)
    const message = native.random(50)
    const first = native.ecdsa.sign(curve, two.secretKey, message)
    assert.ok(nobleCrypto.ecdsa.verify(curve, two.publicKey, message, first))
    const second = nobleCrypto.ecdsa.sign(curve, one.secretKey, message)
    assert.ok(native.ecdsa.verify(curve, one.publicKey, message, second))
  }
})

test('many keys are generated without the runtime locking up', () => {
  // Node 20 deadlocks in `KeyObject.export` if the job that generated the key is collected then,
  // which 3000 keys were enough for nearly always. This test would not end.
  for (let count = 0; count < 5000; count++) {
    const { publicKey } = native.x25519.generate()
    if (publicKey.length !== 32) assert.unreachable()
  }
})

test.run()
