/**
 * The host's end of the agent protocol: one relay connection, any number of sessions on it.
 *
 * The agent and its relay must survive us: only types the guest's generation knows are sent, no
 * frame exceeds 1 MiB, ids are never 0, never out of range and never reused while open, and the
 * carrier is always drained, because a relay client that does not read stalls the whole sandbox.
 */
import type { Transport } from '@sandbox-ssh/protocol'
import { decodeMessage, encodeData, encodeMessage } from './envelope.ts'
import { AgentError } from './error.ts'
import { FrameDecoder, SENT_FRAME_BYTES_MAX } from './frame.ts'
import { type FsDataVariant, FsRead, FsSingle, FsWrite, joined } from './fs.ts'
import { handshake, type Prologue } from './handshake.ts'
import { HeldBytes } from './held-bytes.ts'
import type { Link, Session } from './link.ts'
import {
  type DataType,
  type Feature,
  type FsData,
  type FsOps,
  GENERATION,
  type Message,
  type MessageType,
  messages,
  type Payloads,
  type Ping,
  type Ready,
} from './messages.ts'
import { AgentProcess, type ExecOptions } from './process.ts'
import { AgentTcp, type TcpOptions } from './tcp.ts'
import { abortable, limited } from './waiting.ts'

/** How to connect. */
export interface AgentClientOptions {
  /** Ends the handshake; later it has no effect. */
  readonly signal?: AbortSignal | undefined
  /** Longest handshake; 10 seconds if absent. The socket of a booting sandbox answers late. */
  readonly handshakeMs?: number | undefined
}

/** Options of an operation that may take long. */
export interface AgentCallOptions {
  /**
   * Stops waiting. What cannot be called back (a filesystem operation) ends in the guest and its
   * answer is dropped; a program being started is killed, a connection being made is closed.
   */
  readonly signal?: AbortSignal | undefined
}

/** What each filesystem operation gives. */
export interface FsResults {
  readonly RealPath: string
  readonly Stat: FsData['Stat']
  readonly SetStat: undefined
  readonly List: FsData['List']
  readonly ReadLink: string
  readonly Symlink: undefined
  readonly Mkdir: undefined
  readonly Remove: undefined
  readonly RemoveDir: undefined
  readonly Copy: undefined
  readonly Rename: undefined
  readonly OpenFile: number
  readonly OpenDir: number
  readonly CloseHandle: undefined
  readonly ReadDir: FsData['List']
  readonly FStat: FsData['Stat']
  readonly FSetStat: undefined
}

/** The longest `fsRead`; longer ones would queue in the guest's memory. */
export const READ_BYTES_MAX: number = 256 * 1024
/** The longest `fsWrite`, which is one frame with its overhead. */
export const WRITE_BYTES_MAX: number = 256 * 1024
/** Tables of the kernel, in which every character is a byte. */
const TEXT_CHARS_MAX = 4 * 1024 * 1024
const READ_ONLY = {
  read: true,
  write: false,
  append: false,
  create: false,
  truncate: false,
  create_new: false,
} as const
/** Reads under way at once: the agent gives each a buffer of 3 MiB. */
const READS_MAX = 16
/** Frames joined into one write to the carrier, at most. */
const JOINED_BYTES_MAX = 64 * 1024
/**
 * Bytes held for readers that do not read, all sessions of the connection together. A hundred
 * programs that were stopped hold less; only connections, which nothing can stop, come to so much.
 */
const HELD_BYTES_MAX = 256 * 1024 * 1024
/** Sessions open at once on one connection. */
const SESSIONS_MAX = 4096
const HANDSHAKE_MS = 10_000
/** Time for a carrier to end by itself after `close`. */
const CLOSE_MS = 1000

/**
 * A connection to a guest agent through its relay.
 *
 * @example
 * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * const agent = await sandbox('local:devbox').connectAgent()
 * const entry = await agent.fs('Stat', { path: '/etc/passwd', follow_symlink: true })
 * console.log(entry.size > 0) // true
 *
 * const program = await agent.exec({ command: 'sh', args: ['-c', 'echo hello; exit 3'] })
 * console.log(new TextDecoder().decode(await program.read()).trim()) // hello
 * console.log((await program.exited).code) // 3
 * await agent.close()
 */
