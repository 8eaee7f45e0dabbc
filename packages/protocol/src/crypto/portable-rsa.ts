/**
 * RSASSA-PKCS1-v1_5 (RFC 8017 §8.2) on the engine's big integers. Signing blinds the message and
 * checks its own result, so that neither time nor a computing error gives the key away; still, a
 * native implementation is to be preferred where there is one.
 */
import {
  bitLength,
  bytesOf,
  integer,
  isProbablePrime,
  modInverse,
  modPow,
  randomInteger,
  shortBytesOf,
} from './big-integers.ts'
import { equalBytes } from './equal-bytes.ts'
import { fromHex } from './hex.ts'
import type { CryptoProvider, HashName, RsaPrivateKey, RsaPublicKey } from './provider.ts'

/** Moduli in use. Shorter ones are breakable, longer ones a way to keep a verifier busy. */
export const RSA_BITS_MIN: number = 2048
export const RSA_BITS_MAX: number = 16384

/** Longest public exponent; OpenSSL draws the same line. */
const EXPONENT_BITS_MAX = 64
const EXPONENT = 65537n

/** DER of DigestInfo up to the digest, RFC 8017 §9.2 note 1. */
const DIGEST_INFO: Readonly<Partial<Record<HashName, Uint8Array>>> = {
  sha1: fromHex('3021300906052b0e03021a05000414'),
  sha256: fromHex('3031300d060960864801650304020105000420'),
  sha384: fromHex('3041300d060960864801650304020205000430'),
  sha512: fromHex('3051300d060960864801650304020305000440'),
}

/** What is needed of a provider. */
type Source = Pick<CryptoProvider, 'random' | 'hash'>

/** RSA over big integers, with randomness and hashes from `source`. */
export function portableRsa(source: Source): CryptoProvider['rsa'] {
  return {
    generate: (bits) => generate(source, bits),
    sign: (hash, key, data) => sign(source, hash, key, data),
    verify(hash, key, data, signature) {
      try {
        return verify(source, hash, key, data, signature)
      } catch {
        return false
      }
    },
  }
}

/** True for a modulus and exponent that are worth the work of a verification. */
export function isSoundRsaKey({ modulus, publicExponent }: RsaPublicKey): boolean {
  const bits = bitLength(modulus)
  if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX || (modulus.at(-1)! & 1) === 0) return false
  const exponentBits = bitLength(publicExponent)
  return (
    exponentBits >= 2 && exponentBits <= EXPONENT_BITS_MAX && (publicExponent.at(-1)! & 1) === 1
  )
}

/** What is wrong with a key that is not sound, in words. */
export function faultOfRsaKey({ modulus }: RsaPublicKey): string {
  const bits = bitLength(modulus)
  return bits < RSA_BITS_MIN || bits > RSA_BITS_MAX
    ? `the RSA key has ${bits} bits, where ${RSA_BITS_MIN} to ${RSA_BITS_MAX} are allowed; ` +
        'make a new one with "ssh-keygen -t rsa -b 3072"'
    : `the RSA key is damaged: its modulus is even, or its exponent even or over ${EXPONENT_BITS_MAX} bits`
}

function verify(
  source: Source,
  hash: HashName,
  key: RsaPublicKey,
  data: Uint8Array,
  signature: Uint8Array,
): boolean {
  const modulus = integer(key.modulus)
  const length = (bitLength(key.modulus) + 7) >> 3
  const value = integer(signature)
  if (signature.length !== length || value >= modulus) return false
  const opened = bytesOf(modPow(value, integer(key.publicExponent), modulus), length)
  // The whole padding is made and compared: parsing it instead is how signatures get forged.
  return equalBytes(opened, padded(source, hash, data, length))
}

function sign(source: Source, hash: HashName, key: RsaPrivateKey, data: Uint8Array): Uint8Array {
  const modulus = integer(key.modulus)
  const exponent = integer(key.publicExponent)
  const length = (bitLength(key.modulus) + 7) >> 3
  const message = integer(padded(source, hash, data, length))
  const p = integer(key.primeP)
  const q = integer(key.primeQ)
  const d = integer(key.privateExponent)

  const blind = (randomInteger(source.random, bitLength(key.modulus) - 1) % (modulus - 2n)) + 2n
  const hidden = (message * modPow(blind, exponent, modulus)) % modulus
  // The Chinese remainder theorem makes it four times as fast.
  const atP = modPow(hidden % p, d % (p - 1n), p)
  const atQ = modPow(hidden % q, d % (q - 1n), q)
  const difference = (((atP - atQ) % p) + p) % p
  const joined = atQ + q * ((difference * integer(key.coefficient)) % p)
  const result = (joined * modInverse(blind, modulus)) % modulus
  // A fault in one half would let anyone factor the modulus.
  if (modPow(result, exponent, modulus) !== message) throw new RangeError('the key is damaged')
  return bytesOf(result, length)
}

/** EMSA-PKCS1-v1_5, RFC 8017 §9.2. */
function padded(source: Source, hash: HashName, data: Uint8Array, length: number): Uint8Array {
  const info = DIGEST_INFO[hash]
  if (info === undefined) throw new RangeError(`no RSA signature with ${hash}`)
  const digest = source.hash(hash, data)
  const start = length - info.length - digest.length
  if (start < 11) throw new RangeError('the modulus is too short')
  const message = new Uint8Array(length).fill(0xff, 2, start - 1)
  message[1] = 1
  message.set(info, start)
  message.set(digest, start + info.length)
  return message
}

function generate(source: Source, bits: number): RsaPrivateKey {
  if (!(bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX && bits % 64 === 0)) {
    throw new RangeError(`bits: must be a multiple of 64 from ${RSA_BITS_MIN} to ${RSA_BITS_MAX}`)
  }
  for (;;) {
    const p = randomPrime(source, bits / 2)
    const q = randomPrime(source, bits / 2)
    const distance = p > q ? p - q : q - p
    // FIPS 186-5 §A.1.3: not so close together that Fermat finds them.
    if (distance >> BigInt(bits / 2 - 100) === 0n) continue
    return rsaFromPrimes(p, q, EXPONENT)
  }
}

/** All numbers of a key from its primes. Throws RangeError if the exponent does not fit them. */
export function rsaFromPrimes(p: bigint, q: bigint, publicExponent: bigint): RsaPrivateKey {
  return {
    modulus: shortBytesOf(p * q),
    publicExponent: shortBytesOf(publicExponent),
    privateExponent: shortBytesOf(modInverse(publicExponent, (p - 1n) * (q - 1n))),
    primeP: shortBytesOf(p),
    primeQ: shortBytesOf(q),
    coefficient: shortBytesOf(modInverse(q, p)),
  }
}

function randomPrime(source: Source, bits: number): bigint {
  // The two highest bits, so that the product has all its bits; and odd.
  const fixed = (3n << BigInt(bits - 2)) | 1n
  for (;;) {
    const candidate = randomInteger(source.random, bits) | fixed
    if ((candidate - 1n) % EXPONENT === 0n) continue
    if (isProbablePrime(candidate, source.random, 20)) return candidate
  }
}
