/** A channel: a byte stream within the connection, with requests beside it. RFC 4254 §5. */
import { type Deferred, deferred, ignore, rejected } from './deferred.ts'
import { SshError } from './errors.ts'
import { Inbox } from './io/inbox.ts'
import type { Transport } from './io/transport.ts'
import { PENDING_REQUESTS_MAX, WINDOW_BYTES_MAX } from './limits.ts'
import type { ChannelId, Event } from './machine/event.ts'
import { aborted, type WaitOptions, waitFor } from './wait.ts'
import { EXTENDED_DATA } from './wire/numbers.ts'

/** What a channel asks of its connection. Each call is a command of the Machine. */
export interface ChannelPort {
  /** How long a request may wait for its answer, in milliseconds. */
  readonly replyMs: number
  sendData(channel: ChannelId, data: Uint8Array, extended: number): number
  sendEof(channel: ChannelId): void
  closeChannel(channel: ChannelId): void
  consume(channel: ChannelId, bytes: number): void
  widen(channel: ChannelId, windowBytes: number): void
  channelRequest(channel: ChannelId, name: string, data: Uint8Array, wantReply: boolean): void
  answerChannelRequest(channel: ChannelId, ok: boolean): void
}

/** What happens to a channel, told by its connection. */
export type ChannelEvent =
  | Extract<
      Event,
      {
        readonly type:
          | 'channel-data'
          | 'channel-writable'
          | 'channel-eof'
          | 'channel-closed'
          | 'channel-request'
          | 'channel-reply'
      }
    >
  | { readonly type: 'connection-closed'; readonly error: SshError }

/** Where bytes of the peer's stderr go. */
export type StderrMode = 'pipe' | 'merge' | 'ignore'

/** How a channel behaves; decided by whoever opens or accepts it. */
export interface ChannelOptions {
  readonly stderr: StderrMode
  /**
   * Close once both sides have ended. Not for sessions, whose exit status may come after both:
   * those end by the server's CLOSE.
   */
  readonly closeWhenEnded: boolean
}

/** Answers a request of the peer at once: true for success. */
export type RequestListener = (request: string, data: Uint8Array) => boolean

/** Internal: how the connection tells a channel what happened. */
export let deliver: (channel: Channel, event: ChannelEvent) => void
/**
 * Internal: who takes the requests of the peer, and hears when nothing of the peer waits to be
 * read any more.
 */
export let listen: (channel: Channel, onRequest: RequestListener, onDrained: () => void) => void

interface Outgoing {
  data: Uint8Array
  readonly extended: number
  readonly written: Deferred<void>
}

const DONE: Promise<void> = Promise.resolve()
const NOTHING = new Uint8Array(0)

/**
 * A channel of either side. `close` ends our direction (EOF), `abort` the whole of it (CLOSE); what
 * nobody reads is held back by the window, so memory stays bounded.
 *
 * @example
 * const channel = await client.directTcpip('127.0.0.1', 7)
 * await channel.write(new TextEncoder().encode('back to me'))
 * console.log(new TextDecoder().decode(await channel.read())) // back to me
 * await channel.close()
 * console.log(await channel.read()) // undefined
 */
export class Channel implements Transport {
  // What is for this package only reaches private members instead of being seen by users.
  static {
    deliver = (channel, event) => channel.#deliver(event)
    listen = (channel, onRequest, onDrained) => {
      channel.#onRequest = onRequest
      channel.#onDrained = onDrained
    }
  }

