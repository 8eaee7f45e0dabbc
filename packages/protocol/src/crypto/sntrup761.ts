/**
 * Streamlined NTRU Prime, parameter set sntrup761: the key encapsulation that OpenSSH 8.5 to 9.8
 * offer against quantum computers. Written from the specification (Bernstein, Brumley, Chen,
 * Chuengsatiansup, Lange, Marotzke, Peng, Tuveri, van Vredendaal, van Beirendonck, Wang: "NTRU
 * Prime: round 3", 2020). Secrets choose neither branches nor indices; beyond that a JavaScript
 * engine promises nothing about time.
 */
import { equalBytes } from './equal-bytes.ts'
import type { CryptoProvider } from './provider.ts'
import {
  decodeRounded,
  decodeRq,
  decodeSmall,
  encodeRounded,
  encodeRq,
  encodeSmall,
} from './sntrup761-encoding.ts'
import {
  inverseInR3,
  inverseOfThreeTimes,
  multiplyInR3,
  multiplyInRq,
  P,
  Q,
  WEIGHT,
} from './sntrup761-rings.ts'

const SMALL_BYTES = 191
const ROUNDED_BYTES = 1007
const HASH_BYTES = 32

/** Bytes of a public key. */
export const SNTRUP761_PUBLIC_KEY_BYTES = 1158
/** Bytes of a ciphertext, its confirmation included. */
export const SNTRUP761_CIPHERTEXT_BYTES: number = ROUNDED_BYTES + HASH_BYTES

/** A key pair; the secret key is f, 1/g, the public key, the value for rejection and a hash. */
export interface Sntrup761KeyPair {
  readonly secretKey: Uint8Array
  readonly publicKey: Uint8Array
}

/** What is needed of a provider. */
type Source = Pick<CryptoProvider, 'random' | 'hash'>

/** Makes a key pair. Takes tens of milliseconds. */
export function sntrup761Generate(crypto: Source): Sntrup761KeyPair {
  let g: Int8Array
  let gInverse: Int8Array | undefined
  do {
    g = randomSmall(crypto)
    gInverse = inverseInR3(g)
    // About one in three has none; that says nothing about the one that is taken.
  } while (gInverse === undefined)
  const f = randomShort(crypto)
  const publicKey = encodeRq(multiplyInRq(inverseOfThreeTimes(f), g))
  const secretKey = joined(
    encodeSmall(f),
    encodeSmall(gInverse),
    publicKey,
    // What to answer with when a ciphertext is wrong, so that nobody can tell.
    crypto.random(SMALL_BYTES),
    hash(crypto, 4, publicKey),
  )
  return { secretKey, publicKey }
}

/** Encapsulates to a public key. Throws RangeError for one of a wrong length or encoding. */
export function sntrup761Encapsulate(
  crypto: Source,
  publicKey: Uint8Array,
): { readonly ciphertext: Uint8Array; readonly sharedSecret: Uint8Array } {
  if (publicKey.length !== SNTRUP761_PUBLIC_KEY_BYTES) {
    throw new RangeError(`publicKey must have ${SNTRUP761_PUBLIC_KEY_BYTES} bytes`)
  }
  const h = decodeRq(publicKey)
  if (!equalBytes(encodeRq(h), publicKey)) throw new RangeError('publicKey is not canonical')
  const r = randomShort(crypto)
  const encoded = encodeSmall(r)
  const ciphertext = hide(crypto, r, encoded, h, hash(crypto, 4, publicKey))
  return { ciphertext, sharedSecret: session(crypto, 1, encoded, ciphertext) }
}

/**
 * Opens a ciphertext. One that was not made for this key gives a secret that nobody else has,
 * rather than an error (implicit rejection). Throws RangeError for a wrong length only.
 */
export function sntrup761Decapsulate(
  crypto: Source,
  secretKey: Uint8Array,
  ciphertext: Uint8Array,
): Uint8Array {
  if (ciphertext.length !== SNTRUP761_CIPHERTEXT_BYTES) {
    throw new RangeError(`ciphertext must have ${SNTRUP761_CIPHERTEXT_BYTES} bytes`)
  }
  const [fBytes, gBytes, publicKey, rejection, keyHash] = split(secretKey, [
    SMALL_BYTES,
    SMALL_BYTES,
    SNTRUP761_PUBLIC_KEY_BYTES,
    SMALL_BYTES,
    HASH_BYTES,
  ]) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array]
  const c = decodeRounded(ciphertext.subarray(0, ROUNDED_BYTES))
  const r = decrypt(c, decodeSmall(fBytes), decodeSmall(gBytes))
  const encoded = encodeSmall(r)
  const again = hide(crypto, r, encoded, decodeRq(publicKey), keyHash)

  let difference = 0
  for (let at = 0; at < again.length; at++) difference |= again[at]! ^ ciphertext[at]!
  // All ones if anything differs, else zero.
  const mask = -((difference + 255) >> 8)
  for (let at = 0; at < SMALL_BYTES; at++) {
    encoded[at] = encoded[at]! ^ (mask & (encoded[at]! ^ rejection[at]!))
  }
  return session(crypto, 1 + mask, encoded, ciphertext)
}

