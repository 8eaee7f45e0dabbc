/**
 * Every primitive on the portable @noble libraries. Works wherever JavaScript does. Table lookups
 * (AES, GHASH) and big-integer arithmetic (curves) are not constant-time in a strict sense: a
 * JavaScript engine gives no such promise. Native code is laid over this where there is any.
 */
import { unsafe as aes } from '@noble/ciphers/aes.js'
import { chacha20orig } from '@noble/ciphers/chacha.js'
import { ed25519, x25519 } from '@noble/curves/ed25519.js'
import { p256, p384, p521 } from '@noble/curves/nist.js'
import { hmac } from '@noble/hashes/hmac.js'
import { md5, sha1 } from '@noble/hashes/legacy.js'
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js'
import { ml_kem768, ml_kem1024 } from '@noble/post-quantum/ml-kem.js'
import { bytesOf, integer, modPow } from './big-integers.ts'
import { poly1305 } from './poly1305.ts'
import { portableGcm } from './portable-gcm.ts'
import { portableRsa } from './portable-rsa.ts'
import type { CryptoProvider, HashName, KeyedMac, StreamCipher } from './provider.ts'

const hashes = { md5, sha1, sha256, sha384, sha512 }
const curves = { nistp256: p256, nistp384: p384, nistp521: p521 }
const kems = { 768: ml_kem768, 1024: ml_kem1024 }

/** `getRandomValues` gives at most this many bytes a call. */
const RANDOM_BYTES_MAX = 65536

function random(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at += RANDOM_BYTES_MAX) {
    globalThis.crypto.getRandomValues(bytes.subarray(at, at + RANDOM_BYTES_MAX))
  }
  return bytes
}

/** The state after the key pads is kept and cloned for each packet, which saves two compressions. */
function keyedHmac(name: keyof typeof hashes, key: Uint8Array): KeyedMac {
  const keyed = hmac.create(hashes[name], key)
  const sequence = new Uint8Array(4)
  const view = new DataView(sequence.buffer)
  return {
    packet(sequenceNumber, data) {
      view.setUint32(0, sequenceNumber)
      return keyed.clone().update(sequence).update(data).digest()
    },
  }
}

/**
 * Counter mode over the expanded key. Whole blocks, which is all that packets ask for when they
 * are aligned to words, go straight through; odd ends leave the rest of a keystream block behind.
 */
function aesCtr(key: Uint8Array, iv: Uint8Array): StreamCipher {
  if (iv.length !== 16) throw new RangeError('iv must have 16 bytes')
  const expanded = aes.expandKeyLE(key)
  const counter = iv.slice()
  const block = new Uint8Array(16)
  let used = 16
  return {
    apply(data) {
      let at = 0
      while (at < data.length && used < 16) data[at++]! ^= block[used++]!
      const whole = (data.length - at) & ~15
      if (whole > 0) {
        const part = data.subarray(at, at + whole)
        if ((part.byteOffset & 3) === 0) aes.ctrCounter(expanded, counter, part, part)
        else part.set(aes.ctrCounter(expanded, counter, part.slice()))
        at += whole
      }
      if (at === data.length) return
      aes.ctrCounter(expanded, counter, block.fill(0), block)
      used = 0
      while (at < data.length) data[at++]! ^= block[used++]!
    },
  }
}

function hash(name: HashName, ...parts: readonly Uint8Array[]): Uint8Array {
  const state = hashes[name].create()
  for (const part of parts) state.update(part)
  return state.digest()
}

/**
 * The portable provider.
 *
 * @example
 * import { nobleCrypto } from '@sandbox-ssh/protocol'
 *
 * // Portable code alone, whatever the runtime could do.
 * const client = await pair({}, { crypto: nobleCrypto })
 * console.log((await client.ping()) > 0) // true
 */
export const nobleCrypto: CryptoProvider = {
  name: 'noble',
  fast: new Set(),
  random,
  hash,
  hmac: keyedHmac,
  aesGcm: portableGcm,
  aesCtr,
  chacha20(key, nonce, counter, data) {
    chacha20orig(key, nonce, data, data, counter)
  },
  poly1305,
  x25519: {
    generate: () => {
      const secretKey = random(32)
      return { secretKey, publicKey: x25519.getPublicKey(secretKey) }
    },
    agree: (secretKey, peerPublicKey) => x25519.getSharedSecret(secretKey, peerPublicKey),
  },
  ecdh: {
    generate: (curve) => ecKeyPair(curve),
    agree: (curve, secretKey, peerPublicKey) =>
      // The compressed form is one byte of sign and the X coordinate.
      curves[curve].getSharedSecret(secretKey, uncompressed(curve, peerPublicKey), true).slice(1),
  },
  ed25519: {
    generate: () => {
      const secretKey = random(32)
      return { secretKey, publicKey: ed25519.getPublicKey(secretKey) }
    },
    publicKey: (seed) => ed25519.getPublicKey(seed),
    sign: (seed, data) => ed25519.sign(data, seed),
    verify(publicKey, data, signature) {
      try {
        // RFC 8032 §5.1.7 as written, not the laxer ZIP 215.
        return ed25519.verify(signature, data, publicKey, { zip215: false })
      } catch {
        return false
      }
    },
  },
  ecdsa: {
    generate: (curve) => ecKeyPair(curve),
    publicKey: (curve, secretKey) => curves[curve].getPublicKey(secretKey, false),
    sign: (curve, secretKey, data) => curves[curve].sign(data, secretKey, { lowS: false }),
    verify(curve, publicKey, data, signature) {
      try {
        const point = uncompressed(curve, publicKey)
        return curves[curve].verify(signature, data, point, { lowS: false })
      } catch {
        return false
      }
    },
  },
  rsa: portableRsa({ random, hash }),
  modPow(base, exponent, modulus) {
    const prime = integer(modulus)
    const value = integer(base)
    if (value <= 1n || value >= prime - 1n) throw new RangeError('base out of range')
    return bytesOf(modPow(value, integer(exponent), prime), modulus.length)
  },
  mlKem: {
    generate: (parameters) => {
      const kem = kems[parameters]
      return kem.keygen(random(64))
    },
    encapsulate(parameters, publicKey) {
      const { cipherText, sharedSecret } = kems[parameters].encapsulate(publicKey, random(32))
      return { ciphertext: cipherText, sharedSecret }
    },
    decapsulate: (parameters, secretKey, ciphertext) =>
      kems[parameters].decapsulate(ciphertext, secretKey),
  },
}

function ecKeyPair(curve: keyof typeof curves): { secretKey: Uint8Array; publicKey: Uint8Array } {
  const secretKey = curves[curve].utils.randomSecretKey()
  return { secretKey, publicKey: curves[curve].getPublicKey(secretKey, false) }
}

/** RFC 5656 §3.1 allows point compression "MAY", nobody uses it, and OpenSSH refuses it. */
function uncompressed(curve: keyof typeof curves, point: Uint8Array): Uint8Array {
  if (point.length !== curves[curve].lengths.publicKeyUncompressed) {
    throw new RangeError(`a point of ${curve} must be uncompressed`)
  }
  return point
}