export class AgentClient {
  /** What the guest said about itself. */
  readonly ready: Ready
  /** The lower of the guest's generation and ours; what may be sent. */
  readonly generation: number
  /** Resolves when the connection is gone, with the reason unless `close` was called. Never rejects. */
  readonly closed: Promise<AgentError | undefined>
  readonly #transport: Transport
  readonly #prologue: Prologue
  readonly #features: ReadonlySet<string>
  readonly #sessions = new Map<number, Session>()
  readonly #link: Link
  #nextId: number
  #failure: AgentError | undefined
  #settleClosed: (error: AgentError | undefined) => void = () => {}
  #closing = false
  readonly #queue: Outgoing[] = []
  #writing = false
  #reads = 0
  readonly #waitingReads: (() => void)[] = []
  readonly #held = new HeldBytes(HELD_BYTES_MAX)

  private constructor(transport: Transport, prologue: Prologue, ready: Ready, generation: number) {
    this.#transport = transport
    this.#prologue = prologue
    this.ready = ready
    this.generation = Math.min(generation, GENERATION)
    this.#features = new Set(ready.features)
    // A slot is recycled as soon as its client is gone, and its last frames may reach us: start
    // anywhere in the range, so that they meet an id that is not open.
    const span = prologue.idMax - prologue.idMin
    this.#nextId = prologue.idMin + Math.floor(Math.random() * span)
    this.closed = new Promise((resolve) => {
      this.#settleClosed = resolve
    })
    this.#link = {
      generation: this.generation,
      has: (feature) => this.has(feature),
      held: this.#held,
      send: (id, type, payload) => this.#send(id, type, payload),
      sendData: (id, type, chunk) => this.#sendData(id, type, chunk),
      ping: (extension) => this.ping(extension),
      exec: (options) => this.exec(options),
      stat: (path) => this.fs('Stat', { path, follow_symlink: true }),
      readText: (path) => this.#readText(path),
      release: (id) => {
        this.#sessions.delete(id)
      },
    }
  }

  /**
   * Takes the relay's handshake on a carrier that was just opened: the id range and the guest's
   * `core.ready`, in the current or the legacy form. The client owns the transport from then on;
   * on failure it is aborted.
   * @throws AgentError `timeout`, `aborted`, `closed`, `protocol`
   *
   * @example
   * import { createConnection } from 'node:net'
   * import { memoryPair, nodeSocket } from '@sandbox-ssh/protocol'
   * import { AgentClient, AgentRelay } from '@sandbox-ssh/sandbox-bridge'
   *
   * // The agent of a virtual machine, behind its console.
   * const relay = await AgentRelay.open(nodeSocket(createConnection('console.sock')))
   * const [near, far] = memoryPair()
   * void relay.serve(far)
   * const agent = await AgentClient.connect(near)
   * console.log(agent.has('exit-signal')) // true
   * await agent.close()
   * await relay.close()
   */
  static async connect(
    transport: Transport,
    options: AgentClientOptions = {},
  ): Promise<AgentClient> {
    const decoder = new FrameDecoder()
    try {
      const { signal, handshakeMs = HANDSHAKE_MS } = options
      const hello = await limited(handshake(transport, decoder), handshakeMs, signal)
      const client = new AgentClient(transport, hello.prologue, hello.ready, hello.generation)
      void client.#pump(decoder)
      return client
    } catch (error) {
      transport.abort(error)
      throw toAgentError(error)
    }
  }

  /** True if the guest announced the extension. */
  has(feature: Feature): boolean {
    return this.#features.has(feature)
  }

  /** Sessions of any kind that are open. */
  get openSessions(): number {
    return this.#sessions.size
  }

  /** Bytes that came and wait for their readers, of all sessions together; at most 256 MiB. */
  get heldBytes(): number {
    return this.#held.total
  }

  /**
   * Starts a program. Resolves once it runs.
   * @throws AgentError with an `ExecFailureKind`, `closed`, `aborted`, `limit`
   */
  async exec(options: ExecOptions, call: AgentCallOptions = {}): Promise<AgentProcess> {
    const id = this.#claim('core.exec.request')
    let session: Session | undefined
    const started = AgentProcess.start(this.#link, id, options, (opened) => {
      session = opened
      this.#sessions.set(id, opened)
    })
    return abortable(started, call.signal, () => {
      // It may be running already; its end, or its refusal, frees the id.
      if (!(session instanceof AgentProcess)) return
      session.discardOutput()
      session.signal('KILL')
    })
  }

  /**
   * One filesystem operation other than reading and writing.
   * @throws AgentError `fs` with `errno` where the guest told one, `unsupported`, `closed`
   */
  async fs<K extends keyof FsResults>(
    op: K,
    fields: FsOps[K],
    call: AgentCallOptions = {},
  ): Promise<FsResults[K]> {
    const id = this.#claim('core.fs.request')
    const session = new FsSingle()
    this.#sessions.set(id, session)
    // `op` and `fields` belong together, which a computed key hides.
    const request = { op: { [op]: fields } } as unknown as Payloads['core.fs.request']
    this.#request(id, session, 'core.fs.request', request)
    const data = await abortable(session.result, call.signal)
    // The guest answers with the variant of the operation, or not at all: checked by `resultOf`.
    return resultOf(op, data) as FsResults[K]
  }

  /**
   * Reads up to `length` bytes (at most 256 KiB) at `offset`; fewer only at the end of the file.
   * @throws AgentError as `fs`
   *
   * @example
   * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
   *
   * const agent = await sandbox('local:devbox').connectAgent()
   * const options = { read: true, write: true, append: false, create: true, truncate: true }
   * const file = { path: '/tmp/note', options: { ...options, create_new: false } }
   * const handle = await agent.fs('OpenFile', file)
   * await agent.fsWrite(handle, 0, new TextEncoder().encode('kept'))
   * console.log(new TextDecoder().decode(await agent.fsRead(handle, 0, 100))) // kept
   * await agent.fs('CloseHandle', { handle })
   * await agent.close()
   */
  async fsRead(
    handle: number,
    offset: number,
    length: number,
    call: AgentCallOptions = {},
  ): Promise<Uint8Array> {
    if (!(length >= 0 && length <= READ_BYTES_MAX)) {
      throw new RangeError(`length ${length} is not between 0 and ${READ_BYTES_MAX}`)
    }
    await this.#takeReadSlot(call.signal)
    let id: number
    try {
      id = this.#claim('core.fs.request')
    } catch (error) {
      this.#freeReadSlot()
      throw error
    }
    const session = new FsRead(length)
    this.#sessions.set(id, session)
    session.result.finally(() => this.#freeReadSlot()).catch(() => {})
    const op = { Read: { handle, offset, len: length } }
    this.#request(id, session, 'core.fs.request', { op })
    return abortable(session.result, call.signal)
  }

  /**
   * Writes `data` (at most 256 KiB) at `offset`; a handle opened for appending ignores the offset.
   * @throws AgentError as `fs`
   */
  async fsWrite(
    handle: number,
    offset: number,
    data: Uint8Array,
    call: AgentCallOptions = {},
  ): Promise<void> {
    if (data.length > WRITE_BYTES_MAX) {
      throw new RangeError(`${data.length} bytes exceed ${WRITE_BYTES_MAX}`)
    }
    const id = this.#claim('core.fs.request')
    const session = new FsWrite()
    this.#sessions.set(id, session)
    const op = { Write: { handle, offset, len: data.length } }
    this.#request(id, session, 'core.fs.request', { op })
    // A carrier that breaks here fails the session as well.
    if (data.length > 0) this.#sendData(id, 'core.fs.data', data).catch(() => {})
    this.#sendData(id, 'core.fs.data', new Uint8Array(0)).catch(() => {})
    return abortable(session.result, call.signal)
  }

  /**
   * Connects to `host`:`port` from inside the guest: `127.0.0.1` is the guest. The agent allows 30
   * seconds. An IPv6 address goes without brackets. microsandbox's agent cannot be told to wait: a
   * connection of whose data 64 MiB were not read is given up, and what was held is dropped.
   * @throws AgentError `tcp` with `errno` where the guest told one, `unsupported`, `closed`
   *
   * @example
   * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
   *
   * const agent = await sandbox('local:devbox').connectAgent()
   * const error = await agent.tcpConnect('127.0.0.1', 1).catch((caught: unknown) => caught)
   * console.log(error instanceof Error && /refused/i.test(error.message)) // true
   * await agent.close()
   */
  async tcpConnect(
    host: string,
    port: number,
    call: AgentCallOptions & TcpOptions = {},
  ): Promise<AgentTcp> {
    const id = this.#claim('core.tcp.connect')
    let session: AgentTcp | undefined
    const connected = AgentTcp.connect(this.#link, id, host, port, call, (opened) => {
      session = opened
      this.#sessions.set(id, opened)
    })
    return abortable(connected, call.signal, () => session?.abort())
  }

  /**
   * Resolves with the pong. @throws AgentError `unsupported` below generation 6, `closed`
   *
   * @example
   * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
   *
   * const agent = await sandbox('local:devbox').connectAgent()
   * await agent.ping()
   * await agent.touch()
   * console.log(agent.generation >= 6) // true
   * await agent.close()
   */
  async ping(extension: Ping = {}): Promise<void> {
    await this.#simple('core.ping', extension)
  }

  /** Tells the guest's idle timer that it is in use. @throws AgentError as `ping` */
  async touch(): Promise<void> {
    await this.#simple('core.touch', {})
  }

  /**
   * Powers the guest off. Nothing comes back but the end of the connection.
   *
   * @example
   * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
   *
   * const agent = await sandbox('local:spare').connectAgent()
   * await agent.shutdown()
   * console.log((await agent.closed)?.kind) // closed
   */
  async shutdown(): Promise<void> {
    await this.#send(0, 'core.shutdown', null)
  }

  /**
   * Closes the connection; the relay then kills what this client left running. Sessions still open
   * fail with `closed`.
   */
  async close(): Promise<void> {
    if (this.#closing) {
      await this.closed
      return
    }
    this.#closing = true
    this.#end(new AgentError('closed', 'the agent connection was closed'))
    await this.closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #simple<T extends 'core.ping' | 'core.touch'>(
    type: T,
    payload: Payloads[T],
  ): Promise<void> {
    const id = this.#claim(type)
    await new Promise<void>((resolve, reject) => {
      const session: Session = {
        handle: (message) => {
          if (message.type === 'core.error') {
            reject(new AgentError(message.payload.kind, message.payload.message))
          } else {
            resolve()
          }
        },
        lost: reject,
      }
      this.#sessions.set(id, session)
      this.#request(id, session, type, payload)
    })
  }

  /** Sends the first message of a session; if it cannot go, the session ends with the reason. */
  #request<T extends MessageType>(
    id: number,
    session: Session,
    type: T,
    payload: Payloads[T],
  ): void {
    this.#send(id, type, payload).catch((error) => {
      this.#sessions.delete(id)
      session.lost(error)
    })
  }

  /** A fresh id for a message of `type`, which the guest must know. */
  #claim(type: MessageType): number {
    if (this.#failure !== undefined) throw this.#failure
    const needed = messages[type].generation
    if (needed > this.generation) {
      throw new AgentError(
        'unsupported',
        `this sandbox speaks agent protocol generation ${this.generation} and ${type} needs ` +
          `generation ${needed}; restart the sandbox to bring its agent up to date`,
      )
    }
    if (this.#sessions.size >= SESSIONS_MAX) {
      throw new AgentError('limit', `${SESSIONS_MAX} sessions are open on this connection`)
    }
    const { idMin, idMax } = this.#prologue
    for (;;) {
      const id = this.#nextId
      this.#nextId = id + 1 < idMax ? id + 1 : idMin
      if (id !== 0 && !this.#sessions.has(id)) return id
    }
  }

  async #send<T extends MessageType>(id: number, type: T, payload: Payloads[T]): Promise<void> {
    await this.#enqueue(encodeMessage(id, type, payload, this.#prologue.stamp))
  }

  #sendData(id: number, type: DataType, chunk: Uint8Array): Promise<void> {
    return this.#enqueue(encodeData(id, type, chunk, this.#prologue.stamp))
  }

  #enqueue(frame: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    if (frame.length > SENT_FRAME_BYTES_MAX) {
      const bytes = `${frame.length} bytes, more than ${SENT_FRAME_BYTES_MAX}`
      return Promise.reject(new AgentError('limit', `request of ${bytes}`))
    }
    return new Promise((resolve, reject) => {
      const sent = (error?: AgentError) => (error === undefined ? resolve() : reject(error))
      this.#queue.push({ frame, sent })
      if (!this.#writing) void this.#drain()
    })
  }

  async #drain(): Promise<void> {
    this.#writing = true
    // One turn of the loop, so that messages made together go out together.
    await Promise.resolve()
    while (this.#queue.length > 0 && this.#failure === undefined) {
      const batch = this.#takeBatch()
      try {
        const [first] = batch
        const alone = batch.length === 1 ? first?.frame : undefined
        await this.#transport.write(alone ?? joined(batch.map((each) => each.frame)))
        for (const each of batch) each.sent()
      } catch (error) {
        const lost = new AgentError('closed', 'the agent connection broke', { cause: error })
        for (const each of batch) each.sent(lost)
        this.#end(lost)
      }
    }
    this.#writing = false
  }

  #takeBatch(): Outgoing[] {
    let bytes = 0
    let count = 0
    for (const each of this.#queue) {
      if (count > 0 && bytes + each.frame.length > JOINED_BYTES_MAX) break
      bytes += each.frame.length
      count++
    }
    return this.#queue.splice(0, count)
  }

  /** Reads as long as there is something to read, whoever waits for what. */
  async #pump(decoder: FrameDecoder): Promise<void> {
    let reason: AgentError
    try {
      for (;;) {
        for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
          // Strays are not even decoded: a late answer to a former client may be anything.
          if (!this.#sessions.has(frame.id)) continue
          const message = decodeMessage(frame)
          if (message !== undefined) this.#dispatch(message)
        }
        const chunk = await this.#transport.read()
        if (chunk === undefined) break
        decoder.push(chunk)
      }
      reason = new AgentError(
        'closed',
        'the sandbox closed the connection: it was stopped or restarted, or its agent has ended',
      )
    } catch (error) {
      reason = toAgentError(error)
    }
    this.#end(reason)
    this.#transport.abort(reason)
    this.#settleClosed(this.#closing ? undefined : this.#failure)
  }

  #dispatch(message: Message): void {
    const session = this.#sessions.get(message.id)
    const spec = messages[message.type]
    // A host's own words coming back mean nothing.
    if (spec.from === 'host' || spec.from === 'relay') return
    if (spec.flags !== 0) this.#sessions.delete(message.id)
    session?.handle(message)
  }

  /** Fails everything that waits, once, and lets the carrier go. */
  #end(reason: AgentError): void {
    if (this.#failure !== undefined) return
    this.#failure = reason
    const sessions = [...this.#sessions.values()]
    this.#sessions.clear()
    for (const session of sessions) session.lost(reason)
    for (const each of this.#queue.splice(0)) each.sent(reason)
    for (const wake of this.#waitingReads.splice(0)) wake()
    // Let the peer see an orderly end; if it does not answer with its own, cut.
    const timer = setTimeout(() => this.#transport.abort(reason), CLOSE_MS)
    const stop = () => clearTimeout(timer)
    void this.closed.then(stop)
    this.#transport.close().catch(() => this.#transport.abort(reason))
  }

  async #readText(path: string): Promise<string> {
    let text = ''
    const handle = await this.fs('OpenFile', { path, options: READ_ONLY })
    try {
      const decoder = new TextDecoder()
      while (text.length < TEXT_CHARS_MAX) {
        const chunk = await this.fsRead(handle, text.length, READ_BYTES_MAX)
        if (chunk.length === 0) break
        text += decoder.decode(chunk)
      }
    } finally {
      await this.fs('CloseHandle', { handle })
    }
    return text
  }

  async #takeReadSlot(signal: AbortSignal | undefined): Promise<void> {
    while (this.#reads >= READS_MAX) {
      await new Promise<void>((resolve) => this.#waitingReads.push(resolve))
      if (this.#failure !== undefined) throw this.#failure
    }
    if (signal?.aborted) {
      this.#waitingReads.shift()?.()
      throw new AgentError('aborted', 'the read was aborted', { cause: signal.reason })
    }
    this.#reads++
  }

  #freeReadSlot(): void {
    this.#reads--
    this.#waitingReads.shift()?.()
  }
}

/** A frame waiting for the carrier, and who waits for it to go. */
interface Outgoing {
  readonly frame: Uint8Array
  readonly sent: (error?: AgentError) => void
}

/** The one value inside a response, which must be the operation's own variant. */
function resultOf(op: keyof FsResults, data: FsDataVariant | undefined): unknown {
  const key = RESULT_KEYS[op]
  if (key === undefined) return undefined
  const value = data === undefined ? undefined : Object.entries(data)[0]
  if (value?.[0] === key) return value[1]
  throw new AgentError('protocol', `the agent answered ${op} without a ${key}`)
}

const RESULT_KEYS: { readonly [K in keyof FsResults]: keyof FsData | undefined } = {
  RealPath: 'Path',
  Stat: 'Stat',
  SetStat: undefined,
  List: 'List',
  ReadLink: 'Path',
  Symlink: undefined,
  Mkdir: undefined,
  Remove: undefined,
  RemoveDir: undefined,
  Copy: undefined,
  Rename: undefined,
  OpenFile: 'Handle',
  OpenDir: 'Handle',
  CloseHandle: undefined,
  ReadDir: 'List',
  FStat: 'Stat',
  FSetStat: undefined,
}

function toAgentError(error: unknown): AgentError {
  if (error instanceof AgentError) return error
  return new AgentError('closed', 'the agent connection broke', { cause: error })
}