  /** Our number for it, RFC 4254 §5. */
  readonly id: ChannelId
  /** Such as `session` or `direct-tcpip`. */
  readonly type: string
  readonly #port: ChannelPort
  readonly #options: ChannelOptions
  readonly #stdout = new Inbox()
  readonly #stderr = new Inbox()
  #discardStdout = false
  #discardStderr: boolean
  /** Writes that were not wholly granted yet, stdout and stderr in the order of asking. */
  readonly #outgoing: Outgoing[] = []
  readonly #replies: Deferred<boolean>[] = []
  readonly #closed = deferred<void>()
  #onRequest: RequestListener = () => false
  #onDrained: () => void = ignore
  /** Ours: writing has ended, EOF follows what is queued. */
  #ending: Deferred<void> | undefined
  #eofSent = false
  #eofReceived = false
  #closeSent = false
  /** The id is no longer ours: no command may name it. */
  #gone = false
  /** Why writing is not possible any more. */
  #writeError: unknown
  /** Why stdout may not be written any more. */
  #refused: unknown
  #failure: SshError | undefined
  #abortReason: unknown
  #readable: ReadableStream<Uint8Array> | undefined
  #readableStderr: ReadableStream<Uint8Array> | undefined
  #writable: WritableStream<Uint8Array> | undefined

  /** Internal: channels are made by their connection. */
  constructor(id: ChannelId, type: string, port: ChannelPort, options: ChannelOptions) {
    this.id = id
    this.type = type
    this.#port = port
    this.#options = options
    this.#discardStderr = options.stderr === 'ignore'
  }

  /** Resolves when the channel is fully closed or the connection is gone; never rejects. */
  get closed(): Promise<void> {
    return this.#closed.promise
  }

