/**
 * A cursor over received bytes. Every step checks its bounds; strings come back as views, so a
 * caller that keeps one keeps the packet alive (or copies). RFC 4251 §5.
 */
import { SshError } from '../errors.ts'
import { NAME_LIST_BYTES_MAX, NAME_LIST_NAMES_MAX } from '../limits.ts'

const utf8 = new TextDecoder('utf-8', { fatal: false })

/**
 * Reads the field types of RFC 4251 §5; every method throws SshError `SSH_PROTOCOL` past the end.
 *
 * @example
 * import { Reader, Writer } from '@sandbox-ssh/protocol'
 *
 * const bytes = new Writer().string('session').uint32(7).finish()
 * const reader = new Reader(bytes)
 * console.log(reader.utf8(), reader.uint32(), reader.remaining) // session 7 0
 * reader.end()
 */
export class Reader {
  readonly #bytes: Uint8Array
  #at: number

  /** Reads `bytes` from `offset`. The array must not change while views of it are in use. */
  constructor(bytes: Uint8Array, offset = 0) {
    this.#bytes = bytes
    this.#at = offset
  }

  /** Bytes not read yet. */
  get remaining(): number {
    return this.#bytes.length - this.#at
  }

  /** Position of the next byte. */
  get offset(): number {
    return this.#at
  }

  uint8(): number {
    this.#need(1)
    return this.#bytes[this.#at++] as number
  }

  /** RFC 4251 §5: zero is false, all other values are true. */
  boolean(): boolean {
    return this.uint8() !== 0
  }

  /** Big-endian. */
  uint32(): number {
    this.#need(4)
    const b = this.#bytes
    const at = this.#at
    this.#at = at + 4
    return ((b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!) >>> 0
  }

  /** Big-endian. */
  uint64(): bigint {
    const high = this.uint32()
    return (BigInt(high) << 32n) | BigInt(this.uint32())
  }

  /** A view of the next `length` bytes. */
  bytes(length: number): Uint8Array {
    this.#need(length)
    const view = this.#bytes.subarray(this.#at, this.#at + length)
    this.#at += length
    return view
  }

  /** A length-prefixed string as a view; `max` bounds it before anything else happens. */
  string(max: number = Number.POSITIVE_INFINITY): Uint8Array {
    const length = this.uint32()
    if (length > max)
      throw malformed(`a string of ${length} bytes where at most ${max} are allowed`)
    return this.bytes(length)
  }

  /** A string decoded as UTF-8; invalid sequences become U+FFFD. */
  utf8(max?: number): string {
    return utf8.decode(this.string(max))
  }

  /** A string that must be printable US-ASCII, as names are (RFC 4251 §6). */
  ascii(max = 1024): string {
    const bytes = this.string(max)
    let text = ''
    for (const byte of bytes) {
      if (byte < 0x20 || byte > 0x7e) throw malformed(`byte 0x${byte.toString(16)} in a name`)
      text += String.fromCharCode(byte)
    }
    return text
  }

  /**
   * Comma-separated names; an empty string is an empty list. RFC 4251 §5 has no empty names, yet
   * libssh 0.10 ends its list of ciphers with a comma: they are passed over, as OpenSSH does.
   *
   * @example
   * import { Reader, Writer } from '@sandbox-ssh/protocol'
   *
   * const writer = new Writer()
   *   .uint8(20)
   *   .bytes(new Uint8Array(2))
   *   .nameList(['none', 'zlib'])
   *   .boolean(true)
   *   .uint64(7n)
   *   .mpint(new Uint8Array([0x80]))
   *   .string('exec')
   *   .string(new Uint8Array(1))
   * const reader = new Reader(writer.finish())
   * console.log(reader.uint8(), reader.bytes(2).length, reader.nameList()) // 20 2 [ 'none', 'zlib' ]
   * console.log(reader.boolean(), reader.uint64(), reader.mpint()) // true 7n Uint8Array(1) [ 128 ]
   * console.log(reader.ascii(), reader.string(16).length, reader.rest().length) // exec 1 0
   * console.log(writer.reset().length) // 0
   */
  nameList(): readonly string[] {
    const text = this.ascii(NAME_LIST_BYTES_MAX)
    if (text === '') return []
    const names = text.split(',')
    if (names.length > NAME_LIST_NAMES_MAX) throw malformed(`a name-list of ${names.length} names`)
    return names.includes('') ? names.filter((name) => name !== '') : names
  }

  /** The magnitude of a non-negative mpint, without its leading zero; a view. */
  mpint(max = 2048): Uint8Array {
    const bytes = this.string(max)
    if (bytes.length === 0) return bytes
    if ((bytes[0] as number) & 0x80) throw malformed('a negative mpint')
    if (bytes[0] !== 0) return bytes
    if (bytes.length === 1 || !((bytes[1] as number) & 0x80)) {
      throw malformed('an mpint with unnecessary leading zeros')
    }
    return bytes.subarray(1)
  }

  /** Everything not read yet, as a view. */
  rest(): Uint8Array {
    return this.bytes(this.remaining)
  }

  /** Demands that everything was read. */
  end(): void {
    if (this.remaining !== 0) throw malformed(`${this.remaining} bytes after the end`)
  }

  #need(length: number): void {
    if (length > this.remaining) {
      throw malformed(`${length} bytes expected, ${this.remaining} left`)
    }
  }
}

function malformed(what: string): SshError {
  return new SshError('SSH_PROTOCOL', `malformed message: ${what}`)
}
