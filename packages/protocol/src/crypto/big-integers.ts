/**
 * Large integers for RSA and finite-field Diffie-Hellman where the runtime does not offer them.
 * The engine's arithmetic takes time that depends on the numbers; whoever works with secrets here
 * blinds them (RSA) or uses each only once (Diffie-Hellman).
 */

/** The value of big-endian bytes. */
export function integer(bytes: Uint8Array): bigint {
  let digits = ''
  for (const byte of bytes) digits += byte.toString(16).padStart(2, '0')
  return digits === '' ? 0n : BigInt(`0x${digits}`)
}

/** Big-endian bytes of a fixed length. Throws RangeError if the value needs more. */
export function bytesOf(value: bigint, length: number): Uint8Array {
  const digits = value.toString(16)
  if (value < 0n || digits.length > 2 * length) throw new RangeError('value does not fit')
  const padded = digits.padStart(2 * length, '0')
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at++) {
    bytes[at] = Number.parseInt(padded.slice(2 * at, 2 * at + 2), 16)
  }
  return bytes
}

/** Big-endian bytes without leading zeros; none for zero. */
export function shortBytesOf(value: bigint): Uint8Array {
  return value === 0n ? new Uint8Array(0) : bytesOf(value, (value.toString(16).length + 1) >> 1)
}

/** Number of bits without leading zeros. */
export function bitLength(bytes: Uint8Array): number {
  const first = bytes.findIndex((byte) => byte !== 0)
  if (first === -1) return 0
  return (bytes.length - first) * 8 - Math.clz32(bytes[first]!) + 24
}

/** base^exponent modulo modulus, four bits of the exponent at a time. */
export function modPow(base: bigint, exponent: bigint, modulus: bigint): bigint {
  const table = [1n % modulus]
  for (let index = 1; index < 16; index++) table.push((table[index - 1]! * base) % modulus)
  let result = 1n % modulus
  for (const digit of exponent.toString(16)) {
    for (let square = 0; square < 4; square++) result = (result * result) % modulus
    result = (result * table[Number.parseInt(digit, 16)]!) % modulus
  }
  return result
}

/** The inverse of `value` modulo `modulus`. Throws RangeError if there is none. */
export function modInverse(value: bigint, modulus: bigint): bigint {
  let [a, b] = [((value % modulus) + modulus) % modulus, modulus]
  let [x, y] = [1n, 0n]
  while (b !== 0n) {
    const quotient = a / b
    ;[a, b] = [b, a - quotient * b]
    ;[x, y] = [y, x - quotient * y]
  }
  if (a !== 1n) throw new RangeError('no inverse')
  return ((x % modulus) + modulus) % modulus
}

/** A random integer below 2^bits. */
export function randomInteger(random: (length: number) => Uint8Array, bits: number): bigint {
  const bytes = random(Math.ceil(bits / 8))
  return integer(bytes) & ((1n << BigInt(bits)) - 1n)
}

const SMALL_PRIMES: readonly bigint[] = (() => {
  const primes: bigint[] = []
  for (let n = 3; n < 2000; n += 2) {
    if (primes.every((prime) => n % Number(prime) !== 0)) primes.push(BigInt(n))
  }
  return primes
})()

/** Miller and Rabin's test with random bases; a composite passes with probability 4^-rounds. */
export function isProbablePrime(
  candidate: bigint,
  random: (length: number) => Uint8Array,
  rounds: number,
): boolean {
  for (const prime of SMALL_PRIMES) if (candidate % prime === 0n) return candidate === prime
  let odd = candidate - 1n
  let twos = 0
  while ((odd & 1n) === 0n) {
    odd >>= 1n
    twos++
  }
  const bits = candidate.toString(2).length
  return Array.from({ length: rounds }).every(() => {
    const base = (randomInteger(random, bits - 2) % (candidate - 3n)) + 2n
    let power = modPow(base, odd, candidate)
    if (power === 1n || power === candidate - 1n) return true
    for (let step = 1; step < twos; step++) {
      power = (power * power) % candidate
      if (power === candidate - 1n) return true
    }
    return false
  })
}
