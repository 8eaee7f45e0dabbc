/**
 * What client and server share around the Machine: channels by id, global requests in order,
 * keepalive, the time limit of the handshake, the end.
 */
import { Channel, type ChannelOptions, type ChannelPort, deliver } from './channel.ts'
import { GLOBAL_REQUEST } from './connection/requests.ts'
import { type Deferred, deferred, ignore, rejected } from './deferred.ts'
import { ChannelOpenError, SshError } from './errors.ts'
import type { Transport } from './io/transport.ts'
import {
  CHANNEL_OPEN_MS,
  PENDING_REQUESTS_MAX,
  REPLY_MS,
  UNANSWERED_REQUESTS_MAX,
} from './limits.ts'
import type { ChannelId, Event, Negotiated, Question, SessionBinding } from './machine/event.ts'
import type { Machine } from './machine/machine.ts'
import type { Deadlines } from './machine/options.ts'
import { printable } from './printable.ts'
import { nowMs, Pump, type Timer, unref } from './pump.ts'
import { aborted, throwIfAborted, type WaitOptions, waitFor } from './wait.ts'
import { DISCONNECT } from './wire/numbers.ts'

/** Keepalive of a connection, both values of OpenSSH's ServerAlive options. */
export interface Keepalive {
  /** Silence of the peer after which it is asked for a sign of life, in milliseconds. */
  readonly intervalMs: number
  /** Unanswered questions after which the connection is given up. */
  readonly countMax: number
}

/** Bounds on what one peer can make this side hold; memory is at most their product. */
export interface ConnectionLimits {
  /** Channels open at once. Default 256. */
  readonly channelsMax?: number
  /** Bytes a peer may send on a channel before anybody takes them. Default 2 MiB. */
  readonly windowBytes?: number
}

/** Events that a role sees; the rest is handled here. */
export type RoleEvent =
  | Question
  | Extract<
      Event,
      {
        readonly type: 'banner' | 'authenticated' | 'channel-open' | 'global-request' | 'extension'
      }
    >

/** What a role hands to its link. */
export interface LinkOptions {
  readonly machine: Machine
  readonly transport: Transport
  readonly onEvent: (event: RoleEvent) => void
  readonly onClosed: (error: SshError | undefined) => void
  readonly keepalive: Keepalive | undefined
  readonly deadlines: Deadlines | undefined
  /** Ends the handshake; once that is over it means nothing. */
  readonly signal: AbortSignal | undefined
}

/** How a channel is opened. */
export interface OpenOptions extends ChannelOptions, WaitOptions {
  /** Runs before anything of the peer reaches the channel. */
  readonly setUp?: (channel: Channel) => void
}

/** How a global request is made. */
export interface GlobalOptions extends WaitOptions {
  /**
   * Hears of a success before anything that the peer sent behind it; what it throws rejects. It is
   * called for one that comes when nobody waits for it any more, too.
   */
  readonly onReply?: ((data: Uint8Array) => void) | undefined
}

interface Opening {
  readonly opened: Deferred<Channel>
  readonly options: OpenOptions
  readonly type: string
}

/** A reply to a global request. */
interface GlobalReply {
  readonly ok: boolean
  readonly data: Uint8Array
}

/** A global request of ours under way; `onReply` runs before the next event is looked at. */
interface GlobalQuestion {
  readonly reply: Deferred<GlobalReply>
  readonly onReply: GlobalOptions['onReply']
}

/** Data of the success, or undefined for a failure. */
export type GlobalAnswer = Uint8Array | undefined

/** A global request of the peer that is to be worked on. */
interface GlobalWork {
  readonly wantReply: boolean
  readonly answer: () => GlobalAnswer | Promise<GlobalAnswer>
}

/** One connection: routes events of the machine to who waits for them. */
export class Link implements ChannelPort {
  readonly machine: Machine
  readonly #pump: Pump
  readonly #onEvent: LinkOptions['onEvent']
  readonly #onClosed: LinkOptions['onClosed']
  readonly #keepalive: Keepalive | undefined
  readonly #channels = new Map<ChannelId, Channel>()
  readonly #openings = new Map<ChannelId, Opening>()
  readonly #questions: GlobalQuestion[] = []
  /** Pings without an answer yet, by what they carry. */
  readonly #pings = new Map<string, Deferred<void>>()
  #pingNumber = 0
  readonly #deadlines: Deadlines
  readonly #work: GlobalWork[] = []
  #working = false
  readonly #ended = deferred<SshError | undefined>()
  readonly #end = new AbortController()
  /** Set as soon as the machine is dead. */
  #lost: SshError | undefined
  #keepaliveTimer: Timer | undefined
  /** Signs of life asked for since the peer was last heard, and when the latest was. */
  #unanswered = 0
  #askedMs = 0
  #detachSignal: () => void = () => {}

