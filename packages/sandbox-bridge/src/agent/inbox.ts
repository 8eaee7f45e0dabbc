/** Bytes that came from the guest and wait for whoever reads them. */

/**
 * A queue of chunks with one reader. It has no bound of its own, because the carrier must always
 * be drained; its owner watches `bufferedBytes` and makes the producer stop.
 */
export class Inbox {
  readonly #chunks: Uint8Array[] = []
  readonly #onTaken: (count: number) => void
  #buffered = 0
  #state: 'open' | 'ended' | 'discarding' | { readonly error: unknown } = 'open'
  #waiting:
    | { resolve(chunk: Uint8Array | undefined): void; reject(error: unknown): void }
    | undefined

  /** `onTaken` hears how many bytes left the queue, read or discarded. */
  constructor(onTaken: (count: number) => void) {
    this.#onTaken = onTaken
  }

  get bufferedBytes(): number {
    return this.#buffered
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0 || this.#state === 'ended') return
    if (this.#state !== 'open') {
      this.#onTaken(chunk.length)
      return
    }
    const waiting = this.#waiting
    if (waiting === undefined) {
      this.#chunks.push(chunk)
      this.#buffered += chunk.length
      return
    }
    this.#waiting = undefined
    this.#onTaken(chunk.length)
    waiting.resolve(chunk)
  }

  /** Next chunk, or undefined at the end. One read at a time. */
  read(): Promise<Uint8Array | undefined> {
    if (this.#waiting !== undefined) {
      return Promise.reject(new TypeError('read while another read is pending'))
    }
    const chunk = this.#chunks.shift()
    if (chunk !== undefined) {
      this.#buffered -= chunk.length
      this.#onTaken(chunk.length)
      return Promise.resolve(chunk)
    }
    if (typeof this.#state === 'object') return Promise.reject(this.#state.error)
    if (this.#state !== 'open') return Promise.resolve(undefined)
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
    })
  }

  /** No more bytes will come; what is queued can still be read. */
  end(): void {
    if (this.#state !== 'open') return
    this.#state = 'ended'
    this.#waiting?.resolve(undefined)
    this.#waiting = undefined
  }

  /** The stream broke; reads reject once what is queued has been read. */
  fail(error: unknown): void {
    if (this.#state !== 'open') return
    this.#state = { error }
    this.#waiting?.reject(error)
    this.#waiting = undefined
  }

  /** Nobody will read again: what is queued and what still comes is dropped. */
  discard(): void {
    const dropped = this.#buffered
    this.#chunks.length = 0
    this.#buffered = 0
    if (this.#state === 'open') this.#state = 'discarding'
    this.#waiting?.resolve(undefined)
    this.#waiting = undefined
    if (dropped > 0) this.#onTaken(dropped)
  }
}
