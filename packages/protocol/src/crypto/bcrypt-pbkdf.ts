/**
 * bcrypt_pbkdf, the key derivation of encrypted OpenSSH key files: PBKDF2 with a Blowfish-based
 * hash in the place of HMAC, and its output bytes interleaved. Written here because the library
 * there is brings a second crypto library with it that looks for Node at load time.
 */
import { sha512 } from '@noble/hashes/sha2.js'
import { piFraction } from './pi.ts'

/** Rounds accepted from a file. ssh-keygen writes 16 or 24; each costs some milliseconds. */
export const BCRYPT_ROUNDS_MAX: number = 1024

const BLOCK_BYTES = 32
const ROUNDS_OF_BLOWFISH = 16
const SUBKEYS = 18
const BOX_ENTRIES = 256
/** Of a SHA-512 digest. */
const WORDS = 16

/**
 * Derives `length` bytes (1 to 1024) from a passphrase and salt.
 * Throws RangeError on parameters outside of what the function is defined for.
 */
export function bcryptPbkdf(
  passphrase: Uint8Array,
  salt: Uint8Array,
  rounds: number,
  length: number,
): Uint8Array {
  if (passphrase.length === 0) throw new RangeError('passphrase must not be empty')
  if (salt.length === 0 || salt.length > 1024)
    throw new RangeError('salt must have 1 to 1024 bytes')
  if (rounds < 1 || rounds > BCRYPT_ROUNDS_MAX) throw new RangeError('rounds out of range')
  if (length < 1 || length > 1024) throw new RangeError('length must be 1 to 1024')

  const hashedPassphrase = sha512(passphrase)
  const counted = new Uint8Array(salt.length + 4)
  counted.set(salt)
  const key = new Uint8Array(length)
  const blocks = Math.ceil(length / BLOCK_BYTES)
  for (let block = 0; block < blocks; block++) {
    new DataView(counted.buffer).setUint32(salt.length, block + 1)
    let last = bcryptHash(hashedPassphrase, sha512(counted))
    const sum = last.slice()
    for (let round = 1; round < rounds; round++) {
      last = bcryptHash(hashedPassphrase, sha512(last))
      for (let at = 0; at < BLOCK_BYTES; at++) sum[at]! ^= last[at]!
    }
    // Each block is spread over the whole key, so that no part of it can be had for less work.
    for (let at = 0; block + at * blocks < length; at++) key[block + at * blocks] = sum[at]!
    sum.fill(0)
  }
  hashedPassphrase.fill(0)
  return key
}

/** bcrypt with a fixed cost of 2^6 and SHA-512 digests for password and salt. */
function bcryptHash(passphrase: Uint8Array, salt: Uint8Array): Uint8Array {
  const state = initialState().slice()
  const passwordWords = words(passphrase)
  const saltWords = words(salt)
  expandKey(state, passwordWords, saltWords)
  for (let round = 0; round < 64; round++) {
    expandKey(state, saltWords, undefined)
    expandKey(state, passwordWords, undefined)
  }
  const text = words(new TextEncoder().encode('OxychromaticBlowfishSwatDynamite'))
  for (let round = 0; round < 64; round++) {
    for (let at = 0; at < text.length; at += 2) encipher(state, text, at)
  }
  // Read big-endian, written little-endian: an accident of the first implementation.
  const out = new Uint8Array(BLOCK_BYTES)
  const view = new DataView(out.buffer)
  for (const [at, word] of text.entries()) view.setUint32(4 * at, word, true)
  state.fill(0)
  return out
}

function words(bytes: Uint8Array): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  return Uint32Array.from({ length: bytes.length / 4 }, (_, at) => view.getUint32(4 * at))
}

/** Mixes a key, and a salt if there is one, into subkeys and boxes. */
function expandKey(state: Uint32Array, key: Uint32Array, salt: Uint32Array | undefined): void {
  for (let at = 0; at < SUBKEYS; at++) state[at]! ^= key[at & (WORDS - 1)]!
  const pair = new Uint32Array(2)
  for (let at = 0, from = 0; at < state.length; at += 2) {
    if (salt !== undefined) {
      pair[0]! ^= salt[from++ & (WORDS - 1)]!
      pair[1]! ^= salt[from++ & (WORDS - 1)]!
    }
    encipher(state, pair, 0)
    state[at] = pair[0]!
    state[at + 1] = pair[1]!
  }
}

/** One Blowfish block, `data[at]` and `data[at + 1]`. The state is 18 subkeys, then four boxes. */
function encipher(state: Uint32Array, data: Uint32Array, at: number): void {
  let left = data[at]! ^ state[0]!
  let right = data[at + 1]!
  for (let round = 1; round <= ROUNDS_OF_BLOWFISH; round += 2) {
    right ^= mix(state, left) ^ state[round]!
    left ^= mix(state, right) ^ state[round + 1]!
  }
  data[at] = right ^ state[SUBKEYS - 1]!
  data[at + 1] = left
}

function mix(state: Uint32Array, word: number): number {
  const a = state[SUBKEYS + (word >>> 24)]!
  const b = state[SUBKEYS + BOX_ENTRIES + ((word >>> 16) & 0xff)]!
  const c = state[SUBKEYS + 2 * BOX_ENTRIES + ((word >>> 8) & 0xff)]!
  const d = state[SUBKEYS + 3 * BOX_ENTRIES + (word & 0xff)]!
  return (((a + b) ^ c) + d) | 0
}

let memoisedState: Uint32Array | undefined

/**
 * Blowfish starts from the fraction of π in binary: 18 subkeys and four boxes of 256 words. It is
 * computed at first use, in a few milliseconds, rather than carried as a table.
 */
function initialState(): Uint32Array {
  if (memoisedState !== undefined) return memoisedState
  const count = SUBKEYS + 4 * BOX_ENTRIES
  const digits = piFraction(count * 32)
    .toString(16)
    .padStart(count * 8, '0')
  memoisedState = Uint32Array.from({ length: count }, (_, at) =>
    Number.parseInt(digits.slice(8 * at, 8 * at + 8), 16),
  )
  return memoisedState
}
