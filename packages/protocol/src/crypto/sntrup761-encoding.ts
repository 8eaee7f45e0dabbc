/**
 * How sntrup761 writes polynomials: mixed-radix numbers, combined in pairs so that bytes can be
 * split off as soon as there are some ("NTRU Prime: round 3", §3.4).
 */
import { P, Q } from './sntrup761-rings.ts'

const HALF_Q = (Q - 1) >> 1
/** Multiples of three between −2295 and 2295. */
const ROUNDED = (Q + 2) / 3
/** While a radix is larger than this, bytes are split off. */
const LIMIT = 16384

/** Any coefficients modulo q, in 1158 bytes. */
export function encodeRq(values: Int16Array): Uint8Array {
  return encode(
    Array.from(values, (value) => value + HALF_Q),
    Q,
  )
}

/** The reverse of `encodeRq`. */
export function decodeRq(bytes: Uint8Array): Int16Array {
  return Int16Array.from(decode(bytes, Q), (value) => value - HALF_Q)
}

/** Coefficients that are multiples of three, in 1007 bytes. */
export function encodeRounded(values: Int16Array): Uint8Array {
  return encode(
    // (x · 10923) >> 15 is x / 3 for every multiple of three in range.
    Array.from(values, (value) => ((value + HALF_Q) * 10923) >> 15),
    ROUNDED,
  )
}

/** The reverse of `encodeRounded`. */
export function decodeRounded(bytes: Uint8Array): Int16Array {
  return Int16Array.from(decode(bytes, ROUNDED), (value) => value * 3 - HALF_Q)
}

/** Coefficients −1, 0 and 1, four to a byte, in 191 bytes. */
export function encodeSmall(values: Int8Array): Uint8Array {
  const bytes = new Uint8Array((P + 3) >> 2)
  for (let at = 0; at < P; at++) bytes[at >> 2]! |= (values[at]! + 1) << (2 * (at & 3))
  return bytes
}

/** The reverse of `encodeSmall`. */
export function decodeSmall(bytes: Uint8Array): Int8Array {
  const values = new Int8Array(P)
  for (let at = 0; at < P; at++) values[at] = ((bytes[at >> 2]! >> (2 * (at & 3))) & 3) - 1
  return values
}

function encode(digits: readonly number[], radix: number): Uint8Array {
  const out: number[] = []
  let values = digits
  let radices: readonly number[] = digits.map(() => radix)
  while (values.length > 1) {
    const nextValues: number[] = []
    const nextRadices: number[] = []
    for (let at = 0; at + 1 < values.length; at += 2) {
      let value = values[at]! + values[at + 1]! * radices[at]!
      let size = radices[at]! * radices[at + 1]!
      while (size >= LIMIT) {
        out.push(value & 255)
        value >>>= 8
        size = (size + 255) >>> 8
      }
      nextValues.push(value)
      nextRadices.push(size)
    }
    if (values.length % 2 === 1) {
      nextValues.push(values.at(-1)!)
      nextRadices.push(radices.at(-1)!)
    }
    values = nextValues
    radices = nextRadices
  }
  let last = values[0]!
  for (let size = radices[0]!; size > 1; size = (size + 255) >>> 8) {
    out.push(last & 255)
    last >>>= 8
  }
  return Uint8Array.from(out)
}

/** What one pair of digits left behind on the way down. */
interface Pair {
  readonly low: number
  /** 1, 256 or 65536: what the bytes split off amount to. */
  readonly scale: number
}

function decode(bytes: Uint8Array, radix: number): readonly number[] {
  // Downwards as in encoding, reading the bytes that were split off; then back up.
  const levels: { radices: readonly number[]; pairs: readonly Pair[] }[] = []
  let radices: readonly number[] = new Array<number>(P).fill(radix)
  let offset = 0
  while (radices.length > 1) {
    const pairs: Pair[] = []
    const next: number[] = []
    for (let at = 0; at + 1 < radices.length; at += 2) {
      let size = radices[at]! * radices[at + 1]!
      let low = 0
      let scale = 1
      while (size >= LIMIT) {
        low += scale * bytes[offset++]!
        scale *= 256
        size = (size + 255) >>> 8
      }
      pairs.push({ low, scale })
      next.push(size)
    }
    if (radices.length % 2 === 1) next.push(radices.at(-1)!)
    levels.push({ radices, pairs })
    radices = next
  }
  let top = 0
  let scale = 1
  for (let size = radices[0]!; size > 1; size = (size + 255) >>> 8) {
    top += scale * bytes[offset++]!
    scale *= 256
  }
  let values: readonly number[] = [top % radices[0]!]
  for (const level of levels.reverse()) {
    const digits: number[] = []
    for (const [at, { low, scale }] of level.pairs.entries()) {
      const value = low + scale * values[at]!
      const first = level.radices[2 * at]!
      digits.push(value % first, Math.floor(value / first) % level.radices[2 * at + 1]!)
    }
    if (level.radices.length % 2 === 1) digits.push(values.at(-1)!)
    values = digits
  }
  return values
}