  constructor(options: LinkOptions) {
    this.machine = options.machine
    this.#onEvent = options.onEvent
    this.#onClosed = options.onClosed
    this.#keepalive = options.keepalive
    this.#deadlines = options.deadlines ?? {}
    this.#pump = new Pump({
      machine: options.machine,
      transport: options.transport,
      onEvent: (event) => this.#handle(event),
      onClosed: (error) => this.#close(error),
    })
    this.#watchSignal(options.signal)
  }

  start(): void {
    this.#pump.start()
  }

  /** Aborted, with what ended it, as soon as the connection has ended. */
  get signal(): AbortSignal {
    return this.#end.signal
  }

  /** What ended the connection once it is gone, its transport too; never rejects. */
  get ended(): Promise<SshError | undefined> {
    return this.#ended.promise
  }

  /** Keys in force; known once the handshake is over. */
  get negotiated(): Negotiated {
    const negotiated = this.machine.negotiated
    if (negotiated === undefined) throw new SshError('SSH_INTERNAL', 'no keys are in force')
    return negotiated
  }

  /** What ties signatures to this connection; known once the first keys are in force. */
  get session(): SessionBinding {
    const session = this.machine.sessionBinding
    if (session === undefined) throw new SshError('SSH_INTERNAL', 'no keys are in force')
    return session
  }

  /** To be called after commands given to `machine` directly. */
  wake(): void {
    this.#pump.wake()
  }

  /**
   * Puts a question of the machine to our own side. `clockStands` while a person may be thinking;
   * a server's clock goes on, for its limit is meant for slow clients and slow checks alike.
   */
  async ask<T>(
    decide: () => T | Promise<T>,
    answer: (value: T) => void,
    failed: (error: unknown) => void,
    clockStands: boolean,
  ): Promise<void> {
    if (clockStands) this.#pump.pauseClock()
    try {
      answer(await decide())
    } catch (error) {
      failed(error)
    } finally {
      if (clockStands) this.#pump.resumeClock()
      this.wake()
    }
  }

  /** Opens a channel. One that opens when it was given up is closed at once. */
  async openChannel(
    type: string,
    typeSpecific: Uint8Array | undefined,
    options: OpenOptions,
  ): Promise<Channel> {
    throwIfAborted(options.signal)
    if (this.#lost !== undefined) throw this.#lost
    const id = this.machine.openChannel(type, typeSpecific)
    const opened = deferred<Channel>()
    this.#openings.set(id, { opened, options, type })
    this.wake()
    const limitMs = this.#deadlines.channelOpenMs ?? CHANNEL_OPEN_MS
    const wait = { signal: options.signal, what: `opening a ${type} channel`, limitMs }
    try {
      return await waitFor(opened.promise, wait, (channel) => channel.abort())
    } catch (error) {
      if (this.#openings.delete(id)) this.closeChannel(id)
      throw error
    }
  }

  /** Accepts a channel that a `channel-open` event announced. */
  acceptChannel(id: ChannelId, type: string, options: ChannelOptions): Channel | undefined {
    if (this.#lost !== undefined) return undefined
    const channel = new Channel(id, type, this, options)
    this.#channels.set(id, channel)
    this.machine.acceptChannel(id)
    this.wake()
    return channel
  }

  rejectChannel(id: ChannelId, reason: number, description: string): void {
    if (this.#lost !== undefined) return
    this.machine.rejectChannel(id, reason, description)
    this.wake()
  }

  /** Rejects with SshError `SSH_REQUEST_REFUSED` if the peer fails it. */
  async globalRequest(
    name: string,
    data: Uint8Array = new Uint8Array(0),
    { signal, onReply }: GlobalOptions = {},
  ): Promise<Uint8Array> {
    throwIfAborted(signal)
    const wait = { signal, what: `the answer to ${name}`, limitMs: this.replyMs }
    const reply = await waitFor(this.#globalRequest(name, data, onReply), wait)
    if (!reply.ok) throw new SshError('SSH_REQUEST_REFUSED', `the peer refused ${name}`)
    return reply.data
  }

  /** How long a request may wait for its answer. */
  get replyMs(): number {
    return this.#deadlines.replyMs ?? REPLY_MS
  }

  /** A global request that wants no reply. Ignored once the connection is gone. */
  notifyGlobal(name: string, data: Uint8Array = new Uint8Array(0)): void {
    if (this.#lost !== undefined) return
    this.machine.globalRequest(name, data, false)
    this.wake()
  }

  /**
   * Answers a global request of the peer once all before it are answered: replies carry no name,
   * so their order is all there is. An `answer` that throws is a failure.
   */
  answerGlobal(wantReply: boolean, answer: GlobalWork['answer']): void {
    // The machine counts those that want a reply, and ends a connection with too many.
    if (!wantReply && this.#work.length >= UNANSWERED_REQUESTS_MAX) return
    this.#work.push({ wantReply, answer })
    if (!this.#working) void this.#workOff()
  }

  /** Round trip in milliseconds. */
  async ping({ signal }: WaitOptions = {}): Promise<number> {
    throwIfAborted(signal)
    const startMs = nowMs()
    await waitFor(this.#signOfLife(), { signal, what: 'a ping', limitMs: this.replyMs })
    return nowMs() - startMs
  }

  /** Ends the connection; resolves once the transport was let go. */
  async disconnect(reason: number, description: string, error?: SshError): Promise<void> {
    this.#pump.disconnect(reason, description, error)
    await this.#pump.finished
  }

  /** Drops the connection at once. */
  abort(error: SshError): void {
    this.#pump.abort(error)
  }

  sendData(channel: ChannelId, data: Uint8Array, extended: number): number {
    const granted = this.machine.sendData(channel, data, extended)
    if (granted > 0) this.#pump.wake()
    return granted
  }

  sendEof(channel: ChannelId): void {
    this.machine.sendEof(channel)
    this.#pump.wake()
  }

  closeChannel(channel: ChannelId): void {
    this.machine.closeChannel(channel)
    this.#pump.wake()
  }

  consume(channel: ChannelId, bytes: number): void {
    this.machine.consume(channel, bytes)
    this.#pump.wake()
  }

  widen(channel: ChannelId, windowBytes: number): void {
    this.machine.widen(channel, windowBytes)
    this.#pump.wake()
  }

  channelRequest(channel: ChannelId, name: string, data: Uint8Array, wantReply: boolean): void {
    this.machine.channelRequest(channel, name, data, wantReply)
    this.#pump.wake()
  }

  answerChannelRequest(channel: ChannelId, ok: boolean): void {
    this.machine.answerChannelRequest(channel, ok)
    this.#pump.wake()
  }

  /** Runs within the event that brought the request, up to the first answer that takes time. */
  async #workOff(): Promise<void> {
    this.#working = true
    for (let next = this.#work.shift(); next !== undefined; next = this.#work.shift()) {
      let data: GlobalAnswer
      try {
        const answer = next.answer()
        data = answer instanceof Promise ? await answer : answer
      } catch {
        data = undefined
      }
      if (next.wantReply && this.#lost === undefined) {
        this.machine.answerGlobalRequest(data !== undefined, data)
        this.wake()
      }
    }
    this.#working = false
  }

  /**
   * Settles at the answer to a PING where the peer offers that, which passes no layer but the
   * transport; else to a request that every peer answers, if only with a failure.
   */
  #signOfLife(): Promise<unknown> {
    if (this.#lost !== undefined) return rejected(this.#lost)
    if (this.#pings.size >= PENDING_REQUESTS_MAX) {
      return rejected(new SshError('SSH_LIMIT', `${PENDING_REQUESTS_MAX} pings are under way`))
    }
    const text = String(this.#pingNumber++)
    if (!this.machine.ping(new TextEncoder().encode(text))) {
      return this.#globalRequest(GLOBAL_REQUEST.KEEPALIVE, new Uint8Array(0))
    }
    const answered = deferred<void>()
    this.#pings.set(text, answered)
    this.wake()
    return answered.promise
  }

  #globalRequest(
    name: string,
    data: Uint8Array,
    onReply?: GlobalQuestion['onReply'],
  ): Promise<GlobalReply> {
    if (this.#lost !== undefined) return rejected(this.#lost)
    if (this.#questions.length >= PENDING_REQUESTS_MAX) {
      return rejected(
        new SshError('SSH_LIMIT', `${PENDING_REQUESTS_MAX} global requests are waiting already`),
      )
    }
    try {
      this.machine.globalRequest(name, data, true)
    } catch (error) {
      return rejected(error)
    }
    const reply = deferred<GlobalReply>()
    this.#questions.push({ reply, onReply })
    this.wake()
    return reply.promise
  }

  #handle(event: Exclude<Event, { readonly type: 'closed' }>): void {
    switch (event.type) {
      case 'version':
      case 'keys':
        break
      case 'pong': {
        // One that nobody asked for is nobody's.
        const text = new TextDecoder().decode(event.data)
        this.#pings.get(text)?.resolve()
        this.#pings.delete(text)
        break
      }
      case 'authenticated':
        this.#pump.runInBackground()
        this.#detachSignal()
        this.#armKeepalive()
        this.#onEvent(event)
        break
      case 'channel-opened': {
        const opening = this.#openings.get(event.channel)
        if (opening === undefined) break
        this.#openings.delete(event.channel)
        const channel = new Channel(event.channel, opening.type, this, opening.options)
        this.#channels.set(event.channel, channel)
        opening.options.setUp?.(channel)
        opening.opened.resolve(channel)
        break
      }
      case 'channel-open-failed': {
        const opening = this.#openings.get(event.channel)
        this.#openings.delete(event.channel)
        opening?.opened.reject(new ChannelOpenError(event.reason, refusal(opening.type, event)))
        break
      }
      case 'channel-closed': {
        const channel = this.#channels.get(event.channel)
        this.#channels.delete(event.channel)
        if (channel) deliver(channel, event)
        break
      }
      case 'channel-data':
      case 'channel-writable':
      case 'channel-eof':
      case 'channel-request':
      case 'channel-reply': {
        const channel = this.#channels.get(event.channel)
        if (channel) deliver(channel, event)
        break
      }
      case 'global-reply':
        this.#receiveGlobalReply(event)
        break
      default:
        this.#onEvent(event)
    }
  }

  #receiveGlobalReply(received: GlobalReply): void {
    const question = this.#questions.shift()
    if (question === undefined) return
    try {
      if (received.ok) question.onReply?.(received.data)
      question.reply.resolve(received)
    } catch (error) {
      question.reply.reject(error)
    }
  }

  #close(error: SshError | undefined): void {
    clearTimeout(this.#keepaliveTimer)
    this.#detachSignal()
    const lost = error ?? new SshError('SSH_CONNECTION_LOST', 'the connection has been closed')
    this.#lost = lost
    for (const opening of this.#openings.values()) opening.opened.reject(lost)
    this.#openings.clear()
    for (const { reply } of this.#questions.splice(0)) reply.reject(lost)
    for (const answered of this.#pings.values()) answered.reject(lost)
    this.#pings.clear()
    for (const channel of this.#channels.values()) {
      deliver(channel, { type: 'connection-closed', error: lost })
    }
    this.#channels.clear()
    this.#end.abort(lost)
    this.#onClosed(error)
    void this.#pump.finished.then(() => this.#ended.resolve(error))
  }

  /** Only silence is questioned: a peer that sends is alive. */
  #armKeepalive(): void {
    const keepalive = this.#keepalive
    if (keepalive === undefined || this.#lost !== undefined) return
    const sinceMs = Math.max(this.#pump.lastInputMs, this.#askedMs)
    const timer = setTimeout(
      () => {
        if (this.#pump.lastInputMs >= this.#askedMs) this.#unanswered = 0
        const silentMs = nowMs() - this.#pump.lastInputMs
        if (silentMs >= keepalive.intervalMs) {
          if (this.#unanswered >= keepalive.countMax) {
            const text = `keepalive: the peer was silent for ${Math.round(silentMs)} ms`
            this.abort(new SshError('SSH_TIMEOUT', text))
            return
          }
          this.#unanswered++
          this.#askedMs = nowMs()
          this.#signOfLife().catch(ignore)
        }
        this.#armKeepalive()
      },
      Math.max(1, sinceMs + keepalive.intervalMs - nowMs()),
    )
    this.#keepaliveTimer = timer
    unref(timer)
  }

  #watchSignal(signal: AbortSignal | undefined): void {
    if (signal === undefined) return
    const onAbort = (): void => {
      const error = aborted(signal)
      this.#pump.disconnect(DISCONNECT.BY_APPLICATION, 'aborted', error)
    }
    if (signal.aborted) queueMicrotask(onAbort)
    else signal.addEventListener('abort', onAbort, { once: true })
    this.#detachSignal = () => signal.removeEventListener('abort', onAbort)
  }
}

function refusal(
  type: string,
  failure: { readonly reason: number; readonly description: string },
): string {
  const text = printable(failure.description)
  return `the peer refused a ${type} channel (reason ${failure.reason})${text && `: ${text}`}`
}
