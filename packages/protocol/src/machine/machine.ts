/**
 * The SSH protocol, both roles, without sockets, clocks or promises: bytes in, events and bytes
 * out. It composes the layers (packets, key exchange, authentication, multiplexer), decides what may
 * arrive when, and turns every failure into a DISCONNECT and a last event.
 */
import { assert } from '../assert.ts'
import { Mux } from '../connection/mux.ts'
import { DisconnectError, SshError } from '../errors.ts'
import { PublicKey } from '../keys/public-key.ts'
import {
  AUTH_REQUESTS_MAX,
  AUTHENTICATION_MS,
  CHANNELS_MAX,
  EXT_INFOS_MAX,
  GREETING_MS,
  HANDSHAKE_MS,
  HELD_BYTES_MAX,
  HELD_MESSAGES_MAX,
  IDENTIFICATION_MS,
  KEY_EXCHANGE_MS,
  OUTPUT_BYTES_HARD,
  OUTPUT_BYTES_SOFT,
  WINDOW_BYTES,
} from '../limits.ts'
import { printable } from '../printable.ts'
import { messageName, traceLine } from '../trace.ts'
import { KeyExchange } from '../transport/key-exchange.ts'
import { PacketReader, PacketWriter } from '../transport/packets.ts'
import {
  identification,
  identificationFor,
  talksDuringExchange,
  VersionReader,
} from '../transport/version.ts'
import { overdue } from '../wait.ts'
import { DISCONNECT, MSG } from '../wire/numbers.ts'
import {
  debug,
  disconnect,
  extInfo,
  ignore,
  ping,
  pong,
  serviceAccept,
  serviceRequest,
  unimplemented,
} from '../wire/transport.ts'
import type { AuthHalf, MakeAuth } from './auth-half.ts'
import type { Answers, Context, QuestionFields } from './context.ts'
import type {
  AuthAttempt,
  AuthVerdict,
  ChannelId,
  Event,
  Negotiated,
  Question,
  QuestionId,
  SessionBinding,
} from './event.ts'
import { EXTENSION } from './extensions.ts'
import type { MachineOptions } from './options.ts'
import { isKnown, isPermitted, type Phase } from './permitted.ts'

const USERAUTH = 'ssh-userauth'
const KNOWN_EXTENSIONS: ReadonlySet<string> = new Set(Object.values(EXTENSION))
const NOTHING = new Uint8Array(0)
const ascii = new TextEncoder()
/** The value of extensions that only are there or not. */
const ZERO = ascii.encode('0')

/** A question that waits for its answer. */
interface Pending {
  readonly id: QuestionId
  readonly kind: keyof Answers
  readonly resume: (answer: never) => void
}

/** A moment at which something must be over. */
interface Limit {
  readonly what: string
  readonly ms: number
  readonly atMs: number
}

/** One connection. Make it, feed it, drain it; see `pump.ts` for the loop. */
export class Machine {
  readonly #options: MachineOptions
  readonly #versionReader: VersionReader
  readonly #writer: PacketWriter
  readonly #reader: PacketReader = new PacketReader()
  readonly #kex: KeyExchange
  readonly #auth: AuthHalf
  readonly #mux: Mux
  #phase: Phase = 'version'
  #identified = false
  #closed = false
  #nowMs: number
  readonly #startedMs: number
  #events: Event[] = []
  #question: Pending | undefined
  #nextQuestion: QuestionId = 1
  /** Messages that a key exchange under way holds back. */
  #held: Uint8Array[] = []
  #peerIdentification: string | undefined
  #heldBytes = 0
  /** When the phase began. */
  #phaseMs: number
  /** Extensions the peer told in EXT_INFO, of those that we know. */
  readonly #extensions: Map<string, Uint8Array> = new Map()
  #extInfos = 0
  #serviceRequests = 0

