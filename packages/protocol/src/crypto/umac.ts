/**
 * UMAC with tags of 64 and 128 bits, RFC 4418. The work is in NH, which multiplies words of the
 * message by words of the key; the polynomials above it see 8 bytes for every 1024. Products are
 * taken in halves of 16 bits, which doubles hold exactly, so no big integers are made but one or two
 * a KiB. No branch depends on a key; those on the message are of the algorithm.
 */
import type { CryptoProvider } from './provider.ts'

/** Bytes of a block of the first layer. */
const BLOCK_BYTES = 1024
/** §5.2: the last, shorter one is padded to a multiple of this. */
const PAD_BYTES = 32
/** Layers that POLY-64 alone can hash, §5.3: 16 MiB. A packet has 256 KiB at the most. */
const MESSAGE_BYTES_MAX = 2 ** 24
const P36 = 2 ** 36 - 5
const P64 = 2n ** 64n - 59n
const MASK64 = 0x01ffffff01ffffffn
/** Below this a number may stand for itself in POLY-64. */
const RANGE64 = 2n ** 64n - 2n ** 32n

/** Makes tags with one key. */
export type Umac = (nonce: Uint8Array, message: Uint8Array) => Uint8Array

/** A stream of hashing; as many as the tag has words of 32 bits. */
interface Stream {
  readonly k64: bigint
  /** Eight numbers below 2^36 - 5. */
  readonly k36: Float64Array
  /** Four bytes as one number. */
  readonly mask: number
}

/**
 * A function that makes tags of `tagBytes` under a key of 16 bytes. A nonce has 8 bytes and must not
 * come again for another message. Throws RangeError for other sizes, and messages over 16 MiB.
 */
export function umac(crypto: CryptoProvider, key: Uint8Array, tagBytes: 8 | 16): Umac {
  if (key.length !== 16) throw new RangeError('key must have 16 bytes')
  const count = tagBytes / 4
  const derive = (index: number, bytes: number): Uint8Array => kdf(crypto, key, index, bytes)
  const nhKey = words(derive(1, BLOCK_BYTES + (count - 1) * 16))
  const [l2, l3, l4] = [derive(2, count * 24), derive(3, count * 64), derive(4, count * 4)]
  const masks = words(l4)
  const streams: Stream[] = Array.from({ length: count }, (_, at) => ({
    k64: uint64(l2, at * 24) & MASK64,
    k36: Float64Array.from({ length: 8 }, (_, part) =>
      Number(uint64(l3, at * 64 + part * 8) % BigInt(P36)),
    ),
    mask: masks[at] ?? 0,
  }))
  const padKey = derive(0, 16)
  const nh = new NonlinearHash(nhKey, count)

  return (nonce, message) => {
    if (nonce.length !== 8) throw new RangeError('nonce must have 8 bytes')
    if (message.length > MESSAGE_BYTES_MAX) throw new RangeError('message must have 16 MiB at most')
    const tag = pad(crypto, padKey, nonce, tagBytes)
    const hashes = hashed(nh, streams, message)
    for (const [at, hash] of hashes.entries()) {
      for (let byte = 0; byte < 4; byte++) tag[at * 4 + byte]! ^= hash >>> (24 - byte * 8)
    }
    return tag
  }
}

/** UHASH, §5: a word of 32 bits from each stream. */
function hashed(nh: NonlinearHash, streams: readonly Stream[], message: Uint8Array): number[] {
  if (message.length <= BLOCK_BYTES) {
    nh.block(message, 0, message.length)
    return streams.map((stream, at) => inner(stream, 0, 0, nh.high[at]!, nh.low[at]!))
  }
  const sums = streams.map(() => 1n)
  for (let start = 0; start < message.length; start += BLOCK_BYTES) {
    nh.block(message, start, Math.min(BLOCK_BYTES, message.length - start))
    for (const [at, { k64 }] of streams.entries()) {
      sums[at] = poly64(k64, sums[at]!, (BigInt(nh.high[at]!) << 32n) | BigInt(nh.low[at]!))
    }
  }
  return streams.map((stream, at) => {
    const sum = sums[at]!
    return inner(stream, 0, 0, Number(sum >> 32n), Number(sum & 0xffffffffn))
  })
}

/** One step of POLY-64, §5.3.2. */
function poly64(key: bigint, sum: bigint, word: bigint): bigint {
  if (word < RANGE64) return (key * sum + word) % P64
  const marked = (key * sum + P64 - 1n) % P64
  return (key * marked + word - 59n) % P64
}

/** L3-HASH of 16 bytes, given as four words of 32 bits, §5.4. */
function inner({ k36, mask }: Stream, a: number, b: number, c: number, d: number): number {
  let sum = 0
  for (const [at, word] of [a, b, c, d].entries()) {
    // A product of 16 and 36 bits is exact; two of them and a rest are not quite 2^53.
    sum += ((word >>> 16) * k36[at * 2]!) % P36
    sum += ((word & 0xffff) * k36[at * 2 + 1]!) % P36
  }
  return (((sum % P36) % 2 ** 32) ^ mask) >>> 0
}

