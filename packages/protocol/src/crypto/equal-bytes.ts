/** Comparison of secrets. */

/**
 * True if both have the same bytes. Time depends on the length only, never on where they differ,
 * so a forger learns nothing from a refused tag or password.
 *
 * @example
 * import { equalBytes } from '@sandbox-ssh/protocol'
 *
 * const bytes = (text: string) => new TextEncoder().encode(text)
 * console.log(equalBytes(bytes('token'), bytes('token'))) // true
 * console.log(equalBytes(bytes('token'), bytes('taken'))) // false
 */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  let difference = 0
  for (let at = 0; at < a.length; at++) difference |= a[at]! ^ b[at]!
  return difference === 0
}