  /** A client's begins to speak at once, a server's when the client has. Throws `TypeError` on options that make no sense. */
  constructor(options: MachineOptions, makeAuth: MakeAuth) {
    const { role, crypto } = options
    if (role === 'server' && (options.hostKeys ?? []).length === 0) {
      throw new TypeError('hostKeys: a server needs at least one')
    }
    if (role === 'client' && options.username === undefined) {
      throw new TypeError('username: a client needs one')
    }
    this.#options = options
    this.#nowMs = this.#startedMs = this.#phaseMs = options.nowMs
    this.#versionReader = new VersionReader(role)
    this.#writer = new PacketWriter(crypto)
    const { trace } = options
    if (trace !== undefined) this.#writer.onPacket = (payload) => trace(traceLine('out', payload))
    const context = this.#context()
    const own = identification(options.softwareVersion)
    this.#kex = new KeyExchange(context, this.#writer, this.#reader, {
      hostKeys: options.hostKeys ?? [],
      rekey: options.rekey ?? {},
      requireStrict: options.requireStrictKex ?? false,
      newKeysSent: (initial) => this.#newKeysSent(initial),
    })
    this.#auth = makeAuth(context, options, {
      extensions: this.#extensions,
      tellUserAlgorithms: (names) => this.#tellUserAlgorithms(names),
      authenticated: (...who) => this.#authenticated(...who),
    })
    this.#mux = new Mux(context, {
      windowBytes: options.windowBytes ?? WINDOW_BYTES,
      channelsMax: options.channelsMax ?? CHANNELS_MAX,
      outputRoom: () =>
        this.#kex.permitsSending ? OUTPUT_BYTES_SOFT - this.#writer.queuedBytes : 0,
      build: (length, fill) => this.#writer.build(length, fill),
    })
    if (role === 'client') this.#identify(own)
  }

  // What goes in and out

  /**
   * Takes what arrived. The machine owns `bytes` from now on: packets are opened in place and handed
   * out as views. Whatever the peer sent, this returns; failure is the `closed` event.
   */
  receive(bytes: Uint8Array): void {
    if (this.#closed) return
    this.#guard(() => {
      if (this.#phase !== 'version') this.#reader.push(bytes)
      else if (!this.#receiveVersion(bytes)) return
      this.#process()
    })
  }

  /** The peer closed its side of the transport. */
  receiveEnd(): void {
    if (this.#closed) return
    const waiting = this.wantsInput ? '' : ', which waited for a decision on this side'
    const text = `the connection ended during ${this.phase}${waiting}`
    this.#close(new SshError('SSH_CONNECTION_LOST', text))
  }

  /** Next bytes to send, at most about 64 KiB, the caller's to keep; undefined if there are none. */
  takeOutput(): Uint8Array | undefined {
    return this.#writer.take()
  }

  /**
   * Gives back what `takeOutput` gave, once it and all before it were sent and nobody will look at it
   * again. Optional; it saves the making of new buffers.
   */
  recycle(output: Uint8Array): void {
    this.#writer.recycle(output)
  }

  /** Bytes queued and not yet taken. */
  get outputBytes(): number {
    return this.#writer.queuedBytes
  }

  /** What happened next, or undefined if nothing more did. */
  nextEvent(): Event | undefined {
    const event = this.#events.shift()
    if (event !== undefined || this.#closed) return event
    const channel = this.#mux.nextWritable()
    return channel === undefined ? undefined : { type: 'channel-writable', channel }
  }

  /** Tells the time, milliseconds on the clock of `nowMs`. */
  advance(nowMs: number): void {
    if (this.#closed) return
    this.#nowMs = nowMs
    this.#guard(() => {
      if (!this.#identified && nowMs >= this.#greetingMs) {
        this.#identify(identification(this.#options.softwareVersion))
      }
      const limit = this.#limit
      if (nowMs >= limit.atMs) throw overdue(limit.what, limit.ms)
      this.#rekeyIfDue()
    })
  }

  /** When to call `advance` next, at the latest. */
  get deadlineMs(): number {
    const { atMs } = this.#limit
    if (!this.#identified) return Math.min(atMs, this.#greetingMs)
    return this.#phase === 'connection' ? Math.min(this.#kex.dueMs, atMs) : atMs
  }

  /** False while a question blocks the protocol, and after the end. */
  get wantsInput(): boolean {
    return !this.#closed && this.#question === undefined
  }

  get closed(): boolean {
    return this.#closed
  }

  /** How far the connection has come, for messages. */
  get phase(): string {
    return this.#phase === 'version' ? 'identification' : this.#phase
  }

  get peerIdentification(): string | undefined {
    return this.#peerIdentification
  }

  get negotiated(): Negotiated | undefined {
    return this.#kex.negotiated
  }

  /** Exchange hash of the first key exchange; do not modify. */
  get sessionId(): Uint8Array | undefined {
    return this.#kex.sessionId
  }

  /** Client, after the first key exchange: what proves which connection this is. */
  get sessionBinding(): SessionBinding | undefined {
    const { hostKey, sessionId, hostKeySignature: signature } = this.#kex
    if (hostKey === undefined || sessionId === undefined || signature === undefined)
      return undefined
    return { hostKey: PublicKey.fromBlob(hostKey), sessionId, signature }
  }

  // Answers. Each throws `TypeError` if `id` is not the open question of that kind.

  answerHostKey(id: QuestionId, accepted: boolean): void {
    this.#answer('host-key', id, accepted)
  }

  /** `signature` is a whole signature blob; undefined if the signer could or would not. */
  answerSignature(id: QuestionId, signature: Uint8Array | undefined): void {
    this.#answer('sign', id, signature)
  }

  /** Answers `authenticate-next` and `change-password`; undefined gives up. */
  answerAttempt(id: QuestionId, attempt: AuthAttempt | undefined): void {
    const kind =
      this.#question?.kind === 'change-password' ? 'change-password' : 'authenticate-next'
    this.#answer(kind, id, attempt)
  }

  answerPrompts(id: QuestionId, responses: readonly string[]): void {
    this.#answer('prompts', id, responses)
  }

  answerAuthentication(id: QuestionId, verdict: AuthVerdict): void {
    this.#answer('authenticate', id, verdict)
  }

  // The connection protocol. Commands for a channel that is gone do nothing: the peer's CLOSE may
  // cross any of them.

  /** Asks for a channel. Throws SshError `SSH_LIMIT` if too many are open. */
  openChannel(channelType: string, typeSpecific: Uint8Array = NOTHING): ChannelId {
    this.#needConnection()
    return this.#mux.open(channelType, typeSpecific)
  }

  acceptChannel(channel: ChannelId, typeSpecific: Uint8Array = NOTHING): void {
    if (!this.#closed) this.#guard(() => this.#mux.accept(channel, typeSpecific))
  }

  /** `reason` is one of RFC 4254 §5.1. */
  rejectChannel(channel: ChannelId, reason: number, description: string): void {
    if (!this.#closed) this.#guard(() => this.#mux.reject(channel, reason, description))
  }

  /**
   * Queues as much of `data` as may go now (window, no key exchange under way, output under its
   * bound) and returns how many bytes that was; `channel-writable` tells when more may. The data is
   * copied. `extended` is 0, or a data_type_code such as 1 for stderr.
   */
  sendData(channel: ChannelId, data: Uint8Array, extended = 0): number {
    if (this.#closed) return 0
    let granted = 0
    this.#guard(() => {
      granted = this.#mux.sendData(channel, data, extended)
      this.#rekeyIfDue()
    })
    return granted
  }

  /** Sends EOF after all that was granted. */
  sendEof(channel: ChannelId): void {
    if (!this.#closed) this.#guard(() => this.#mux.sendEof(channel))
  }

  /** Sends CLOSE; the `channel-closed` event follows when the peer has sent its own. */
  closeChannel(channel: ChannelId): void {
    if (!this.#closed) this.#guard(() => this.#mux.close(channel))
  }

  /** Gives credit back for `bytes` of data that the consumer has taken. */
  consume(channel: ChannelId, bytes: number): void {
    if (!this.#closed) this.#guard(() => this.#mux.consume(channel, bytes))
  }

  /** Grants the peer a window of `windowBytes` from now on, if that is more than it had. */
  widen(channel: ChannelId, windowBytes: number): void {
    if (!this.#closed) this.#guard(() => this.#mux.widen(channel, windowBytes))
  }

  /** Throws SshError `SSH_LIMIT` if too many replies are outstanding. */
  channelRequest(channel: ChannelId, request: string, data: Uint8Array, wantReply: boolean): void {
    if (!this.#closed) this.#mux.request(channel, request, data, wantReply)
  }

  answerChannelRequest(channel: ChannelId, ok: boolean): void {
    if (!this.#closed) this.#guard(() => this.#mux.answer(channel, ok))
  }

  /** Throws SshError `SSH_LIMIT` if too many replies are outstanding. */
  globalRequest(request: string, data: Uint8Array, wantReply: boolean): void {
    this.#needConnection()
    this.#mux.requestGlobal(request, data, wantReply)
  }

  answerGlobalRequest(ok: boolean, data: Uint8Array = NOTHING): void {
    if (!this.#closed) this.#guard(() => this.#mux.answerGlobal(ok, data))
  }

  /** Sends a PING if the peer offers `ping@openssh.com`; false if not. A `pong` event follows. */
  ping(data: Uint8Array): boolean {
    if (this.#closed || !this.#extensions.has(EXTENSION.PING)) return false
    this.#guard(() => this.#send(ping.encode({ data })))
    return true
  }

  /** Exchanges keys now, unless that is under way. */
  rekey(): void {
    if (!this.#closed && this.#phase === 'connection') this.#guard(() => this.#kex.start())
  }

  /** Says goodbye (RFC 4253 §11.1) and ends. */
  disconnect(reason: number, description: string): void {
    if (this.#closed) return
    this.#sendDisconnect(reason, description)
    this.#close(undefined)
  }

  // Receiving

  /** True once the identification was read; what follows it is queued. */
  #receiveVersion(bytes: Uint8Array): boolean {
    const version = this.#versionReader.read(bytes)
    if (version === undefined) return false
    this.#peerIdentification = version.identification
    this.#kex.setPeerIdentification(version.identification)
    if (!this.#identified) {
      this.#identify(identificationFor(version.identification, this.#options.softwareVersion))
    }
    this.#enter('key-exchange')
    this.#emit({ type: 'version', identification: version.identification })
    this.#reader.push(bytes.subarray(version.used))
    return true
  }

  /** Queues our identification line and the KEXINIT that may follow it at once. */
  #identify(line: string): void {
    this.#identified = true
    this.#kex.setOwnIdentification(line)
    this.#writer.raw(ascii.encode(`${line}\r\n`))
    this.#kex.start()
  }

  #process(): void {
    while (!this.#closed && this.#question === undefined) {
      const sequenceNumber = this.#reader.sequenceNumber
      const payload = this.#reader.next()
      if (payload === undefined) return
      this.#options.trace?.(traceLine('in', payload))
      this.#dispatch(payload, sequenceNumber)
      if (this.#writer.queuedBytes > OUTPUT_BYTES_HARD) {
        throw new SshError('SSH_LIMIT', 'the peer asks for more than it reads')
      }
      this.#rekeyIfDue()
    }
  }

  #dispatch(payload: Uint8Array, sequenceNumber: number): void {
    const number = payload[0] as number
    const { role } = this.#options
    const isExchanging =
      this.#kex.peerIsExchanging &&
      !(this.#phase === 'connection' && talksDuringExchange(this.#peerIdentification ?? ''))
    if (!isPermitted(role, this.#phase, isExchanging, number)) {
      // Strict key exchange has no room for messages that nobody knows.
      if (isKnown(number) || this.#phase === 'key-exchange') throw this.#unexpected(number)
      this.#send(unimplemented.encode({ sequenceNumber }))
      return
    }
    if (number <= MSG.DEBUG || (number >= 20 && number < 50)) {
      if (!this.#kex.permits(number)) throw this.#unexpected(number)
      if (number >= 20) return this.#receiveExchange(payload)
      return this.#receiveTransport(payload)
    }
    if (number < 20) return this.#receiveService(payload)
    if (number < 80) return this.#receiveAuth(payload)
    if (number === MSG.PING) return this.#send(pong.encode(ping.decode(payload)))
    if (number === MSG.PONG) {
      return this.#emit({ type: 'pong', data: pong.decode(payload).data })
    }
    this.#mux.receive(payload)
  }

  #receiveExchange(payload: Uint8Array): void {
    this.#kex.receive(payload)
    if (this.#phase === 'key-exchange' && this.#kex.sessionId !== undefined) this.#enter('service')
  }

  #receiveTransport(payload: Uint8Array): void {
    switch (payload[0]) {
      case MSG.DISCONNECT: {
        const { reasonCode, description } = disconnect.decode(payload)
        const text = printable(description)
        return this.#close(
          new DisconnectError(reasonCode, `the peer disconnected: ${text} (${reasonCode})`, true),
        )
      }
      case MSG.IGNORE:
        ignore.decode(payload)
        return
      case MSG.UNIMPLEMENTED:
        unimplemented.decode(payload)
        return
      default:
        this.#options.trace?.(`  ${printable(debug.decode(payload).text)}`)
    }
  }

  #receiveService(payload: Uint8Array): void {
    switch (payload[0]) {
      case MSG.EXT_INFO:
        return this.#receiveExtensions(payload)
      case MSG.SERVICE_REQUEST: {
        const { serviceName } = serviceRequest.decode(payload)
        if (serviceName !== USERAUTH) {
          throw new DisconnectError(
            DISCONNECT.SERVICE_NOT_AVAILABLE,
            `no service ${serviceName} before authentication`,
            false,
          )
        }
        if (++this.#serviceRequests > AUTH_REQUESTS_MAX) throw this.#unexpected(MSG.SERVICE_REQUEST)
        if (this.#phase === 'service') this.#enter('authentication')
        return this.#send(serviceAccept.encode({ serviceName }))
      }
      default: {
        const { serviceName } = serviceAccept.decode(payload)
        if (serviceName !== USERAUTH) throw this.#unexpected(MSG.SERVICE_ACCEPT)
        this.#enter('authentication')
        assert(this.#auth.start !== undefined, 'only a client is granted a service')
        this.#auth.start()
      }
    }
  }

  /** RFC 8308 §2.4; a later one takes the place of an earlier one, name by name. */
  #receiveExtensions(payload: Uint8Array): void {
    if (++this.#extInfos > EXT_INFOS_MAX) throw this.#unexpected(MSG.EXT_INFO)
    for (const { name, value } of extInfo.decode(payload).extensions) {
      if (KNOWN_EXTENSIONS.has(name)) this.#extensions.set(name, value.slice())
      this.#emit({ type: 'extension', name, value })
    }
  }

  #receiveAuth(payload: Uint8Array): void {
    const number = payload[0] as number
    if (this.#phase === 'connection') return
    if (!this.#auth.permits(number)) throw this.#unexpected(number)
    this.#auth.receive(payload)
  }

  #unexpected(number: number): SshError {
    return new SshError('SSH_PROTOCOL', `${messageName(number)} is not allowed in ${this.phase}`)
  }

  // Sending

  #send(payload: Uint8Array): void {
    if (this.#kex.permitsSending) return this.#writer.packet(payload)
    this.#heldBytes += payload.length
    if (this.#held.length >= HELD_MESSAGES_MAX || this.#heldBytes > HELD_BYTES_MAX) {
      throw new SshError('SSH_LIMIT', 'too much waits for the end of a key exchange')
    }
    this.#held.push(payload)
  }

  /** Our NEWKEYS is out: EXT_INFO must come first (RFC 8308 §2.4), then what was held back. */
  #newKeysSent(initial: boolean): void {
    if (initial) {
      if (this.#options.role === 'server' && this.#kex.peerWantsExtInfo) {
        this.#writer.packet(extInfo.encode({ extensions: this.#serverExtensions() }))
      }
      if (this.#options.role === 'client') {
        if (this.#kex.peerWantsExtInfo) {
          const extensions = [EXTENSION.IN_AUTH, EXTENSION.PING].map((name) => ({
            name,
            value: ZERO,
          }))
          this.#writer.packet(extInfo.encode({ extensions }))
        }
        this.#writer.packet(serviceRequest.encode({ serviceName: USERAUTH }))
      }
    }
    const held = this.#held
    this.#held = []
    this.#heldBytes = 0
    for (const payload of held) this.#writer.packet(payload)
  }

  #serverExtensions(): readonly { readonly name: string; readonly value: Uint8Array }[] {
    const algorithms = this.#options.algorithms.userKeys.map(({ name }) => name)
    return [
      signatureAlgorithms(algorithms),
      { name: EXTENSION.HOSTBOUND, value: ZERO },
      { name: EXTENSION.PING, value: ZERO },
    ]
  }

  /** Tells a client that understands it what is taken from its user (OpenSSH's PROTOCOL §1.12). */
  #tellUserAlgorithms(names: readonly string[]): void {
    if (!this.#extensions.has(EXTENSION.IN_AUTH)) return
    this.#send(extInfo.encode({ extensions: [signatureAlgorithms(names)] }))
  }

  /** Keys are replaced only once the connection protocol runs; some peers cannot do it sooner. */
  #rekeyIfDue(): void {
    if (this.#phase === 'connection' && this.#kex.isDue) this.#kex.start()
  }

  // Questions and events

  #ask<K extends keyof Answers>(
    kind: K,
    fields: QuestionFields<K>,
    resume: (answer: Answers[K]) => void,
  ): void {
    assert(this.#question === undefined, 'one question at a time')
    const id = this.#nextQuestion++
    this.#question = { id, kind, resume }
    // The fields are those of this kind; the compiler cannot see that through the generic.
    this.#emit({ type: 'question', kind, id, ...fields } as unknown as Question)
  }

  #answer<K extends keyof Answers>(kind: K, id: QuestionId, answer: Answers[K]): void {
    if (this.#closed) return
    const question = this.#question
    if (question?.id !== id || question.kind !== kind) {
      throw new TypeError(`id: ${id} is not the open question of kind ${kind}`)
    }
    this.#question = undefined
    this.#guard(() => {
      ;(question.resume as (answer: Answers[K]) => void)(answer)
      this.#process()
    })
  }

  #emit(event: Event): void {
    if (event.type === 'keys') this.#options.trace?.(`  ${describeKeys(event.negotiated)}`)
    this.#events.push(event)
  }

  // Making and ending

  #context(): Context {
    const machine = this
    const { role, crypto, algorithms } = this.#options
    return {
      role,
      crypto,
      algorithms,
      get sessionId() {
        const { sessionId } = machine.#kex
        assert(sessionId !== undefined, 'the first key exchange is over')
        return sessionId
      },
      get hostKey() {
        const { hostKey } = machine.#kex
        assert(hostKey !== undefined, 'the first key exchange is over')
        return hostKey
      },
      get nowMs() {
        return machine.#nowMs
      },
      send: (payload) => this.#send(payload),
      emit: (event) => this.#emit(event),
      ask: (kind, fields, resume) => this.#ask(kind, fields, resume),
    }
  }

  #authenticated(username: string, method: string, publicKey?: PublicKey): void {
    this.#enter('connection')
    this.#kex.startCompression()
    this.#emit({ type: 'authenticated', username, method, ...(publicKey && { publicKey }) })
  }

  /** When a server speaks though the client has not. */
  get #greetingMs(): number {
    return this.#startedMs + GREETING_MS
  }

  #enter(phase: Phase): void {
    // Asking for the service is the first step of authentication.
    if (phase !== 'authentication') this.#phaseMs = this.#nowMs
    this.#phase = phase
  }

  /** The deadline that comes first, and of what. */
  get #limit(): Limit {
    const { deadlines = {}, handshakeMs = HANDSHAKE_MS } = this.#options
    const ms = this.#phaseLimitMs(deadlines)
    const { startedMs } = this.#kex
    if (this.#phase === 'connection') {
      const atMs = startedMs === undefined ? Number.POSITIVE_INFINITY : startedMs + ms
      return { what: 'key exchange', ms, atMs }
    }
    const atMs = this.#phaseMs + ms
    const endMs = this.#startedMs + handshakeMs
    if (atMs < endMs) return { what: this.phase, ms, atMs }
    return { what: `the handshake, now in ${this.phase},`, ms: handshakeMs, atMs: endMs }
  }

  #phaseLimitMs(deadlines: NonNullable<MachineOptions['deadlines']>): number {
    switch (this.#phase) {
      case 'version':
        return deadlines.identificationMs ?? IDENTIFICATION_MS
      case 'key-exchange':
      case 'connection':
        return deadlines.keyExchangeMs ?? KEY_EXCHANGE_MS
      case 'service':
      case 'authentication':
        return deadlines.authenticationMs ?? AUTHENTICATION_MS
    }
  }

  #needConnection(): void {
    if (this.#closed) throw new SshError('SSH_CONNECTION_LOST', 'the connection has ended')
    if (this.#phase !== 'connection') throw new TypeError('not authenticated yet')
  }

  /** Runs a step; what it throws ends the connection and goes no further. */
  #guard(step: () => void): void {
    try {
      step()
    } catch (error) {
      this.#fail(error)
    }
  }

  #fail(cause: unknown): void {
    const error =
      cause instanceof SshError
        ? cause
        : new SshError('SSH_INTERNAL', `internal error: ${String(cause)}`, { cause })
    // Before the peer has identified itself there is nobody to understand a DISCONNECT.
    if (this.#phase !== 'version') {
      // Messages of ours never hold secrets, but an internal error is none of the peer's business.
      const text = error.code === 'SSH_INTERNAL' ? 'internal error' : error.message
      this.#sendDisconnect(reasonFor(error), text)
    }
    this.#close(error)
  }

  #sendDisconnect(reasonCode: number, description: string): void {
    const text = description.slice(0, 512)
    this.#writer.packet(disconnect.encode({ reasonCode, description: text, languageTag: '' }))
  }

  #close(error: SshError | undefined): void {
    this.#closed = true
    this.#question = undefined
    this.#held = []
    this.#emit({ type: 'closed', error })
  }
}

