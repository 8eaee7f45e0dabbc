import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  aes128Ctr,
  aes128Gcm,
  aes192Ctr,
  aes256Ctr,
  aes256Gcm,
  chacha20Poly1305,
} from '../../src/algorithms/ciphers.ts'
import {
  aes128Cbc,
  aes192Cbc,
  aes256Cbc,
  hmacSha1,
  hmacSha1Etm,
} from '../../src/algorithms/legacy.ts'
import { hmacSha256, hmacSha256Etm, hmacSha512, hmacSha512Etm } from '../../src/algorithms/macs.ts'
import type { CipherSpec, DirectionKeys, MacSpec } from '../../src/algorithms/spec.ts'
import { fromHex } from '../../src/crypto/hex.ts'
import { nativeCrypto } from '../../src/crypto/native.ts'
import { nobleCrypto } from '../../src/crypto/noble.ts'
import { toHex } from '../suites/crypto-provider.ts'

const native = nativeCrypto()
const macs = [hmacSha256, hmacSha256Etm, hmacSha512, hmacSha512Etm]
const pairs: readonly (readonly [CipherSpec, MacSpec | undefined])[] = [
  ...[aes256Gcm, aes128Gcm, chacha20Poly1305].map((cipher) => [cipher, undefined] as const),
  ...[aes256Ctr, aes192Ctr, aes128Ctr].flatMap((cipher) =>
    macs.map((mac) => [cipher, mac] as const),
  ),
  ...[aes256Cbc, aes192Cbc, aes128Cbc].flatMap((cipher) =>
    [hmacSha1, hmacSha1Etm].map((mac) => [cipher, mac] as const),
  ),
]

function keysFor(cipher: CipherSpec, mac: MacSpec | undefined): DirectionKeys {
  return {
    iv: native.random(cipher.ivBytes),
    key: native.random(cipher.keyBytes),
    macKey: native.random(mac?.keyBytes ?? 0),
  }
}

/** A padded packet with room for the tag, at an offset within a larger buffer. */
function packet(
  payload: Uint8Array,
  sealer: { blockBytes: number; lengthCounts: boolean; tagBytes: number },
  offset: number,
): Uint8Array {
  const counted = 1 + payload.length + (sealer.lengthCounts ? 4 : 0)
  let padding = sealer.blockBytes - (counted % sealer.blockBytes)
  if (padding < 4) padding += sealer.blockBytes
  const length = 1 + payload.length + padding
  const bytes = new Uint8Array(offset + 4 + length + sealer.tagBytes).subarray(offset)
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, length)
  bytes[4] = padding
  bytes.set(payload, 5)
  return bytes
}

