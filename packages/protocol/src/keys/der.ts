/**
 * As much of DER (X.690) as key files need. The reader takes definite lengths only and checks every
 * one against what is there.
 */
import { invalidKey } from './key-errors.ts'

/** Tags of the universal class. */
export const DER = {
  INTEGER: 0x02,
  BIT_STRING: 0x03,
  OCTET_STRING: 0x04,
  NULL: 0x05,
  OBJECT_IDENTIFIER: 0x06,
  SEQUENCE: 0x30,
} as const

/** A cursor over the elements of one DER value. Throws SshError `SSH_KEY_INVALID`. */
export class DerReader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get done(): boolean {
    return this.#at === this.#bytes.length
  }

  /** Tag of the next element, or undefined at the end. */
  get nextTag(): number | undefined {
    return this.#bytes[this.#at]
  }

  /** Contents of the next element, which must have that tag; a view. */
  element(tag: number): Uint8Array {
    const found = this.#bytes[this.#at]
    if (found !== tag) {
      const what = found === undefined ? 'the end' : `tag 0x${found.toString(16)}`
      throw invalidKey(`malformed DER: ${what} where tag 0x${tag.toString(16)} was expected`)
    }
    let at = this.#at + 2
    let length = this.#bytes[this.#at + 1] ?? 0xff
    if (length >= 0x80) {
      const bytes = length - 0x80
      // Nothing in a key file has more than 2^24 bytes; 0x80 is the indefinite form of BER.
      if (bytes < 1 || bytes > 3) throw invalidKey('malformed DER: impossible length')
      length = 0
      for (let index = 0; index < bytes; index++) length = length * 256 + (this.#bytes[at++] ?? 0)
    }
    if (at + length > this.#bytes.length) throw invalidKey('malformed DER: cut off')
    this.#at = at + length
    return this.#bytes.subarray(at, at + length)
  }

  sequence(): DerReader {
    return new DerReader(this.element(DER.SEQUENCE))
  }

  /** A non-negative integer without its leading zeros. */
  integer(): Uint8Array {
    const bytes = this.element(DER.INTEGER)
    if (bytes.length === 0 || ((bytes[0] ?? 0) & 0x80) !== 0) {
      throw invalidKey('malformed DER: a negative or empty integer')
    }
    let start = 0
    while (start < bytes.length - 1 && bytes[start] === 0) start++
    return bytes.subarray(start)
  }

  /** A small integer. */
  small(): number {
    const bytes = this.integer()
    if (bytes.length > 4) throw invalidKey('malformed DER: a number is too large')
    return bytes.reduce((sum, byte) => sum * 256 + byte, 0)
  }

  /** An object identifier in dots. */
  objectIdentifier(): string {
    const bytes = this.element(DER.OBJECT_IDENTIFIER)
    const arcs: number[] = []
    let value = 0
    for (const byte of bytes) {
      value = value * 128 + (byte & 0x7f)
      if (value > 0xffffffff) throw invalidKey('malformed DER: an identifier is too large')
      if (byte & 0x80) continue
      if (arcs.length === 0) {
        const first = Math.min(Math.floor(value / 40), 2)
        arcs.push(first, value - 40 * first)
      } else {
        arcs.push(value)
      }
      value = 0
    }
    return arcs.join('.')
  }
}

/** One element around the concatenation of `contents`. */
export function der(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const length = contents.reduce((sum, part) => sum + part.length, 0)
  const head =
    length < 0x80
      ? [tag, length]
      : length < 0x100
        ? [tag, 0x81, length]
        : [tag, 0x82, length >> 8, length & 0xff]
  const bytes = new Uint8Array(head.length + length)
  bytes.set(head)
  let at = head.length
  for (const part of contents) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

/** A non-negative integer. */
export function derInteger(magnitude: Uint8Array): Uint8Array {
  let start = 0
  while (start < magnitude.length - 1 && magnitude[start] === 0) start++
  const digits = magnitude.subarray(start)
  const pad = ((digits[0] ?? 0) & 0x80) !== 0 || digits.length === 0
  return der(DER.INTEGER, new Uint8Array(pad ? 1 : 0), digits)
}
