/**
 * Flow control arithmetic, RFC 4254 §5.2. What we may send is `SendWindow`; what the peer may send is
 * `ReceiveWindow`. Credit goes back when the consumer takes bytes, never on arrival: that bounds
 * memory by windows × channels. It goes in pieces of an eighth of a window, which costs four messages
 * a megabyte: what is held back is lost to a sender far away, who can only fill the rest.
 */
import { assert } from '../assert.ts'
import { SshError } from '../errors.ts'

const WINDOW_BYTES_MAX = 2 ** 32 - 1
const CREDITS_PER_WINDOW = 8

/** Bytes we may still send. */
export class SendWindow {
  #bytes: number

  constructor(bytes: number) {
    this.#bytes = bytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /** The peer's WINDOW_ADJUST. Throws SshError `SSH_PROTOCOL` past 2^32 − 1. */
  add(bytes: number): void {
    if (this.#bytes + bytes > WINDOW_BYTES_MAX) {
      throw new SshError('SSH_PROTOCOL', 'a window grew past 2^32 - 1 bytes')
    }
    this.#bytes += bytes
  }

  /** Bytes we send now. */
  take(bytes: number): void {
    assert(bytes <= this.#bytes, `${bytes} bytes sent into a window of ${this.#bytes}`)
    this.#bytes -= bytes
  }
}

/** Bytes the peer may still send, and those it sent that nobody has taken. */
export class ReceiveWindow {
  #size: number
  #open: number
  #untaken = 0
  #credit = 0

  constructor(size: number) {
    this.#size = size
    this.#open = size
  }

  get size(): number {
    return this.#size
  }

  /** Makes the window larger; returns the bytes to announce in a WINDOW_ADJUST, or 0. */
  widen(size: number): number {
    const more = Math.max(0, size - this.#size)
    this.#size += more
    this.#open += more
    return more
  }

  /** Data arrived. Throws SshError `SSH_PROTOCOL` if it was more than we allowed. */
  receive(bytes: number): void {
    if (bytes > this.#open) {
      throw new SshError('SSH_PROTOCOL', `${bytes} bytes of data into a window of ${this.#open}`)
    }
    this.#open -= bytes
    this.#untaken += bytes
  }

  /** The consumer took data; returns the bytes to announce in a WINDOW_ADJUST, or 0. */
  consume(bytes: number): number {
    assert(bytes <= this.#untaken, `${bytes} bytes taken of ${this.#untaken}`)
    this.#untaken -= bytes
    this.#credit += bytes
    if (this.#credit * CREDITS_PER_WINDOW < this.#size) return 0
    const give = this.#credit
    this.#credit = 0
    this.#open += give
    return give
  }
}