/** The ciphertext for a fixed r: deterministic, so that decapsulation can repeat it. */
function hide(
  crypto: Source,
  r: Int8Array,
  encoded: Uint8Array,
  h: Int16Array,
  keyHash: Uint8Array,
): Uint8Array {
  const rounded = multiplyInRq(h, r)
  for (let at = 0; at < P; at++) {
    // To the nearest multiple of three.
    const value = rounded[at]!
    rounded[at] = value - smallRemainder(value)
  }
  const confirmation = hash(crypto, 2, hash(crypto, 3, encoded), keyHash)
  return joined(encodeRounded(rounded), confirmation)
}

/** The core of decryption: r from c = Round(h·r), if c is such. */
function decrypt(c: Int16Array, f: Int8Array, gInverse: Int8Array): Int8Array {
  const product = multiplyInRq(c, f)
  const e = new Int8Array(P)
  for (let at = 0; at < P; at++) {
    const tripled = 3 * product[at]!
    const reduced = tripled - Q * Math.floor((tripled + (Q >> 1) + 0.5) / Q)
    e[at] = smallRemainder(reduced)
  }
  const r = multiplyInR3(e, gInverse)
  let weight = 0
  for (let at = 0; at < P; at++) weight += r[at]! & 1
  // A wrong weight gives a fixed r, of the right weight, which then fails to reproduce c.
  const mask = -(((weight - WEIGHT) | (WEIGHT - weight)) >>> 31)
  for (let at = 0; at < P; at++) {
    const fixed = at < WEIGHT ? 1 : 0
    r[at] = (r[at]! & ~mask) | (fixed & mask)
  }
  return r
}

/** The remainder modulo three in −1, 0, 1. */
function smallRemainder(value: number): number {
  return value - 3 * Math.floor((value + 1.5) / 3)
}

function hash(crypto: Source, prefix: number, ...parts: readonly Uint8Array[]): Uint8Array {
  return crypto.hash('sha512', Uint8Array.of(prefix), ...parts).slice(0, HASH_BYTES)
}

function session(
  crypto: Source,
  prefix: number,
  encoded: Uint8Array,
  ciphertext: Uint8Array,
): Uint8Array {
  return hash(crypto, prefix, hash(crypto, 3, encoded), ciphertext)
}

function randomWords(crypto: Source): Uint32Array {
  const bytes = crypto.random(4 * P)
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  return Uint32Array.from({ length: P }, (_, at) => view.getUint32(4 * at, true))
}

/** Coefficients −1, 0 and 1, as good as equally often. */
function randomSmall(crypto: Source): Int8Array {
  const words = randomWords(crypto)
  const small = new Int8Array(P)
  for (let at = 0; at < P; at++) small[at] = (((words[at]! & 0x3fffffff) * 3) / 0x40000000) | 0
  for (let at = 0; at < P; at++) small[at]! -= 1
  return small
}

/** Exactly `WEIGHT` coefficients are ±1, at random places: random words with marks are sorted. */
function randomShort(crypto: Source): Int8Array {
  const words = randomWords(crypto)
  for (let at = 0; at < P; at++) {
    words[at] = at < WEIGHT ? words[at]! & ~1 : (words[at]! & ~3) | 1
  }
  sortWords(words)
  const short = new Int8Array(P)
  for (let at = 0; at < P; at++) short[at] = (words[at]! & 3) - 1
  return short
}

/** Batcher's odd-even merge sort: which elements are compared depends on the length only. */
function sortWords(words: Uint32Array): void {
  const length = words.length
  for (let p = 1; p < length; p *= 2) {
    for (let k = p; k >= 1; k >>= 1) {
      for (let j = k % p; j + k < length; j += 2 * k) {
        const end = Math.min(k, length - j - k)
        for (let i = 0; i < end; i++) {
          const low = i + j
          const high = low + k
          if (Math.floor(low / (2 * p)) !== Math.floor(high / (2 * p))) continue
          const a = words[low]!
          const b = words[high]!
          // The borrow of b − a, in all bits: no branch on what is compared.
          const swap = Math.floor((b - a) / 2 ** 32) & (a ^ b)
          words[low] = a ^ swap
          words[high] = b ^ swap
        }
      }
    }
  }
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

function split(bytes: Uint8Array, lengths: readonly number[]): readonly Uint8Array[] {
  if (bytes.length !== lengths.reduce((sum, length) => sum + length)) {
    throw new RangeError('secretKey has a wrong length')
  }
  let at = 0
  return lengths.map((length) => {
    at += length
    return bytes.subarray(at - length, at)
  })
}
