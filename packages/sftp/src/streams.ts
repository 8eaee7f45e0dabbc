/** A remote file as a sequence of bytes: read ahead, or written behind, and always in order. */
import { InFlight } from './in-flight.ts'
import { IN_FLIGHT_BYTES_MAX } from './limits.ts'
import type { RemoteFile } from './remote-file-system.ts'
import { throwIfAborted } from './requests.ts'

/** What to read, and how. */
export interface ByteSourceOptions {
  readonly position?: number
  readonly length?: number
  readonly inFlight?: number
  readonly signal?: AbortSignal
}

/** Bytes in order. One `next` at a time. */
export interface ByteSource {
  /** The next chunk, or undefined at the end of the file. */
  next(): Promise<Uint8Array | undefined>
  /** Closes the file. Never rejects: nothing was written that could be lost. */
  close(): Promise<void>
}

interface Block {
  readonly position: number
  readonly length: number
  readonly started: number
  readonly data: Promise<Uint8Array>
}

/** Reads a file from front to back with as many requests in flight as pay. Owns the file. */
export function byteSource(file: RemoteFile, options: ByteSourceOptions = {}): ByteSource {
  return new Source(file, options)
}

class Source implements ByteSource {
  readonly #file: RemoteFile
  readonly #signal: AbortSignal | undefined
  readonly #inFlight: InFlight
  readonly #blocks: Block[] = []
  #blockBytes: number
  #next: number
  readonly #stop: number
  #ended = false
  #closed: Promise<void> | undefined
  /** Chunks given out; reading ahead grows with the reader's appetite. */
  #taken = 0

  constructor(file: RemoteFile, options: ByteSourceOptions) {
    this.#file = file
    this.#signal = options.signal
    this.#blockBytes = file.sizes.readBytes
    const fitting = Math.floor(IN_FLIGHT_BYTES_MAX / this.#blockBytes)
    this.#inFlight = new InFlight(options.inFlight ?? fitting)
    this.#next = options.position ?? 0
    this.#stop = this.#next + (options.length ?? Number.MAX_SAFE_INTEGER - this.#next)
  }

  async next(): Promise<Uint8Array | undefined> {
    for (;;) {
      throwIfAborted(this.#signal)
      this.#fill()
      const block = this.#blocks.shift()
      if (block === undefined) return undefined
      const data = await block.data
      this.#inFlight.learn(performance.now() - block.started)
      if (data.length < block.length) this.#short(block, data.length)
      if (data.length > 0) {
        this.#taken++
        return data
      }
    }
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    this.#ended = true
    this.#blocks.length = 0
    await this.#file.close(this.#signal).catch(() => {})
  }

  #fill(): void {
    // Two to begin with, so that a look at a file's first line does not fetch megabytes.
    const limit = Math.min(this.#inFlight.limit, 2 + 2 * this.#taken)
    while (!this.#ended && this.#next < this.#stop && this.#blocks.length < limit) {
      this.#blocks.push(this.#ask(this.#next, Math.min(this.#blockBytes, this.#stop - this.#next)))
      this.#next += this.#blocks.at(-1)?.length ?? 0
    }
  }

  #ask(position: number, length: number): Block {
    const data = this.#file.view(length, position, this.#signal)
    // Awaited in its turn; until then its failure must not count as unheard.
    data.catch(() => {})
    return { position, length, started: performance.now(), data }
  }

  /** Less came than was asked for: at the end, nothing; elsewhere the rest has to be asked for. */
  #short(block: Block, got: number): void {
    if (got === 0) {
      this.#ended = true
      this.#blocks.length = 0
      return
    }
    this.#blockBytes = Math.max(4096, Math.min(this.#blockBytes, got))
    this.#blocks.unshift(this.#ask(block.position + got, block.length - got))
  }
}

/** Where and how to write. */
export interface ByteSinkOptions {
  readonly position: number
  /** One write at a time: where they append, their order is all there is. */
  readonly ordered: boolean
  readonly inFlight?: number
  readonly signal?: AbortSignal
}

/** Takes bytes in order. One `write` at a time. */
export interface ByteSink {
  /**
   * Resolves when more may be written; the chunk may be used again then. Rejects if this or an earlier
   * write failed.
   */
  write(chunk: Uint8Array): Promise<void>
  /** Waits for all writes and closes the file. Rejects if any of it failed. */
  close(): Promise<void>
  /** Closes the file without waiting for anything. */
  abort(): void
}

/** Writes a file from front to back with as many requests in flight as pay. Owns the file. */
export function byteSink(file: RemoteFile, options: ByteSinkOptions): ByteSink {
  return new Sink(file, options)
}

class Sink implements ByteSink {
  readonly #file: RemoteFile
  readonly #signal: AbortSignal | undefined
  readonly #inFlight: InFlight
  readonly #ordered: boolean
  readonly #running = new Set<Promise<void>>()
  #position: number
  #failure: { readonly error: unknown } | undefined

  constructor(file: RemoteFile, options: ByteSinkOptions) {
    this.#file = file
    this.#signal = options.signal
    this.#position = options.position
    this.#ordered = options.ordered
    const fitting = Math.floor(IN_FLIGHT_BYTES_MAX / file.sizes.writeBytes)
    this.#inFlight = new InFlight(options.inFlight ?? fitting)
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; ) {
      this.#check()
      const part = chunk.subarray(at, at + this.#file.sizes.writeBytes)
      const limit = this.#ordered ? 1 : this.#inFlight.limit
      while (this.#running.size >= limit) await Promise.race(this.#running)
      this.#check()
      this.#start(part)
      at += part.length
    }
    if (this.#ordered) await Promise.all(this.#running)
    this.#check()
  }

  async close(): Promise<void> {
    await Promise.all(this.#running)
    const closed = this.#file.close(this.#signal)
    if (this.#failure !== undefined) {
      closed.catch(() => {})
      throw this.#failure.error
    }
    await closed
  }

  abort(): void {
    this.#failure ??= { error: new Error('the stream was aborted') }
    void this.#file.close().catch(() => {})
  }

  #start(part: Uint8Array): void {
    const draft = this.#file.draft(part.length)
    draft.body.set(part)
    const started = performance.now()
    const position = this.#position
    this.#position += part.length
    const sent: Promise<void> = this.#file
      .send(draft, position, part.length, this.#signal)
      .then(() => this.#inFlight.learn(performance.now() - started))
      .catch((error: unknown) => {
        this.#failure ??= { error }
      })
      .finally(() => this.#running.delete(sent))
    this.#running.add(sent)
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure.error
    throwIfAborted(this.#signal)
  }
}

/** Chunks in one array, without a copy where there is only one. */
export function collect(chunks: readonly Uint8Array[], bytes: number): Uint8Array {
  const [first] = chunks
  if (first !== undefined && chunks.length === 1) return first
  const all = new Uint8Array(bytes)
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}
