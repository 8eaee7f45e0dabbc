/** Input of one session on its way to a program or a socket. */

/** Bytes queued for one session at which its carrier is not read any more. */
const HELD_BYTES_MAX = 1024 * 1024

/**
 * Chunks written one after the other by `write`. A receiver that does not read holds up only its
 * own queue; a client that ignores acknowledgements holds up only its own carrier.
 */
export class InputQueue {
  readonly #write: (chunk: Uint8Array) => Promise<void>
  readonly #finish: () => void
  readonly #chunks: Uint8Array[] = []
  #bytes = 0
  #opened = false
  #running = false
  #ended = false
  #closed = false
  #waiting: (() => void)[] = []

  /** `write` takes one chunk and reports failures itself; `finish` ends the stream. */
  constructor(write: (chunk: Uint8Array) => Promise<void>, finish: () => void) {
    this.#write = write
    this.#finish = finish
  }

  /** The receiver is there; until then everything waits. */
  open(): void {
    this.#opened = true
    this.#start()
  }

  /** Queues a chunk; after `end` it is dropped. */
  push(chunk: Uint8Array): void {
    if (this.#ended || this.#closed) return
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    this.#start()
  }

  /** Ends the stream behind what is queued. */
  end(): void {
    if (this.#ended || this.#closed) return
    this.#ended = true
    this.#start()
  }

  /** The receiver is gone. */
  close(): void {
    this.#closed = true
    this.#chunks.length = 0
    this.#bytes = 0
    this.#wake()
  }

  /** Resolves when all that was pushed has been taken, or nobody is left to take it. */
  async drained(): Promise<void> {
    while ((this.#running || this.#chunks.length > 0) && !this.#closed) await this.#changed()
  }

  /** Resolves while more may be pushed. */
  async room(): Promise<void> {
    while (this.#bytes >= HELD_BYTES_MAX && !this.#closed) await this.#changed()
  }

  get full(): boolean {
    return this.#bytes >= HELD_BYTES_MAX
  }

  #start(): void {
    if (this.#opened && !this.#running && !this.#closed) void this.#run()
  }

  async #run(): Promise<void> {
    this.#running = true
    for (;;) {
      const chunk = this.#chunks.shift()
      if (chunk === undefined) break
      await this.#write(chunk)
      this.#bytes = Math.max(this.#bytes - chunk.length, 0)
      this.#wake()
    }
    if (this.#ended && !this.#closed) {
      this.#closed = true
      this.#finish()
    }
    this.#running = false
    this.#wake()
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