  /**
   * What `read` gives, as a stream, made when first asked for. Nothing is read ahead, so the peer is
   * credited only for what was taken. Cancelling it discards what still comes.
   */
  get readable(): ReadableStream<Uint8Array> {
    this.#readable ??= pullStream(
      () => this.read(),
      () => this.discard(),
    )
    return this.#readable
  }

  /** What `readStderr` gives, as a stream, made when first asked for. */
  get readableStderr(): ReadableStream<Uint8Array> {
    this.#readableStderr ??= pullStream(
      () => this.readStderr(),
      () => this.discardStderr(),
    )
    return this.#readableStderr
  }

  /** `write` and `close` as a stream. Aborting it closes the whole channel. */
  get writable(): WritableStream<Uint8Array> {
    this.#writable ??= new WritableStream<Uint8Array>({
      write: (chunk) => this.write(chunk),
      close: () => this.close(),
      abort: (reason) => this.abort(reason),
    })
    return this.#writable
  }

  /**
   * Next bytes of the peer, or undefined at its EOF or CLOSE. Rejects with SshError
   * `SSH_CONNECTION_LOST` (or what ended the connection) if it was cut before that. One call at a
   * time; one given up by its signal takes nothing.
   */
  read(options?: WaitOptions): Promise<Uint8Array | undefined> {
    return this.#take(this.#stdout, options?.signal)
  }

  /**
   * The same for the extended data of type stderr, which shares the window with `read`.
   *
   * @example
   * const client = await pair({
   *   exec: async (session) => {
   *     await session.writeStderr(new TextEncoder().encode('no such file'))
   *     return 1
   *   },
   * })
   * const { channel } = await client.exec('cat missing')
   * console.log(new TextDecoder().decode(await channel.readStderr())) // no such file
   * console.log(await channel.readStderr()) // undefined
   */
  readStderr(options?: WaitOptions): Promise<Uint8Array | undefined> {
    return this.#take(this.#stderr, options?.signal)
  }

  /**
   * Resolves when the last byte has passed into the packet layer, which needs window of the peer.
   * The chunk must not change until then. Rejects with SshError `SSH_CHANNEL_CLOSED` after `close`
   * or once the peer closed. A rejection nobody looks at is not an unhandled one. Of a write given
   * up by its signal the rest is never sent, while what the peer had room for is on its way.
   */
  write(chunk: Uint8Array, options?: WaitOptions): Promise<void> {
    return this.#write(chunk, 0, options?.signal)
  }

  /**
   * The same as extended data of type stderr, which servers send.
   *
   * @example
   * // A channel type of one's own, with two streams to the client.
   * const client = await pair({
   *   channels: {
   *     'two-streams@example.com': async (channel) => {
   *       await channel.writeStderr(new TextEncoder().encode('progress'))
   *       await channel.write(new TextEncoder().encode('result'))
   *       await channel.close()
   *     },
   *   },
   * })
   * const channel = await client.openChannel('two-streams@example.com')
   * console.log(new TextDecoder().decode(await channel.read())) // result
   * channel.discardStderr()
   * await channel.close()
   */
  writeStderr(chunk: Uint8Array, options?: WaitOptions): Promise<void> {
    return this.#write(chunk, EXTENDED_DATA.STDERR, options?.signal)
  }

  /**
   * Sends EOF behind what was written; resolves when it is on its way. Reading goes on. The signal
   * ends only the waiting.
   */
  close(options: WaitOptions = {}): Promise<void> {
    if (this.#ending === undefined) {
      this.#ending = deferred()
      if (this.#gone || this.#closeSent) this.#ending.resolve()
      else this.#flush()
    }
    return waitFor(this.#ending.promise, { signal: options.signal, what: 'closing' })
  }

  /**
   * Sends CLOSE. Pending reads and writes reject with `reason`, by default SshError `SSH_ABORTED`,
   * and what was not read is dropped. Resources are free once `closed` resolves.
   */
  abort(reason?: unknown): void {
    this.#abortReason ??=
      reason ?? new SshError('SSH_ABORTED', 'the channel was closed on this side')
    const why = this.#abortReason
    this.#stdout.abort(why)
    this.#stderr.abort(why)
    this.#failWriting(why)
    this.#drained()
    this.#sendClose()
  }

  /**
   * Internal: as `abort`, but without CLOSE. What the peer still sends is dropped and credited, so
   * that it can come to its own end.
   */
  leave(reason: unknown): void {
    this.#consume(this.#stdout.clear() + this.#stderr.clear())
    this.#stdout.abort(reason)
    this.#stderr.abort(reason)
    this.#failWriting(reason)
    this.#drained()
  }

  /** `abort`, and waits for the channel to be gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.abort()
    await this.closed
  }

  /**
   * A request with an answer: true if the peer granted it. Rejects with SshError
   * `SSH_CHANNEL_CLOSED` if the channel closes first, `SSH_LIMIT` if too many are waiting,
   * `SSH_TIMEOUT` if no answer comes in time.
   *
   * @example
   * import { requests } from '@sandbox-ssh/protocol'
   *
   * // What `Client.exec` does, by hand.
   * const channel = await client.session()
   * channel.notify('env', requests.environment.encode({ name: 'LANG', value: 'C.UTF-8' }))
   * const command = new TextEncoder().encode('echo by hand')
   * console.log(await channel.request('exec', requests.exec.encode({ command }))) // true
   * console.log(new TextDecoder().decode(await channel.read()).trim()) // by hand
   * channel.discard()
   * channel.abort()
   */
  request(name: string, data: Uint8Array = NOTHING, options: WaitOptions = {}): Promise<boolean> {
    const { signal } = options
    if (signal?.aborted) return rejected(aborted(signal))
    if (this.#gone || this.#closeSent) return rejected(closedError())
    if (this.#replies.length >= PENDING_REQUESTS_MAX) {
      return rejected(
        new SshError('SSH_LIMIT', `${PENDING_REQUESTS_MAX} channel requests are waiting already`),
      )
    }
    const reply = deferred<boolean>()
    this.#replies.push(reply)
    this.#port.channelRequest(this.id, name, data, true)
    const what = `the answer to ${name}`
    return waitFor(reply.promise, { signal, what, limitMs: this.#port.replyMs })
  }

  /** A request that wants no answer. Ignored once the channel is closed. */
  notify(name: string, data: Uint8Array = NOTHING): void {
    if (this.#gone || this.#closeSent) return
    this.#port.channelRequest(this.id, name, data, false)
  }

  /**
   * Lets the peer have so many bytes on their way to us, if that is more than before: what one
   * direction carries in a second is at most the window divided by the round trip. Costs as much
   * memory while nobody reads. Throws RangeError above 64 MiB.
   *
   * @example
   * const channel = await client.directTcpip('localhost', 7)
   * // 100 Mbit/s over 200 ms need 2.5 MB under way.
   * channel.widen(4 * 1024 * 1024)
   * await channel.write(new Uint8Array(1000))
   * await channel.flushed()
   * console.log((await channel.read())?.length) // 1000
   * await channel.close()
   */
  widen(windowBytes: number): void {
    if (!Number.isInteger(windowBytes) || windowBytes > WINDOW_BYTES_MAX) {
      throw new RangeError(`windowBytes must be an integer of at most ${WINDOW_BYTES_MAX}`)
    }
    if (!this.#gone && !this.#closeSent) this.#port.widen(this.id, windowBytes)
  }

  /** Drops bytes of the peer, those that wait and those to come, so that they stall nothing. */
  discard(): void {
    this.#discardStdout = true
    this.#consume(this.#stdout.clear())
    this.#drained()
  }

  /** The same for stderr. */
  discardStderr(): void {
    this.#discardStderr = true
    this.#consume(this.#stderr.clear())
    this.#drained()
  }

  /** True if nothing of the peer waits to be read. */
  get drained(): boolean {
    return this.#stdout.bytes === 0 && this.#stderr.bytes === 0
  }

  /** What cut the channel off, if it did not end by a CLOSE. */
  get failure(): SshError | undefined {
    return this.#failure
  }

  /** True once the peer's EOF or CLOSE has come. */
  get peerEnded(): boolean {
    return this.#eofReceived
  }

  /** True if `read` would have to wait for the peer. */
  get readWouldWait(): boolean {
    return this.#stdout.bytes === 0 && !this.#stdout.ended
  }

  /** Resolves when what was written so far is granted, or never will be. */
  flushed(options: WaitOptions = {}): Promise<void> {
    if (this.#outgoing.length === 0) return DONE
    const written = deferred<void>()
    this.#outgoing.push({ data: NOTHING, extended: EXTENDED_DATA.STDERR, written })
    const { signal } = options
    return waitFor(written.promise.catch(ignore), { signal, what: 'what was written' })
  }

  /** Internal: makes further writes of stdout reject, and those that wait too; stderr goes on. */
  refuseWrites(reason: unknown): void {
    this.#refused ??= reason
    const kept = this.#outgoing.filter((outgoing) => outgoing.extended !== 0)
    for (const outgoing of this.#outgoing) {
      if (outgoing.extended === 0) outgoing.written.reject(reason)
    }
    this.#outgoing.splice(0, this.#outgoing.length, ...kept)
    this.#flush()
  }

  #deliver(event: ChannelEvent): void {
    switch (event.type) {
      case 'channel-data':
        this.#receive(event.data, event.extended)
        break
      case 'channel-writable':
        this.#flush()
        break
      case 'channel-eof':
        this.#endReading()
        this.#closeIfEnded()
        break
      case 'channel-request': {
        const ok = this.#onRequest(event.request, event.data)
        if (event.wantReply) this.#port.answerChannelRequest(this.id, ok)
        break
      }
      case 'channel-reply':
        this.#replies.shift()?.resolve(event.ok)
        break
      case 'channel-closed':
        this.#endReading()
        this.#end(closedError())
        break
      case 'connection-closed':
        this.#failure = event.error
        this.#stdout.fail(event.error)
        this.#stderr.fail(event.error)
        this.#end(event.error)
        break
    }
  }

  #receive(data: Uint8Array, extended: number): void {
    if (extended === 0 || (extended === EXTENDED_DATA.STDERR && this.#options.stderr === 'merge')) {
      this.#hand(this.#stdout, data, this.#discardStdout)
    } else {
      // An unknown kind of extended data is nothing anybody could ask for.
      this.#hand(this.#stderr, data, this.#discardStderr || extended !== EXTENDED_DATA.STDERR)
    }
  }

  #hand(inbox: Inbox, data: Uint8Array, discard: boolean): void {
    if (discard || inbox.ended || inbox.push(data)) this.#consume(data.length)
  }

  #take(inbox: Inbox, signal: AbortSignal | undefined): Promise<Uint8Array | undefined> {
    const waiting = inbox.bytes
    const next = inbox.read(signal)
    const taken = waiting - inbox.bytes
    if (taken > 0) {
      this.#consume(taken)
      if (inbox.bytes === 0) this.#drained()
    }
    return next
  }

  #consume(bytes: number): void {
    if (bytes > 0 && !this.#gone && !this.#closeSent) this.#port.consume(this.id, bytes)
  }

  #drained(): void {
    if (this.drained) this.#onDrained()
  }

  #write(chunk: Uint8Array, extended: number, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) return rejected(aborted(signal))
    const error = this.#writeError ?? (extended === 0 ? this.#refused : undefined)
    if (error !== undefined) return rejected(error)
    if (this.#ending !== undefined) {
      return rejected(new SshError('SSH_CHANNEL_CLOSED', 'writing to this channel has ended'))
    }
    if (!(chunk instanceof Uint8Array)) {
      return rejected(new TypeError('chunk must be a Uint8Array'))
    }
    let data = chunk
    if (this.#outgoing.length === 0) {
      const granted = this.#port.sendData(this.id, chunk, extended)
      if (granted === chunk.length) return DONE
      data = chunk.subarray(granted)
    }
    const outgoing: Outgoing = { data, extended, written: deferred<void>() }
    this.#outgoing.push(outgoing)
    const written = waitFor(outgoing.written.promise, { signal, what: 'writing' })
    if (signal !== undefined) written.catch(() => this.#forget(outgoing))
    return written
  }

  /** Does not send what is left of a write that was given up; what waits behind it goes on. */
  #forget(outgoing: Outgoing): void {
    const at = this.#outgoing.indexOf(outgoing)
    if (at < 0) return
    this.#outgoing.splice(at, 1)
    this.#flush()
  }

  /** Passes on what is granted now; EOF behind the last of it. */
  #flush(): void {
    if (this.#gone || this.#closeSent) return
    let done = 0
    for (const outgoing of this.#outgoing) {
      const granted = this.#port.sendData(this.id, outgoing.data, outgoing.extended)
      if (granted < outgoing.data.length) {
        outgoing.data = outgoing.data.subarray(granted)
        break
      }
      outgoing.written.resolve()
      done++
    }
    this.#outgoing.splice(0, done)
    if (this.#outgoing.length === 0 && this.#ending !== undefined && !this.#eofSent) {
      this.#eofSent = true
      this.#port.sendEof(this.id)
      this.#ending.resolve()
      this.#closeIfEnded()
    }
  }

  #endReading(): void {
    this.#eofReceived = true
    this.#stdout.end()
    this.#stderr.end()
    this.#drained()
  }

  #closeIfEnded(): void {
    if (this.#options.closeWhenEnded && this.#eofSent && this.#eofReceived) this.#sendClose()
  }

  #sendClose(): void {
    if (this.#gone || this.#closeSent) return
    this.#closeSent = true
    this.#failWriting(closedError())
    this.#port.closeChannel(this.id)
  }

  #failWriting(reason: unknown): void {
    this.#writeError ??= reason
    for (const outgoing of this.#outgoing.splice(0)) outgoing.written.reject(reason)
    this.#ending?.resolve()
  }

  /** The channel is no more. */
  #end(reason: SshError): void {
    if (this.#gone) return
    this.#gone = true
    this.#failWriting(reason)
    for (const reply of this.#replies.splice(0)) reply.reject(reason)
    this.#closed.resolve()
    this.#drained()
  }
}

function closedError(): SshError {
  return new SshError('SSH_CHANNEL_CLOSED', 'the channel is closed')
}

/** A stream that reads only when asked. */
export function pullStream(
  read: () => Promise<Uint8Array | undefined>,
  cancel: (reason: unknown) => void,
): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const chunk = await read()
        if (chunk === undefined) controller.close()
        else controller.enqueue(chunk)
      },
      cancel,
    },
    { highWaterMark: 0 },
  )
}
