/** The client's side of the wire: requests go out, replies find whoever waits, in any order. */
import { SshError, type Transport } from '@sandbox-ssh/protocol'
import { BufferPool } from './buffers.ts'
import { getUint32 } from './fast.ts'
import { CLOSE_MS } from './limits.ts'
import { frame, PacketReader, PacketWriter } from './packets.ts'
import { printablePath } from './path.ts'
import { SftpError, STATUS, statusText } from './status.ts'
import * as wire from './wire.ts'

/** Hears of the reply to a request that its signal had called off. */
type Late = (packet: Uint8Array) => void

interface Pending {
  readonly resolve: (packet: Uint8Array) => void
  readonly reject: (error: unknown) => void
  readonly signal: AbortSignal | undefined
  readonly late: Late | undefined
}

/** What makes requests: a session, or a session under a signal. */
export interface Requester {
  readonly buffers: BufferPool
  readonly extensions: ReadonlyMap<string, string>
  /** See `Requests.request`. */
  request(
    encode: (id: number) => Uint8Array,
    signal?: AbortSignal,
    sent?: () => void,
    late?: Late,
  ): Promise<Uint8Array>
  /** Closes a handle. It is always sent; a signal only ends the waiting for the answer. */
  closeHandle(handle: Uint8Array, signal?: AbortSignal): Promise<void>
}

/** The requests one signal may call off: one listener for all, as runtimes warn about many. */
interface Watch {
  readonly ids: Set<number>
  readonly stop: () => void
}

/** One SFTP session as its client sees it. */
export class Requests implements Requester {
  /** What large packets, sent and received, are held in. */
  readonly buffers: BufferPool = new BufferPool()
  readonly #transport: Transport
  readonly #reader: PacketReader
  readonly #writer: PacketWriter
  readonly #pending = new Map<number, Pending>()
  /** Ids of requests whose caller gave up; the replies are still to come. */
  readonly #abandoned = new Map<number, Late | undefined>()
  readonly #watches = new Map<AbortSignal, Watch>()
  #nextId = 1
  #ended: { readonly error: unknown } | undefined
  #pump: Promise<void> | undefined
  /** What the server said it can, with its version of it. */
  extensions: ReadonlyMap<string, string> = new Map()

  private constructor(transport: Transport) {
    this.#transport = transport
    this.#reader = new PacketReader(transport, this.buffers)
    this.#writer = new PacketWriter(transport)
  }

  /**
   * The version exchange. Rejects with SshError: `SSH_CONNECTION_LOST` if the server leaves,
   * `SSH_PROTOCOL` if it speaks something else, `SSH_ABORTED` if `signal` fires. `said` is what the
   * server has to say if it leaves.
   */
  static async open(
    transport: Transport,
    signal?: AbortSignal,
    said?: () => Promise<string>,
  ): Promise<Requests> {
    throwIfAborted(signal)
    const requests = new Requests(transport)
    const stop = (): void => transport.abort(aborted(signal))
    signal?.addEventListener('abort', stop, { once: true })
    try {
      await requests.#greet(said)
    } catch (error) {
      throwIfAborted(signal)
      transport.abort(error)
      throw error
    } finally {
      signal?.removeEventListener('abort', stop)
    }
    requests.#pump = requests.#run()
    return requests
  }

