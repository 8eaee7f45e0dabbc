/**
 * The safe primes of RFC 2409 and RFC 3526, by their formula: all ones at both ends and π between,
 * p = 2^n − 2^(n−64) − 1 + 2^64 · (⌊2^(n−130) · π⌋ + c). The generator is 2.
 */
import { bytesOf } from './big-integers.ts'
import { equalBytes } from './equal-bytes.ts'
import { piFraction } from './pi.ts'

/** The constants c, the smallest that make p a safe prime. */
const OFFSETS = {
  1024: 129093n,
  1536: 741804n,
  2048: 124476n,
  3072: 1690314n,
  4096: 240904n,
  8192: 4743158n,
} as const

/** Sizes of the groups there are. */
export type ModpBits = keyof typeof OFFSETS

const made = new Map<ModpBits, bigint>()

/** The prime of that many bits. Computed at first use. */
export function modpPrime(bits: ModpBits): bigint {
  let prime = made.get(bits)
  if (prime === undefined) {
    const n = BigInt(bits)
    // π is 3 and its fraction.
    const middle = (3n << (n - 130n)) + piFraction(bits - 130) + OFFSETS[bits]
    prime = (1n << n) - (1n << (n - 64n)) - 1n + (middle << 64n)
    made.set(bits, prime)
  }
  return prime
}

/** The same as big-endian bytes. */
export function modpPrimeBytes(bits: ModpBits): Uint8Array {
  return bytesOf(modpPrime(bits), bits / 8)
}

/** Whether big-endian bytes are one of these primes. */
export function isModpPrime(modulus: Uint8Array): boolean {
  const bits = modulus.length * 8
  return isModpBits(bits) && equalBytes(modpPrimeBytes(bits), modulus)
}

function isModpBits(bits: number): bits is ModpBits {
  return Object.hasOwn(OFFSETS, bits)
}
