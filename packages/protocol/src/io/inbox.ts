/**
 * A queue of chunks between somebody who pushes (an event, a socket) and one reader who pulls.
 * Adapters and channels are built on it; how much may be pushed is bounded by their callers.
 */
import { type Deferred, deferred, rejected } from '../deferred.ts'
import { aborted } from '../wait.ts'

/** One direction of bytes, as a queue with an end. */
export class Inbox {
  readonly #chunks: (Uint8Array | undefined)[] = []
  #head = 0
  #bytes = 0
  #waiting: Deferred<Uint8Array | undefined> | undefined
  #ended = false
  #error: unknown

  /** Bytes pushed and not yet read. */
  get bytes(): number {
    return this.#bytes
  }

  /** True once `end` or `fail` was called; what was pushed before may still be there. */
  get ended(): boolean {
    return this.#ended
  }

  /** True if a reader waits for the next chunk. */
  get wanted(): boolean {
    return this.#waiting !== undefined
  }

  /**
   * Adds a chunk, which is from now on the reader's. True if it went straight to a waiting reader.
   * Ignored after the end; empty chunks always.
   */
  push(chunk: Uint8Array): boolean {
    if (this.#ended || chunk.length === 0) return false
    const waiting = this.#waiting
    if (waiting !== undefined) {
      this.#waiting = undefined
      waiting.resolve(chunk)
      return true
    }
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    return false
  }

  /** No more will come; what is queued can still be read. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#waiting?.resolve(undefined)
    this.#waiting = undefined
  }

  /** Like `end`, but once the queue is empty reading rejects with `reason`. */
  fail(reason: unknown): void {
    if (this.#ended) return
    this.#ended = true
    this.#error = reason
    this.#waiting?.reject(reason)
    this.#waiting = undefined
  }

  /** Drops what is queued and makes reading reject at once, even after `end`. */
  abort(reason: unknown): void {
    this.clear()
    this.#ended = true
    this.#error = reason
    this.#waiting?.reject(reason)
    this.#waiting = undefined
  }

  /** Drops what is queued and tells how many bytes that was. */
  clear(): number {
    const dropped = this.#bytes
    this.#chunks.length = 0
    this.#head = 0
    this.#bytes = 0
    return dropped
  }

  /** The next queued chunk, if there is one. */
  take(): Uint8Array | undefined {
    if (this.#head === this.#chunks.length) return undefined
    const chunk = this.#chunks[this.#head] as Uint8Array
    this.#chunks[this.#head++] = undefined
    this.#bytes -= chunk.length
    if (this.#head === this.#chunks.length) {
      this.#chunks.length = 0
      this.#head = 0
    } else if (this.#head >= 1024 && this.#head * 2 >= this.#chunks.length) {
      this.#chunks.splice(0, this.#head)
      this.#head = 0
    }
    return chunk
  }

  /**
   * Next chunk, or undefined at the end; rejects after `fail`. One read at a time; one given up by its
   * signal takes nothing.
   */
  read(signal?: AbortSignal): Promise<Uint8Array | undefined> {
    if (signal?.aborted) return rejected(aborted(signal))
    const chunk = this.take()
    if (chunk !== undefined) return Promise.resolve(chunk)
    if (this.#ended) {
      return this.#error === undefined ? Promise.resolve(undefined) : rejected(this.#error)
    }
    if (this.#waiting !== undefined) return rejected(new TypeError('a read is already pending'))
    const waiting = deferred<Uint8Array | undefined>()
    this.#waiting = waiting
    if (signal === undefined) return waiting.promise
    const giveUp = (): void => {
      if (this.#waiting === waiting) this.#waiting = undefined
      waiting.reject(aborted(signal))
    }
    signal.addEventListener('abort', giveUp, { once: true })
    return waiting.promise.finally(() => signal.removeEventListener('abort', giveUp))
  }
}
