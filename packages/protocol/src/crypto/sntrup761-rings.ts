/**
 * Arithmetic of sntrup761: polynomials modulo x^761 − x − 1 with coefficients modulo 4591 (Rq) or
 * modulo 3 (R3), always the remainders nearest to zero. Loops have fixed lengths.
 */

/** Degree of the modulus. */
export const P = 761
/** Modulus of the coefficients of Rq. */
export const Q = 4591
/** Non-zero coefficients of a short polynomial. */
export const WEIGHT = 286

const HALF_Q = (Q - 1) >> 1
const INVERSE_Q = 1 / Q

/** The remainder modulo q in −2295 … 2295, of anything below 2^40 in size. */
function reduceQ(value: number): number {
  // The half keeps the quotient away from integers, where the inexact factor could err.
  return value - Q * Math.floor((value + HALF_Q + 0.5) * INVERSE_Q)
}

/** The remainder modulo 3 in −1, 0, 1. */
function reduce3(value: number): number {
  return value - 3 * Math.floor((value + 1.5) * (1 / 3))
}

/** The product of any element of Rq with one of small coefficients. */
export function multiplyInRq(a: Int16Array, small: Int8Array): Int16Array {
  const product = convolve(a, small)
  const result = new Int16Array(P)
  for (let at = 0; at < P; at++) result[at] = reduceQ(product[at]!)
  return result
}

/** The product in R3. */
export function multiplyInR3(a: Int8Array, b: Int8Array): Int8Array {
  const product = convolve(a, b)
  const result = new Int8Array(P)
  for (let at = 0; at < P; at++) result[at] = reduce3(product[at]!)
  return result
}

/** The product modulo x^p − x − 1 over the integers: below 3 · 761 · 2295 in size. */
function convolve(a: Int16Array | Int8Array, small: Int8Array): Int32Array {
  const product = new Int32Array(2 * P - 1)
  for (let i = 0; i < P; i++) {
    const factor = small[i]!
    for (let j = 0; j < P; j++) product[i + j]! += factor * a[j]!
  }
  // x^p = x + 1, from the top down.
  for (let at = 2 * P - 2; at >= P; at--) {
    product[at - P]! += product[at]!
    product[at - P + 1]! += product[at]!
  }
  return product.subarray(0, P)
}

/**
 * The inverse in R3, or undefined if there is none: Bernstein and Yang's division steps, always
 * 2p − 1 of them ("Fast constant-time gcd computation and modular inversion", 2019).
 */
export function inverseInR3(input: Int8Array): Int8Array | undefined {
  const state = new DivisionSteps(input, 1)
  for (let step = 0; step < 2 * P - 1; step++) {
    const { f, g, v, r } = state.swapped()
    const factor = -(g[0]! * f[0]!)
    for (let at = 0; at <= P; at++) g[at] = reduce3(g[at]! + factor * f[at]!)
    for (let at = 0; at <= P; at++) r[at] = reduce3(r[at]! + factor * v[at]!)
    state.shift()
  }
  const { f, v } = state
  const sign = f[0]!
  const result = new Int8Array(P)
  for (let at = 0; at < P; at++) result[at] = sign * v[P - 1 - at]!
  return state.delta === 0 ? result : undefined
}

/** 1 / (3·f) in Rq, where every short f has an inverse because x^p − x − 1 is irreducible. */
export function inverseOfThreeTimes(input: Int8Array): Int16Array {
  const state = new DivisionSteps(input, inverseQ(3))
  for (let step = 0; step < 2 * P - 1; step++) {
    const { f, g, v, r } = state.swapped()
    const f0 = f[0]!
    const g0 = g[0]!
    for (let at = 0; at <= P; at++) g[at] = reduceQ(f0 * g[at]! - g0 * f[at]!)
    for (let at = 0; at <= P; at++) r[at] = reduceQ(f0 * r[at]! - g0 * v[at]!)
    state.shift()
  }
  const { f, v } = state
  const scale = inverseQ(f[0]!)
  const result = new Int16Array(P)
  for (let at = 0; at < P; at++) result[at] = reduceQ(scale * v[P - 1 - at]!)
  return result
}

/** a^(q − 2) modulo the prime q. */
function inverseQ(a: number): number {
  let power = a
  for (let count = 1; count < Q - 2; count++) power = reduceQ(a * power)
  return power
}

/** The reversed modulus and input, the cofactors that become the inverse, and the counter. */
class DivisionSteps {
  f: Int16Array = new Int16Array(P + 1)
  g: Int16Array = new Int16Array(P + 1)
  v: Int16Array = new Int16Array(P + 1)
  r: Int16Array = new Int16Array(P + 1)
  delta = 1

  constructor(input: Int8Array, start: number) {
    this.f[0] = 1
    this.f[P - 1] = -1
    this.f[P] = -1
    for (let at = 0; at < P; at++) this.g[P - 1 - at] = input[at]!
    this.r[0] = start
  }

  /** Multiplies v by x and swaps the pairs, by mask, if delta is positive and g is odd. */
  swapped(): this {
    const { f, g, v, r } = this
    v.copyWithin(1, 0, P)
    v[0] = 0
    const positive = -this.delta >> 31
    const g0 = g[0]!
    const mask = positive & ((g0 | -g0) >> 31)
    this.delta ^= mask & (this.delta ^ -this.delta)
    this.delta += 1
    for (let at = 0; at <= P; at++) {
      const fg = mask & (f[at]! ^ g[at]!)
      f[at]! ^= fg
      g[at]! ^= fg
      const vr = mask & (v[at]! ^ r[at]!)
      v[at]! ^= vr
      r[at]! ^= vr
    }
    return this
  }

  /** Divides g, whose constant is now zero, by x. */
  shift(): void {
    this.g.copyWithin(0, 1)
    this.g[P] = 0
  }
}
