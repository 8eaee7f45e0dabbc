/** Bytes that came from the guest and wait for whoever reads them. */
import type { HeldBytes, Holder } from './held-bytes.ts'

/** What an inbox tells its owner. */
export interface InboxOwner {
  /** Counts what is held by all sessions of the connection. */
  readonly held: HeldBytes
  /** Hears how many bytes left the queue, read or discarded. */
  readonly onTaken: (count: number) => void
  /** The connection holds too much, and this queue most of it: its owner is to break it. */
  readonly onOverflow: () => void
}

/** Shorter chunks are joined, so that each costs what is counted and no more. */
const JOINED_BELOW_BYTES = 16 * 1024
const JOINED_BYTES_MAX = 64 * 1024

/**
 * A queue of chunks with one reader. It has no bound of its own, because the carrier must always
 * be drained; its owner watches `bufferedBytes` and makes the producer stop.
 */
export class Inbox implements Holder {
  readonly #chunks: Uint8Array[] = []
  readonly #owner: InboxOwner
  /** Memory of the last chunk, if that is one of ours and others may be joined to it. */
  #tail: Uint8Array | undefined
  #buffered = 0
  #state: 'open' | 'ended' | 'discarding' | { readonly error: unknown } = 'open'
  #waiting:
    | { resolve(chunk: Uint8Array | undefined): void; reject(error: unknown): void }
    | undefined

  constructor(owner: InboxOwner) {
    this.#owner = owner
  }

  get bufferedBytes(): number {
    return this.#buffered
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0 || this.#state === 'ended') return
    if (this.#state !== 'open') {
      this.#owner.onTaken(chunk.length)
      return
    }
    const waiting = this.#waiting
    if (waiting === undefined) {
      this.#queue(chunk)
      this.#hold(this.#buffered + chunk.length)
      return
    }
    this.#waiting = undefined
    this.#owner.onTaken(chunk.length)
    waiting.resolve(chunk)
  }

  /** Next chunk, or undefined at the end. One read at a time. */
  read(): Promise<Uint8Array | undefined> {
    if (this.#waiting !== undefined) {
      return Promise.reject(new TypeError('read while another read is pending'))
    }
    const chunk = this.#chunks.shift()
    if (chunk !== undefined) {
      if (this.#chunks.length === 0) this.#tail = undefined
      this.#hold(this.#buffered - chunk.length)
      this.#owner.onTaken(chunk.length)
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

  /** As `fail`, but what is queued is dropped, and reads reject even after the stream's end. */
  break(error: unknown): void {
    if (this.#state === 'discarding') return
    this.#state = { error }
    this.#waiting?.reject(error)
    this.#waiting = undefined
    this.#clear()
  }

  /** Nobody will read again: what is queued and what still comes is dropped. */
  discard(): void {
    if (this.#state === 'open') this.#state = 'discarding'
    this.#waiting?.resolve(undefined)
    this.#waiting = undefined
    const dropped = this.#clear()
    if (dropped > 0) this.#owner.onTaken(dropped)
  }

  /** For `HeldBytes`. */
  overflow(): void {
    this.#owner.onOverflow()
  }

  /**
   * A short chunk is a view of what the carrier brought, all of which it would keep alive; so it is
   * copied behind the one before.
   */
  #queue(chunk: Uint8Array): void {
    const last = this.#chunks.at(-1)
    const length = (last?.length ?? 0) + chunk.length
    const isShort = chunk.length < JOINED_BELOW_BYTES
    if (!isShort || this.#tail === undefined || last === undefined || length > JOINED_BYTES_MAX) {
      this.#tail = isShort ? chunk.slice() : undefined
      this.#chunks.push(this.#tail ?? chunk)
      return
    }
    if (length > this.#tail.length) {
      const larger = new Uint8Array(Math.min(length * 2, JOINED_BYTES_MAX))
      larger.set(last)
      this.#tail = larger
    }
    this.#tail.set(chunk, last.length)
    this.#chunks[this.#chunks.length - 1] = this.#tail.subarray(0, length)
  }

  #clear(): number {
    const dropped = this.#buffered
    this.#chunks.length = 0
    this.#tail = undefined
    this.#hold(0)
    return dropped
  }

  #hold(bytes: number): void {
    this.#buffered = bytes
    this.#owner.held.set(this, bytes)
  }
}
