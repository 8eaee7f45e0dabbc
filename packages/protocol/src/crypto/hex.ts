/** Hexadecimal constants. */

/** Bytes of an even number of hexadecimal digits; throws TypeError on anything else. */
export function fromHex(digits: string): Uint8Array {
  if (digits.length % 2 !== 0 || /[^0-9a-f]/i.test(digits)) throw new TypeError('digits: not hex')
  const bytes = new Uint8Array(digits.length / 2)
  for (let at = 0; at < bytes.length; at++) {
    bytes[at] = Number.parseInt(digits.slice(2 * at, 2 * at + 2), 16)
  }
  return bytes
}