for (const [cipher, mac] of pairs) {
  const name = mac === undefined ? cipher.name : `${cipher.name} with ${mac.name}`

  test(`${name}: what native seals the portable code opens, and the other way round`, () => {
    for (const [from, to] of [
      [native, nobleCrypto],
      [nobleCrypto, native],
    ] as const) {
      void fc.assert(
        fc.property(
          fc.array(fc.uint8Array({ minLength: 1, maxLength: 700 }), { minLength: 1, maxLength: 4 }),
          fc.nat({ max: 3 }),
          fc.oneof(fc.constant(0), fc.constant(0xfffffffe), fc.nat({ max: 0xffffffff })),
          (payloads, offset, start) => {
            const keys = keysFor(cipher, mac)
            const sealer = cipher.seal(from, keys, mac)
            const opener = cipher.open(to, keys, mac)
            let sequenceNumber = start
            for (const payload of payloads) {
              const bytes = packet(payload, sealer, offset)
              const body = toHex(bytes.subarray(4, bytes.length - sealer.tagBytes))
              const length = bytes.length - 4 - sealer.tagBytes
              sealer.seal(bytes, sequenceNumber)
              const head = bytes.subarray(0, opener.headBytes)
              assert.is(opener.packetLength(head, sequenceNumber), length)
              const opened = opener.open(bytes, sequenceNumber)
              assert.is(opened && toHex(opened), body)
              sequenceNumber = (sequenceNumber + 1) >>> 0
            }
          },
        ),
        { numRuns: 12 },
      )
    }
  })

  test(`${name}: a flipped bit anywhere is refused`, () => {
    for (const crypto of [native, nobleCrypto]) {
      const sealer0 = cipher.seal(crypto, keysFor(cipher, mac), mac)
      const size = packet(new Uint8Array(20), sealer0, 0).length
      for (let at = 0; at < size; at++) {
        const keys = keysFor(cipher, mac)
        const sealer = cipher.seal(crypto, keys, mac)
        const bytes = packet(new Uint8Array(20), sealer, 0)
        sealer.seal(bytes, 5)
        bytes[at]! ^= 1 << (at & 7)
        const opener = cipher.open(crypto, keys, mac)
        opener.packetLength(bytes.subarray(0, opener.headBytes), 5)
        assert.not(opener.open(bytes, 5), `byte ${at}`)
      }
    }
  })

  test(`${name}: a packet replayed, dropped or reordered is refused`, () => {
    const keys = keysFor(cipher, mac)
    const sealer = cipher.seal(native, keys, mac)
    const first = packet(new Uint8Array(20), sealer, 0)
    const second = packet(new Uint8Array(20), sealer, 0)
    sealer.seal(first, 0)
    sealer.seal(second, 1)

    const dropping = cipher.open(native, keys, mac)
    const copy = second.slice()
    dropping.packetLength(copy.subarray(0, dropping.headBytes), 0)
    assert.not(dropping.open(copy, 0))

    const replaying = cipher.open(native, keys, mac)
    const again = first.slice()
    replaying.packetLength(first.subarray(0, replaying.headBytes), 0)
    assert.ok(replaying.open(first, 0))
    replaying.packetLength(again.subarray(0, replaying.headBytes), 1)
    assert.not(replaying.open(again, 1))
  })
}

test('GCM counts invocations in the last eight bytes of the nonce, with carry', () => {
  const keys = {
    iv: fromHex('01020304ffffffffffffffff'),
    key: new Uint8Array(16),
    macKey: new Uint8Array(0),
  }
  const sealer = aes128Gcm.seal(nobleCrypto, keys, undefined)
  sealer.seal(packet(new Uint8Array(3), sealer, 0), 0)
  const wrapped = packet(new Uint8Array(3), sealer, 0)
  sealer.seal(wrapped, 1)

  const expected = packet(new Uint8Array(3), sealer, 0)
  const end = expected.length - 16
  const tag = nobleCrypto
    .aesGcm(keys.key)
    .seal(fromHex('010203040000000000000000'), expected.subarray(0, 4), expected.subarray(4, end))
  expected.set(tag, end)
  assert.equal(wrapped, expected)
})

test('a cipher without a MAC of its own demands one', () => {
  const keys = keysFor(aes256Ctr, undefined)
  assert.throws(() => aes256Ctr.seal(native, keys, undefined), /without a MAC/)
  assert.throws(() => aes256Ctr.open(native, keys, undefined), /without a MAC/)
})

test('ChaCha20-Poly1305 encrypts the length with the second half of the key only', () => {
  const keys = keysFor(chacha20Poly1305, undefined)
  const other = { ...keys, key: keys.key.slice() }
  other.key.fill(9, 32)
  const sealed = [keys, other].map((keyset) => {
    const sealer = chacha20Poly1305.seal(native, keyset, undefined)
    const bytes = packet(new Uint8Array(11), sealer, 0)
    sealer.seal(bytes, 77)
    return bytes
  })
  assert.not.equal(sealed[0]?.subarray(0, 4), sealed[1]?.subarray(0, 4))
  assert.equal(sealed[0]?.subarray(4, -16), sealed[1]?.subarray(4, -16))
})

test.run()
