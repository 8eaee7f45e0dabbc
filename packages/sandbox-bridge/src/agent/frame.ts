/**
 * Framing of the agent protocol: `u32 length | u32 id | u8 flags | CBOR body`, all big-endian.
 * The header never changes between generations, so a relay needs nothing but this file.
 */
import { AgentError } from './error.ts'

/** Last frame of its id. */
export const TERMINAL = 0x01
/** First frame of a session; the relay keeps its kill list by it. */
export const SESSION_START = 0x02
/** Power off; the only frame of a client that may carry id 0. */
export const SHUTDOWN = 0x04

/** Bytes of id and flags, which `length` counts; the smallest legal `length`. */
export const HEADER_BYTES = 5
/** Bytes before the body: the length prefix and the header. */
export const PREFIX_BYTES = 9
/** Largest `length` of the protocol. */
export const FRAME_LENGTH_MAX: number = 4 * 1024 * 1024
/**
 * Largest frame we send. The agent cuts frames out of one buffer of 4 MiB that it fills in 64 KiB
 * reads, and exits when that overflows; a quarter of it leaves room for whatever follows.
 */
export const SENT_FRAME_BYTES_MAX: number = 1024 * 1024

/** One frame, as views into the bytes that brought it. */
export interface Frame {
  readonly id: number
  readonly flags: number
  /** The CBOR item. */
  readonly body: Uint8Array
  /** The whole frame with its length prefix, for forwarding it as it came. */
  readonly bytes: Uint8Array
}

/** Writes prefix and header for a body of `bodyBytes` into `target` at 0. */
export function writePrefix(
  target: Uint8Array,
  id: number,
  flags: number,
  bodyBytes: number,
): void {
  writeUint32(target, 0, bodyBytes + HEADER_BYTES)
  writeUint32(target, 4, id)
  target[8] = flags
}

/** A frame around `body`, which is copied. @throws RangeError past 4 MiB. */
export function encodeFrame(id: number, flags: number, body: Uint8Array): Uint8Array {
  if (body.length + HEADER_BYTES > FRAME_LENGTH_MAX) {
    throw new RangeError(`frame body of ${body.length} bytes exceeds ${FRAME_LENGTH_MAX}`)
  }
  const frame = new Uint8Array(PREFIX_BYTES + body.length)
  writePrefix(frame, id, flags, body.length)
  frame.set(body, PREFIX_BYTES)
  return frame
}

/** Reads a big-endian u32; the caller has checked the bounds. */
export function readUint32(bytes: Uint8Array, offset: number): number {
  return (
    ((bytes[offset]! << 24) |
      (bytes[offset + 1]! << 16) |
      (bytes[offset + 2]! << 8) |
      bytes[offset + 3]!) >>>
    0
  )
}

/** Writes a big-endian u32; the caller has checked the bounds. */
export function writeUint32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 24
  bytes[offset + 1] = value >>> 16
  bytes[offset + 2] = value >>> 8
  bytes[offset + 3] = value
}

/**
 * Cuts frames out of a byte stream. A frame inside one chunk is a view of it; only a frame that
 * straddles chunks is copied, once, so a peer sending one byte at a time costs linear work. What
 * is held never exceeds one frame and one chunk.
 */
export class FrameDecoder {
  readonly #lengthMax: number
  #chunk: Uint8Array = new Uint8Array(0)
  #offset = 0
  /** The length prefix, while fewer than its 4 bytes have come. */
  readonly #prefix = new Uint8Array(4)
  #prefixFilled = 0
  /** A frame that straddles chunks, grown as its bytes come and never ahead of them by much. */
  #partial: Uint8Array | undefined
  #partialFilled = 0

  constructor(lengthMax: number = FRAME_LENGTH_MAX) {
    this.#lengthMax = lengthMax
  }

