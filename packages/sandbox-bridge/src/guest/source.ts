/** Pulling from the runtime's readable streams, so that what is not asked for is not read. */

/** The part of a readable stream that is used. */
export interface ReadableLike {
  on(event: 'data', listener: (chunk: Uint8Array) => void): unknown
  on(event: 'end' | 'close', listener: () => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  pause(): unknown
  resume(): unknown
  destroy(): unknown
}

/** A readable stream with one pending read at a time; it flows only while one is pending. */
export class Source {
  readonly #stream: ReadableLike
  readonly #chunks: Uint8Array[] = []
  #count = 0
  #ended = false
  #error: Error | undefined
  #waiting: (() => void) | undefined

  /** `isEnd` tells errors that mean the end, such as EIO from a terminal without programs. */
  constructor(stream: ReadableLike, isEnd: (error: Error) => boolean = () => false) {
    this.#stream = stream
    stream.on('data', (chunk) => {
      this.#chunks.push(chunk)
      this.#count++
      stream.pause()
      this.#wake()
    })
    stream.on('end', () => this.end())
    stream.on('close', () => this.end())
    stream.on('error', (error) => {
      if (!isEnd(error)) this.#error ??= error
      this.end()
    })
    stream.pause()
  }

  /** True while a read waits for the stream, rather than the stream for a read. */
  get starving(): boolean {
    return this.#waiting !== undefined
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Chunks that have come so far. */
  get count(): number {
    return this.#count
  }

  /** Next chunk, or undefined at the end. Rejects with what broke the stream. */
  async next(): Promise<Uint8Array | undefined> {
    for (;;) {
      const chunk = this.#chunks.shift()
      if (chunk !== undefined) return chunk
      if (this.#error !== undefined) throw this.#error
      if (this.#ended) return undefined
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