/** NH of §5.2.2 for all streams at once: their keys are one key, each four words further on. */
class NonlinearHash {
  /** Results of the last block, a number of 64 bits a stream, in two halves. */
  readonly high: Uint32Array
  readonly low: Uint32Array
  readonly #key: Uint32Array
  readonly #count: number
  readonly #words = new Uint32Array(BLOCK_BYTES / 4)
  /** Sums of products with the lower and the upper half of a word. */
  readonly #lower: Float64Array
  readonly #upper: Float64Array

  constructor(key: Uint32Array, count: number) {
    this.#key = key
    this.#count = count
    this.high = new Uint32Array(count)
    this.low = new Uint32Array(count)
    this.#lower = new Float64Array(count)
    this.#upper = new Float64Array(count)
  }

  /** Hashes `length` bytes, at most 1024, of `message` from `start` on. */
  block(message: Uint8Array, start: number, length: number): void {
    const padded = Math.max(PAD_BYTES, Math.ceil(length / PAD_BYTES) * PAD_BYTES)
    this.#read(message, start, length, padded)
    this.high.fill(0)
    this.low.fill(0)
    const end = padded / 4
    // Sixteen products of 48 bits each are far below 2^53.
    for (let from = 0; from < end; from += 32) {
      this.#multiply(from, Math.min(end, from + 32))
      this.#fold()
    }
    for (let at = 0; at < this.#count; at++) this.#add(at, 0, length * 8)
  }

  /** The bytes as words, the first byte of each being the lowest, and zeros behind them. */
  #read(message: Uint8Array, start: number, length: number, padded: number): void {
    const to = this.#words
    const whole = length >>> 2
    for (let at = 0, from = start; at < whole; at++, from += 4) {
      to[at] =
        message[from]! |
        (message[from + 1]! << 8) |
        (message[from + 2]! << 16) |
        (message[from + 3]! << 24)
    }
    to.fill(0, whole, padded / 4)
    for (let at = whole * 4; at < length; at++) {
      to[whole]! |= message[start + at]! << ((at & 3) * 8)
    }
  }

  #multiply(from: number, to: number): void {
    const text = this.#words
    const key = this.#key
    for (let stream = 0; stream < this.#count; stream++) {
      const shift = stream * 4
      let lower = 0
      let upper = 0
      for (let at = from; at < to; at += 8) {
        for (let word = at; word < at + 4; word++) {
          const a = (text[word]! + key[word + shift]!) | 0
          const b = (text[word + 4]! + key[word + shift + 4]!) >>> 0
          lower += (a & 0xffff) * b
          upper += (a >>> 16) * b
        }
      }
      this.#lower[stream] = lower
      this.#upper[stream] = upper
    }
  }

  /** Adds what was multiplied to the results. */
  #fold(): void {
    for (let at = 0; at < this.#count; at++) {
      const lower = this.#lower[at]!
      const upper = this.#upper[at]!
      this.#add(at, Math.floor(lower / 2 ** 32), lower % 2 ** 32)
      // Times 2^16, modulo 2^64.
      this.#add(at, Math.floor(upper / 2 ** 16) % 2 ** 32, (upper % 2 ** 16) * 2 ** 16)
    }
  }

  #add(at: number, high: number, low: number): void {
    const sum = this.low[at]! + low
    this.low[at] = sum
    this.high[at] = this.high[at]! + high + (sum >= 2 ** 32 ? 1 : 0)
  }
}

/** PDF, §4: what hides the hash. Tags of 64 bits are halves of a block that two nonces share. */
function pad(
  crypto: CryptoProvider,
  key: Uint8Array,
  nonce: Uint8Array,
  tagBytes: number,
): Uint8Array {
  const block = new Uint8Array(16)
  block.set(nonce)
  const half = tagBytes === 8 ? nonce[7]! & 1 : 0
  block[7]! ^= half
  return encrypted(crypto, key, block).slice(half * 8, half * 8 + tagBytes)
}

/** KDF, §3.2.1. */
function kdf(crypto: CryptoProvider, key: Uint8Array, index: number, bytes: number): Uint8Array {
  const out = new Uint8Array(Math.ceil(bytes / 16) * 16)
  for (let at = 0; at < out.length; at += 16) {
    const block = new Uint8Array(16)
    block[7] = index
    new DataView(block.buffer).setUint32(12, at / 16 + 1)
    out.set(encrypted(crypto, key, block), at)
  }
  return out.subarray(0, bytes)
}

/** One block of AES: the keystream of the counter mode that begins with it. */
function encrypted(crypto: CryptoProvider, key: Uint8Array, block: Uint8Array): Uint8Array {
  const out = new Uint8Array(16)
  crypto.aesCtr(key, block).apply(out)
  return out
}

function words(bytes: Uint8Array): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  return Uint32Array.from({ length: bytes.length / 4 }, (_, at) => view.getUint32(at * 4))
}

function uint64(bytes: Uint8Array, at: number): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(at)
}
