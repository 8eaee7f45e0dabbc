/**
 * Large buffers that are used again. Making one costs more than filling it: runtimes fill it with
 * zeros, and collect garbage by how many bytes were made.
 */
import { PACKET_BYTES_MAX } from './limits.ts'

/** Smaller ones are cheap to make. */
const POOLED_BYTES_MIN = 16 * 1024
/** Buffers are made in multiples of this, so that those of one transfer fit all its packets. */
const STEP_BYTES = 16 * 1024
/** The largest frame, with its length field. */
const POOLED_BYTES_MAX = Math.ceil((4 + PACKET_BYTES_MAX) / STEP_BYTES) * STEP_BYTES
/** What lies idle in one pool at most. */
const IDLE_BYTES_MAX = 4 * 1024 * 1024

/** The buffers of one session. Their old contents are never looked at, and never leave it. */
export class BufferPool {
  readonly #idle: ArrayBuffer[] = []
  readonly #lent: WeakSet<ArrayBufferLike> = new WeakSet()
  #idleBytes = 0

  /** `length` bytes of anything. They need not come back. */
  take(length: number): Uint8Array {
    if (length < POOLED_BYTES_MIN || length > POOLED_BYTES_MAX) return new Uint8Array(length)
    const size = Math.ceil(length / STEP_BYTES) * STEP_BYTES
    const at = this.#idle.findIndex(({ byteLength }) => byteLength === size)
    const buffer = at === -1 ? new ArrayBuffer(size) : (this.#idle.splice(at, 1)[0] as ArrayBuffer)
    if (at !== -1) this.#idleBytes -= size
    this.#lent.add(buffer)
    return new Uint8Array(buffer, 0, length)
  }

  /**
   * Takes back what a view made by `take`, or a part of one, refers to. Nobody may look at it any
   * more. Views of anything else are ignored.
   */
  give({ buffer }: Uint8Array): void {
    if (!this.#lent.delete(buffer)) return
    if (this.#idleBytes + buffer.byteLength > IDLE_BYTES_MAX) return
    this.#idle.push(buffer as ArrayBuffer)
    this.#idleBytes += buffer.byteLength
  }
}