  async #greet(said: (() => Promise<string>) | undefined): Promise<void> {
    this.#writer.send(frame(wire.init.encode({ version: wire.VERSION, extensions: new Map() })))
    const packet = await this.#reader.next()
    if (packet === undefined) {
      const why = (await said?.()) ?? ''
      throw lost(`the server ended the session at once${why === '' ? '' : `: ${why}`}`)
    }
    const { version, extensions } = wire.version.decode(packet)
    if (version !== wire.VERSION) {
      throw new SshError('SSH_PROTOCOL', `the server speaks SFTP version ${version}, not 3`)
    }
    this.extensions = extensions
  }

  /**
   * Sends the request that `encode` makes for an id, and resolves to the reply's packet. Rejects
   * with SshError `SSH_CONNECTION_LOST` if the session ends first, `SSH_ABORTED` if `signal` fires:
   * the request itself cannot be called back then, and `late` gets its reply, if any comes. `sent` is
   * called once the request has left.
   */
  request(
    encode: (id: number) => Uint8Array,
    signal?: AbortSignal,
    sent?: () => void,
    late?: Late,
  ): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) throw this.#ended.error
      throwIfAborted(signal)
      const id = this.#takeId()
      const bytes = encode(id)
      this.#pending.set(id, { resolve, reject, signal, late })
      if (signal !== undefined) this.#watch(signal).ids.add(id)
      this.#writer.send(bytes, sent)
    })
  }

  async closeHandle(handle: Uint8Array, signal?: AbortSignal): Promise<void> {
    const closed = this.request((id) => frame(wire.close.encode({ id, handle })))
    expectOk(await orAborted(closed, signal))
  }

  /** The same session for requests that all end with `signal`, unless they have one of their own. */
  under(signal: AbortSignal): Requester {
    const { buffers, extensions } = this
    return {
      buffers,
      extensions,
      request: (encode, own = signal, sent, late) => this.request(encode, own, sent, late),
      closeHandle: (handle, own = signal) => this.closeHandle(handle, own),
    }
  }

  /**
   * Ends our side; resolves when the server has ended its own, waiting requests answered, or has been
   * given up because it does not.
   */
  async close(closedMessage: string): Promise<void> {
    const timer = setTimeout(() => this.abort(lost('the server did not end the session')), CLOSE_MS)
    try {
      if (this.#ended === undefined) {
        await this.#writer.flush()
        await this.#transport.close()
      }
    } catch {
      // It broke meanwhile; whoever was waiting has been told.
    }
    await this.#pump
    // Whoever comes later is told that it was us.
    this.#ended = { error: lost(closedMessage) }
    clearTimeout(timer)
  }

  /** Drops the session; what is waiting rejects. */
  abort(reason: unknown): void {
    this.#fail(reason)
    this.#transport.abort(reason)
  }

  #watch(signal: AbortSignal): Watch {
    let watch = this.#watches.get(signal)
    if (watch === undefined) {
      const ids = new Set<number>()
      watch = { ids, stop: () => this.#abandon(signal, ids) }
      this.#watches.set(signal, watch)
      signal.addEventListener('abort', watch.stop, { once: true })
    }
    return watch
  }

  #abandon(signal: AbortSignal, ids: ReadonlySet<number>): void {
    const error = aborted(signal)
    for (const id of ids) {
      const pending = this.#take(id)
      this.#abandoned.set(id, pending?.late)
      pending?.reject(error)
    }
  }

  /** Takes a request out of the books, if it is in them. */
  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id)
    if (pending === undefined) return undefined
    this.#pending.delete(id)
    const { signal } = pending
    const watch = signal && this.#watches.get(signal)
    watch?.ids.delete(id)
    if (signal !== undefined && watch?.ids.size === 0) {
      this.#watches.delete(signal)
      signal.removeEventListener('abort', watch.stop)
    }
    return pending
  }

  #takeId(): number {
    while (this.#pending.has(this.#nextId) || this.#abandoned.has(this.#nextId)) {
      this.#nextId = (this.#nextId + 1) >>> 0
    }
    const id = this.#nextId
    this.#nextId = (id + 1) >>> 0
    return id
  }

  async #run(): Promise<void> {
    try {
      for (;;) {
        const packet = await this.#reader.next()
        if (packet === undefined) break
        this.#deliver(packet)
      }
      this.#fail(lost('the SFTP session has ended'))
    } catch (error) {
      this.#fail(error)
      this.#transport.abort(error)
    }
  }

  #deliver(packet: Uint8Array): void {
    if (packet.length < 5) throw new SshError('SSH_PROTOCOL', 'an SFTP reply without an id')
    const id = getUint32(packet, 1)
    const pending = this.#take(id)
    if (pending !== undefined) return pending.resolve(packet)
    const late = this.#abandoned.get(id)
    if (!this.#abandoned.delete(id)) {
      throw new SshError('SSH_PROTOCOL', `an SFTP reply to request ${id}, which was not made`)
    }
    late?.(packet)
  }

  #fail(error: unknown): void {
    if (this.#ended !== undefined) return
    const reason = error instanceof SshError ? error : lost('the SFTP session broke', error)
    this.#ended = { error: reason }
    for (const id of [...this.#pending.keys()]) this.#take(id)?.reject(reason)
  }
}

/** Reads a reply that carries nothing but success. Throws SftpError for any other status. */
export function expectOk(packet: Uint8Array): void {
  const { status, message } = wire.status.decode(packet)
  if (status !== STATUS.OK) throw statusError(status, message)
}

/** Reads a reply of a given kind. Throws SftpError for a status, SshError for another kind. */
export function expect<T>(
  codec: { readonly number: number; readonly decode: (packet: Uint8Array) => T },
  packet: Uint8Array,
): T {
  if (packet[0] === wire.FXP.STATUS && codec.number !== wire.FXP.STATUS) {
    const { status, message } = wire.status.decode(packet)
    if (status !== STATUS.OK) throw statusError(status, message)
    throw new SshError('SSH_PROTOCOL', 'an SFTP server answered OK where something was asked for')
  }
  return codec.decode(packet)
}

/** The error for a status; the server's text is made fit for a terminal. */
function statusError(status: number, message: string): SftpError {
  return new SftpError(status, message === '' ? statusText(status) : printablePath(message))
}

/** Throws SshError `SSH_ABORTED` if `signal` has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw aborted(signal)
}

/** The outcome of something that others wait for as well, unless `signal` fires first. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const giveUp = (): void => reject(aborted(signal))
    if (signal.aborted) giveUp()
    else signal.addEventListener('abort', giveUp, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp))
  })
}

/** As everywhere in SSH: a signal of `AbortSignal.timeout` is a deadline. */
function aborted(signal: AbortSignal | undefined): SshError {
  const cause: unknown = signal?.reason
  const isLate = cause instanceof Error && cause.name === 'TimeoutError'
  const code = isLate ? 'SSH_TIMEOUT' : 'SSH_ABORTED'
  return new SshError(code, 'the operation was aborted', { cause })
}

/** A transport that may have a second stream, for people. */
export interface Talkative {
  readStderr?(): Promise<Uint8Array | undefined>
}

/** Of what a server says to people, so much is kept. */
const SAID_BYTES_MAX = 1000

/**
 * Reads what the server says to people for as long as it talks, and keeps the beginning. The result
 * resolves with it once the server has ended, in one line that is fit for a terminal.
 */
export function listen(transport: Talkative): () => Promise<string> {
  let text = ''
  const all = (async () => {
    const decoder = new TextDecoder()
    for (;;) {
      const chunk = await transport.readStderr?.()
      if (chunk === undefined) break
      if (text.length < SAID_BYTES_MAX) text += decoder.decode(chunk, { stream: true })
    }
  })().catch(() => {})
  return async () => {
    await all
    const line = text.trim().replaceAll(/\s*[\r\n]+\s*/g, ' ')
    return printablePath(line.slice(0, SAID_BYTES_MAX))
  }
}

function lost(message: string, cause?: unknown): SshError {
  return new SshError('SSH_CONNECTION_LOST', message, { cause })
}
