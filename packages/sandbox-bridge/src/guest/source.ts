/** Pulling from the runtime's readable streams, so that what is not asked for is not read. */

/** The part of a readable stream that is used. */
export interface ReadableLike {
  on(event: 'data', listener: (chunk: Uint8Array) => void): unknown
  on(event: 'end' | 'close', listener: () => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  pause(): unknown
  resume(): unknown
  destroy(): unknown
  readonly readableLength: number
}

/** A readable stream with one pending read at a time; it flows only while one is pending. */
export class Source {
  readonly #stream: ReadableLike
  readonly #chunks: Uint8Array[] = []
  #drain: (() => Uint8Array | undefined) | undefined
  #ended = false
  #error: Error | undefined
  #waiting: (() => void) | undefined

  constructor(stream: ReadableLike) {
    this.#stream = stream
    stream.on('data', (chunk) => {
      this.#chunks.push(chunk)
      stream.pause()
      this.#wake()
    })
    stream.on('end', () => this.end())
    stream.on('close', () => this.end())
    stream.on('error', (error) => {
      this.#error ??= error
      this.end()
    })
    stream.pause()
  }

  /**
   * No more will come than what is there now: `drain` gives the rest piece by piece, undefined at
   * its end. It is asked whenever the stream itself has nothing.
   */
  drainWith(drain: () => Uint8Array | undefined): void {
    this.#drain = drain
    this.#wake()
  }

  /** Next chunk, or undefined at the end. Rejects with what broke the stream. */
  async next(): Promise<Uint8Array | undefined> {
    for (;;) {
      const chunk = this.#chunks.shift()
      if (chunk !== undefined) return chunk
      if (this.#error !== undefined) throw this.#error
      if (this.#ended) return undefined
      // Whatever the stream has read and holds back is older than what is still to be read.
      if (this.#drain !== undefined && this.#stream.readableLength === 0) return this.#drain()
      this.#stream.resume()
      await new Promise<void>((resolve) => {
        this.#waiting = resolve
      })
    }
  }

  /** Ends it from our side; what has come can still be read. */
  end(): void {
    this.#ended = true
    this.#wake()
  }

  /** Drops everything and closes the stream. */
  destroy(): void {
    this.#chunks.length = 0
    this.end()
    this.#stream.destroy()
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.()
  }
}
