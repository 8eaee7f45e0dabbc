/**
 * A growing buffer for the control plane. One is shared by all encoders of a thread (allocating one
 * a message costs ten times the encoding); data-plane messages are written in place, see `fast.ts`.
 */
const utf8 = new TextEncoder()

/**
 * Writes the field types of RFC 4251 §5 one after the other.
 *
 * @example
 * import { Writer } from '@sandbox-ssh/protocol'
 *
 * const bytes = new Writer().boolean(true).nameList(['zlib', 'none']).finish()
 * console.log(bytes.length) // 14
 */
export class Writer {
  #bytes: Uint8Array
  #length = 0

  constructor(capacity = 512) {
    this.#bytes = new Uint8Array(capacity)
  }

  get length(): number {
    return this.#length
  }

  uint8(value: number): this {
    this.#room(1)
    this.#bytes[this.#length++] = value
    return this
  }

  boolean(value: boolean): this {
    return this.uint8(value ? 1 : 0)
  }

  /** Big-endian; the value is taken modulo 2^32. */
  uint32(value: number): this {
    this.#room(4)
    const at = this.#length
    const b = this.#bytes
    b[at] = value >>> 24
    b[at + 1] = value >>> 16
    b[at + 2] = value >>> 8
    b[at + 3] = value
    this.#length = at + 4
    return this
  }

  /** Big-endian. */
  uint64(value: bigint): this {
    return this.uint32(Number((value >> 32n) & 0xffffffffn)).uint32(Number(value & 0xffffffffn))
  }

  /** Raw bytes, without a length. */
  bytes(value: Uint8Array): this {
    this.#room(value.length)
    this.#bytes.set(value, this.#length)
    this.#length += value.length
    return this
  }

  /** A length-prefixed string; text is encoded as UTF-8. */
  string(value: Uint8Array | string): this {
    const bytes = typeof value === 'string' ? utf8.encode(value) : value
    return this.uint32(bytes.length).bytes(bytes)
  }

  nameList(names: readonly string[]): this {
    return this.string(names.join(','))
  }

  /** A non-negative integer given as its big-endian magnitude, with or without leading zeros. */
  mpint(magnitude: Uint8Array): this {
    let start = 0
    while (start < magnitude.length && magnitude[start] === 0) start++
    const body = magnitude.subarray(start)
    const pad = body.length > 0 && ((body[0] as number) & 0x80) !== 0
    this.uint32(body.length + (pad ? 1 : 0))
    if (pad) this.uint8(0)
    return this.bytes(body)
  }

  /** A copy of what was written, exactly as long as that. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length)
  }

  /** Starts over, keeping the buffer unless it grew large. */
  reset(): this {
    if (this.#bytes.length > 64 * 1024) this.#bytes = new Uint8Array(512)
    this.#length = 0
    return this
  }

  #room(more: number): void {
    const needed = this.#length + more
    if (needed <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2))
    grown.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = grown
  }
}