  /** True between frames: nothing of a next one has come. */
  get idle(): boolean {
    return (
      this.#offset === this.#chunk.length && this.#prefixFilled === 0 && this.#partial === undefined
    )
  }

  /** Forgets a frame of which only a part has come. */
  reset(): void {
    this.#chunk = new Uint8Array(0)
    this.#offset = 0
    this.#prefixFilled = 0
    this.#partial = undefined
    this.#partialFilled = 0
  }

  /** Takes ownership of `chunk`. Call `next` until it returns undefined before pushing again. */
  push(chunk: Uint8Array): void {
    if (this.#offset < this.#chunk.length) {
      throw new TypeError('push before the previous chunk was used up')
    }
    this.#chunk = chunk
    this.#offset = 0
  }

  /**
   * The next `count` bytes that are not part of a frame (the relay's preamble), or undefined until
   * they have come. Only between frames.
   */
  takeRaw(count: number): Uint8Array | undefined {
    const partial = this.#partial ?? new Uint8Array(count)
    const bytes = this.#fill(partial, this.#partialFilled, count)
    this.#partial = bytes === count ? undefined : partial
    this.#partialFilled = bytes === count ? 0 : bytes
    return bytes === count ? partial : undefined
  }

  /** The next whole frame, if it has come. @throws AgentError `protocol` on a length out of bounds */
  next(): Frame | undefined {
    if (this.#partial === undefined) {
      const direct = this.#prefixFilled === 0 ? this.#nextInChunk() : undefined
      if (direct !== undefined) return direct
      this.#prefixFilled = this.#fill(this.#prefix, this.#prefixFilled, 4)
      if (this.#prefixFilled < 4) return undefined
      const total = 4 + this.#checkedLength(readUint32(this.#prefix, 0))
      this.#partial = new Uint8Array(Math.min(total, 64 * 1024))
      this.#partial.set(this.#prefix)
      this.#partialFilled = 4
      this.#prefixFilled = 0
    }
    return this.#nextStraddling()
  }

  #nextInChunk(): Frame | undefined {
    const available = this.#chunk.length - this.#offset
    if (available < PREFIX_BYTES) return undefined
    const length = this.#checkedLength(readUint32(this.#chunk, this.#offset))
    if (available < 4 + length) return undefined
    const start = this.#offset
    this.#offset += 4 + length
    return frameOf(this.#chunk.subarray(start, this.#offset))
  }

  #nextStraddling(): Frame | undefined {
    let partial = this.#partial!
    const total = 4 + readUint32(partial, 0)
    for (;;) {
      this.#partialFilled = this.#fill(
        partial,
        this.#partialFilled,
        Math.min(total, partial.length),
      )
      if (this.#partialFilled === total) break
      if (this.#partialFilled < partial.length) return undefined
      // Doubling keeps the copying linear and does not trust the length before the bytes are here.
      const grown = new Uint8Array(Math.min(total, partial.length * 2))
      grown.set(partial)
      partial = grown
      this.#partial = partial
    }
    this.#partial = undefined
    this.#partialFilled = 0
    return frameOf(partial.subarray(0, total))
  }

  /** Copies from the chunk into `target` up to `end`; returns how far it is filled now. */
  #fill(target: Uint8Array, filled: number, end: number): number {
    const count = Math.min(end - filled, this.#chunk.length - this.#offset)
    target.set(this.#chunk.subarray(this.#offset, this.#offset + count), filled)
    this.#offset += count
    return filled + count
  }

  #checkedLength(length: number): number {
    if (length < HEADER_BYTES || length > this.#lengthMax) {
      throw new AgentError(
        'protocol',
        `frame length ${length} is not between ${HEADER_BYTES} and ${this.#lengthMax}`,
      )
    }
    return length
  }
}

function frameOf(bytes: Uint8Array): Frame {
  return {
    id: readUint32(bytes, 4),
    flags: bytes[8]!,
    body: bytes.subarray(PREFIX_BYTES),
    bytes,
  }
}
