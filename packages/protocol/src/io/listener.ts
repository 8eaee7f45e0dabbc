/** Where connections come in: what a forwarded port or socket is made of, at either end. */
import { type Deferred, deferred, rejected } from '../deferred.ts'
import { BACKLOG_MAX } from '../limits.ts'
import { aborted, type WaitOptions, waitFor } from '../wait.ts'
import type { Transport } from './transport.ts'

/** A connection that came in. Whoever accepts it owns the transport. */
export interface IncomingConnection {
  readonly transport: Transport
  /** Where it came from, as told by who took it. Empty for a Unix socket. */
  readonly originatorHost: string
  /** 0 for a Unix socket. */
  readonly originatorPort: number
}

/**
 * Somewhere that connections come in. A remote forward is one, so that one can be passed on
 * through another; `nodeListener` makes one of a `net.Server`.
 */
export interface Listener {
  /** The TCP port that listens. Needed where the choice was left open. */
  readonly port?: number
  /**
   * The next connection, or undefined once no more will come. One call at a time; one given up by its
   * signal loses no connection.
   */
  accept(options?: WaitOptions): Promise<IncomingConnection | undefined>
  /** Stops listening. Connections that were accepted go on; those that wait are dropped. */
  close(): Promise<void>
}

/** Connections between whom they come to and who accepts them, in order and bounded. */
export class Backlog<T> {
  readonly #drop: (connection: T) => void
  readonly #waiting: T[] = []
  #accepting: Deferred<T | undefined> | undefined
  #ended = false
  #error: unknown

  /** @param drop Gets those that nobody will accept. */
  constructor(drop: (connection: T) => void) {
    this.#drop = drop
  }

  /** Adds one; false if it was not taken, because too many wait or after the end. */
  offer(connection: T): boolean {
    if (this.#ended || this.#waiting.length >= BACKLOG_MAX) return false
    const accepting = this.#accepting
    this.#accepting = undefined
    if (accepting === undefined) this.#waiting.push(connection)
    else accepting.resolve(connection)
    return true
  }

  /** The next one; undefined after the end, or a rejection if that came with an error. */
  accept(signal?: AbortSignal): Promise<T | undefined> {
    if (signal?.aborted) return rejected(aborted(signal))
    const next = this.#waiting.shift()
    if (next !== undefined) return Promise.resolve(next)
    if (this.#ended) {
      return this.#error === undefined ? Promise.resolve(undefined) : rejected(this.#error)
    }
    if (this.#accepting !== undefined) return rejected(new TypeError('an accept is pending'))
    const accepting = deferred<T | undefined>()
    this.#accepting = accepting
    // Whoever gave up is not handed anything: the next to accept gets it.
    const giveUp = (): void => {
      if (this.#accepting === accepting) this.#accepting = undefined
    }
    signal?.addEventListener('abort', giveUp, { once: true })
    const wait = { signal, what: 'accepting' }
    return waitFor(accepting.promise, wait).finally(() =>
      signal?.removeEventListener('abort', giveUp),
    )
  }

  /** No more come, and those that wait are dropped. */
  end(error?: unknown): void {
    if (this.#ended) return
    this.#ended = true
    this.#error = error
    for (const connection of this.#waiting.splice(0)) this.#drop(connection)
    if (error === undefined) this.#accepting?.resolve(undefined)
    else this.#accepting?.reject(error)
    this.#accepting = undefined
  }
}
