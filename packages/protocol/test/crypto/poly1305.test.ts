import { poly1305 as library } from '@noble/ciphers/_poly1305.js'
import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { poly1305 } from '../../src/crypto/poly1305.ts'

/** Bytes whose runs of ones and zeros drive every carry. */
const extreme = fc.constantFrom(0, 1, 2, 4, 5, 127, 128, 251, 252, 253, 254, 255)
const bytes = (minLength: number, maxLength: number): fc.Arbitrary<Uint8Array> =>
  fc.oneof(
    fc.uint8Array({ minLength, maxLength }),
    fc.array(extreme, { minLength, maxLength }).map((array) => new Uint8Array(array)),
    fc
      .tuple(extreme, fc.integer({ min: minLength, max: maxLength }))
      .map(([byte, length]) => new Uint8Array(length).fill(byte)),
  )

test('Poly1305 agrees with the library, at the edges of every limb', () => {
  void fc.assert(
    fc.property(bytes(32, 32), bytes(0, 200), (key, data) => {
      assert.equal(poly1305(key, data), library(data, key))
    }),
    { numRuns: 20_000 },
  )
})

test('Poly1305 reduces sums just below, at and above the prime', () => {
  // With r = 1 and s = 0 the tag is the sum of the blocks modulo 2^130 − 5, cut to 128 bits.
  const key = new Uint8Array(32)
  key[0] = 1
  for (let last = 0; last < 256; last++) {
    const data = new Uint8Array(48).fill(255)
    data.fill(0, 32)
    data[0] = last
    data[32] = 255 - last
    assert.equal(poly1305(key, data), library(data, key), `${last}`)
  }
})

test('Poly1305 demands a key of 32 bytes', () => {
  assert.throws(
    () => poly1305(new Uint8Array(31), new Uint8Array(1)),
    (error: unknown) => error instanceof RangeError,
  )
})

test.run()
