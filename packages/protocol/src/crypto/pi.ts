/** π, from which Blowfish's tables and the Diffie-Hellman groups are made: nothing up the sleeve. */

/** The first `bits` bits of the fraction of π, as an integer. */
export function piFraction(bits: number): bigint {
  const guardBits = 64n
  const one = 1n << (BigInt(bits) + guardBits)
  // Machin: π/4 = 4·arctan(1/5) − arctan(1/239).
  const pi = 4n * (4n * arctangentOfInverse(5n, one) - arctangentOfInverse(239n, one))
  return (pi % one) >> guardBits
}

/** arctan(1/x) as a multiple of 1/one, by its power series. */
function arctangentOfInverse(x: bigint, one: bigint): bigint {
  let power = one / x
  let sum = power
  for (let odd = 3n; power !== 0n; odd += 2n) {
    power /= -(x * x)
    sum += power / odd
  }
  return sum
}