function signatureAlgorithms(names: readonly string[]): { name: string; value: Uint8Array } {
  // OpenSSH's client looks for the plain name also where it has a certificate to show.
  const told = names.flatMap((name) => [
    name,
    name.replace(/-cert-v01@openssh\.com$/, name.startsWith('sk-') ? '@openssh.com' : ''),
  ])
  return { name: EXTENSION.SIGNATURE_ALGORITHMS, value: ascii.encode([...new Set(told)].join(',')) }
}

/** The reason of RFC 4253 §11.1 that says most about an error. */
function reasonFor(error: SshError): number {
  if (error instanceof DisconnectError) return error.reason
  switch (error.code) {
    case 'SSH_MAC_INVALID':
      return DISCONNECT.MAC_ERROR
    case 'SSH_KEY_EXCHANGE':
    case 'SSH_NO_COMMON_ALGORITHM':
      return DISCONNECT.KEY_EXCHANGE_FAILED
    case 'SSH_HOST_KEY_REJECTED':
      return DISCONNECT.HOST_KEY_NOT_VERIFIABLE
    case 'SSH_AUTHENTICATION':
      return DISCONNECT.AUTH_CANCELLED_BY_USER
    case 'SSH_TIMEOUT':
    case 'SSH_SIGN':
    case 'SSH_INTERNAL':
      return DISCONNECT.BY_APPLICATION
    default:
      return DISCONNECT.PROTOCOL_ERROR
  }
}

function describeKeys(agreed: Negotiated): string {
  const { kex, hostKey, strict, postQuantum } = agreed
  const both = (out: string, incoming: string): string =>
    out === incoming ? out : `${out} out, ${incoming} in`
  const cipher = both(agreed.cipherOut, agreed.cipherIn)
  const mac = both(agreed.macOut, agreed.macIn)
  const compression = both(agreed.compressionOut, agreed.compressionIn)
  return (
    `keys in force: ${kex}${postQuantum ? ' (post-quantum)' : ''}, host key ${hostKey}, ` +
    `cipher ${cipher}, MAC ${mac}, compression ${compression}, ${strict ? '' : 'not '}strict`
  )
}
