/** Filesystem operations under way: one request, perhaps a stream, one response. */
import { AgentError, parseErrno } from './error.ts'
import type { Session } from './link.ts'
import type { FsResponse, Message } from './messages.ts'

/** What a successful response may hold. */
export type FsDataVariant = NonNullable<FsResponse['data']>

/** A promise with its ends outside. */
abstract class FsSession<T> implements Session {
  readonly result: Promise<T>
  protected resolve: (value: T) => void = () => {}
  protected reject: (error: Error) => void = () => {}

  constructor() {
    this.result = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    // The caller may have stopped waiting by the time it fails.
    this.result.catch(() => {})
  }

  handle(message: Message): void {
    switch (message.type) {
      case 'core.fs.data':
        this.onData(message.payload.data)
        break
      case 'core.fs.response':
        if (message.payload.ok) {
          this.onSuccess(message.payload.data)
        } else {
          const text = message.payload.error ?? 'the guest gave no reason'
          this.reject(new AgentError('fs', text, { errno: parseErrno(text) }))
        }
        break
      case 'core.error':
        this.reject(new AgentError(message.payload.kind, message.payload.message))
        break
      default:
    }
  }

  lost(error: Error): void {
    this.reject(error)
  }

  protected onData(_chunk: Uint8Array): void {}

  protected abstract onSuccess(data: FsDataVariant | undefined): void
}

/** An operation with one answer. */
export class FsSingle extends FsSession<FsDataVariant | undefined> {
  protected override onSuccess(data: FsDataVariant | undefined): void {
    this.resolve(data)
  }
}

/** A write stream; the answer comes once, at its end or at its first error. */
export class FsWrite extends FsSession<void> {
  protected override onSuccess(): void {
    this.resolve()
  }
}

/** A read stream, collected. */
export class FsRead extends FsSession<Uint8Array> {
  readonly #length: number
  #chunks: Uint8Array[] = []
  #filled = 0

  constructor(length: number) {
    super()
    this.#length = length
  }

  protected override onData(chunk: Uint8Array): void {
    this.#filled += chunk.length
    if (this.#filled > this.#length) {
      this.#chunks = []
      this.reject(new AgentError('protocol', 'the agent sent more than was asked for'))
    } else {
      this.#chunks.push(chunk)
    }
  }

  protected override onSuccess(): void {
    const [only] = this.#chunks
    // The usual case: one chunk, which is a view of what the carrier brought.
    this.resolve(only !== undefined && this.#chunks.length === 1 ? only : joined(this.#chunks))
  }
}

/** One array out of several. */
export function joined(chunks: readonly Uint8Array[]): Uint8Array {
  let bytes = 0
  for (const chunk of chunks) bytes += chunk.length
  const all = new Uint8Array(bytes)
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}
