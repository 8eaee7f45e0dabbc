/** A pair of WHATWG streams as a transport. */
import { rejected } from '../deferred.ts'
import { SshError } from '../errors.ts'
import type { Transport } from './transport.ts'

/** A duplex in the usual web shape, such as a `WebTransportBidirectionalStream`. */
export interface WebStreamPair {
  readonly readable: ReadableStream<Uint8Array>
  readonly writable: WritableStream<Uint8Array>
}

/**
 * A transport over a readable and a writable stream of bytes; both are locked from now on.
 * Failures reject with SshError `SSH_TRANSPORT`, the original being the `cause`.
 *
 * @example
 * import { webStreams } from '@sandbox-ssh/protocol'
 *
 * const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
 * const transport = webStreams({ readable, writable })
 * const read = transport.read()
 * await transport.write(new TextEncoder().encode('through a stream'))
 * console.log(new TextDecoder().decode(await read)) // through a stream
 */
export function webStreams(pair: WebStreamPair): Transport {
  return new WebStreams(pair.readable.getReader(), pair.writable.getWriter())
}

class WebStreams implements Transport {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>
  #aborted: unknown
  #closing: Promise<void> | undefined

  constructor(
    reader: ReadableStreamDefaultReader<Uint8Array>,
    writer: WritableStreamDefaultWriter<Uint8Array>,
  ) {
    this.#reader = reader
    this.#writer = writer
  }

  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      const { done, value } = await this.#guard(this.#reader.read())
      if (this.#aborted !== undefined) throw this.#aborted
      if (done) return undefined
      if (!(value instanceof Uint8Array)) {
        throw new SshError('SSH_TRANSPORT', 'the readable stream yielded something else than bytes')
      }
      if (value.length > 0) return value
    }
  }

  write(chunk: Uint8Array): Promise<void> {
    if (this.#aborted !== undefined) return rejected(this.#aborted)
    if (chunk.length === 0) return Promise.resolve()
    // A stream may go on holding what it has taken, as an identity TransformStream does; a
    // transport's writer may use its buffer again.
    return this.#guard(this.#writer.write(chunk.slice()))
  }

  close(): Promise<void> {
    if (this.#aborted !== undefined) return rejected(this.#aborted)
    this.#closing ??= this.#guard(this.#writer.close())
    return this.#closing
  }

  abort(reason?: unknown): void {
    if (this.#aborted !== undefined) return
    this.#aborted = reason ?? new SshError('SSH_ABORTED', 'the transport was aborted')
    this.#reader.cancel(this.#aborted).catch(() => {})
    this.#writer.abort(this.#aborted).catch(() => {})
  }

  #guard<T>(promise: Promise<T>): Promise<T> {
    const guarded = promise.catch((cause: unknown) => {
      if (this.#aborted !== undefined) throw this.#aborted
      const what = cause instanceof Error ? cause.message : 'a stream was aborted'
      throw new SshError('SSH_TRANSPORT', `the transport failed: ${what}`, { cause })
    })
    guarded.catch(() => {})
    return guarded
  }
}
