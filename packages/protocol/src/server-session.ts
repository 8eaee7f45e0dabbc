/** A session on the server's side: what the client asked for, and how a handler serves it. */
import { type Channel, listen, pullStream } from './channel.ts'
import { CHANNEL_TYPE, x11 } from './connection/forwarding.ts'
import {
  breakRequest,
  environment,
  exec,
  exitSignal,
  exitStatus,
  ptyRequest,
  REQUEST,
  signal as signalRequest,
  subsystem,
  understandsEow,
  windowChange,
  type X11Request,
  x11Request,
  xonXoff,
} from './connection/requests.ts'
import { rejected } from './deferred.ts'
import { SshError } from './errors.ts'
import type { Transport } from './io/transport.ts'
import { decodeTerminalModes, type TerminalModes } from './terminal-modes.ts'
import type { WaitOptions } from './wait.ts'

/** A terminal's size; pixels are 0 if unknown. */
export interface WindowSize {
  readonly columns: number
  readonly rows: number
  readonly widthPixels: number
  readonly heightPixels: number
}

/** The terminal a client asked for. */
export interface Pty extends WindowSize {
  readonly term: string
  readonly modes: TerminalModes
}

/** What a handler returns: an exit status, or the signal that ended the program. */
export type ExitResult =
  | number
  | { readonly code: number }
  | { readonly signal: string; readonly coreDumped?: boolean; readonly message?: string }

/**
 * Serves one session. What it returns becomes exit-status or exit-signal, then EOF and CLOSE
 * follow, all behind what was written. What it throws goes to `onError`, and the status is 1.
 */
export type SessionHandler = (session: ServerSession) => Promise<ExitResult> | ExitResult

/**
 * One program a client wants run, RFC 4254 §6.
 *
 * @example
 * import { agentClient, generateKey, Keyring, memoryPair, serveAgent } from '@sandbox-ssh/protocol'
 *
 * const keyring = new Keyring()
 * keyring.add(generateKey('ed25519'))
 * const client = await pair(
 *   {
 *     agentForwarding: true,
 *     exec: async (session) => {
 *       session.setFlowControl(true)
 *       const resized = new Promise<number>((resolve) => {
 *         session.onWindowChange(({ columns }) => resolve(columns))
 *       })
 *       const agent = agentClient(await session.agent())
 *       const keys = (await agent.list()).length
 *       await agent.close()
 *       const input = await session.read()
 *       await session.write(input ?? new Uint8Array(0))
 *       const told = `${keys} key, ${await resized} columns`
 *       await session.writeStderr(new TextEncoder().encode(told))
 *       return 0
 *     },
 *   },
 *   {
 *     agentForward: () => {
 *       const [near, far] = memoryPair()
 *       void serveAgent(far, keyring)
 *       return near
 *     },
 *   },
 * )
 * const process = await client.exec('anything', { pty: { columns: 80 } })
 * process.resize(120, 40)
 * await process.write(new TextEncoder().encode('in and out'))
 * console.log(new TextDecoder().decode(await process.read())) // in and out
 * console.log(new TextDecoder().decode(await process.readStderr())) // 1 key, 120 columns
 * console.log((await process.exit).code) // 0
 */
export interface ServerSession {
  readonly kind: 'exec' | 'shell' | 'subsystem'
  /** exec: the command as UTF-8; subsystem: its name; shell: empty. */
  readonly command: string
  /** The same as the bytes that came. */
  readonly commandBytes: Uint8Array
  readonly username: string
  /** Identification line of the client, for those who must know their peer's habits. */
  readonly clientIdentification: string
  /** What passed `acceptEnv`. */
  readonly env: ReadonlyMap<string, string>
  /** The terminal with its present size, or undefined if none was asked for. */
  readonly pty: Pty | undefined
  /** Cancelling it tells the client that nobody reads any more. */
  readonly stdin: ReadableStream<Uint8Array>
  readonly stdout: WritableStream<Uint8Array>
  readonly stderr: WritableStream<Uint8Array>
  /** Next chunk of stdin, or undefined at its end. Rejects if the connection was lost. */
  read(options?: WaitOptions): Promise<Uint8Array | undefined>
  /** Writes to stdout; resolves when granted. Rejects with SshError `SSH_CHANNEL_CLOSED`. */
  write(chunk: Uint8Array, options?: WaitOptions): Promise<void>
  /** The same for stderr. */
  writeStderr(chunk: Uint8Array, options?: WaitOptions): Promise<void>
  /** stdin and stdout as a transport, for protocols such as SFTP. */
  readonly transport: Transport
  /** Aborted when the client closed the channel or the connection ended. */
  readonly signal: AbortSignal
  /** Aborted when the client said that it reads no more of stdout (`eow@openssh.com`). */
  readonly outputClosed: AbortSignal
  /** Whether the client lets this session use its agent, and the server's options allow it. */
  readonly agentForwarding: boolean
  /**
   * Connects to the client's agent, which `agentClient` speaks to. Rejects with SshError
   * `SSH_REQUEST_REFUSED` without `agentForwarding`, with ChannelOpenError if the client will not.
   */
  agent(options?: WaitOptions): Promise<Channel>
  /** What the client asked for X11, if it did and the server's options allow it. */
  readonly x11: X11Request | undefined
  /**
   * Connects to the client's X server for a program that connected here. Rejects as `agent` does,
   * also after the first if the client asked for a single connection.
   *
   * @example
   * import { memoryPair } from '@sandbox-ssh/protocol'
   *
   * const [screen, xServer] = memoryPair()
   * const client = await pair(
   *   {
   *     x11Forwarding: true,
   *     exec: async (session) => {
   *       const window = await session.openX11('127.0.0.1', 6010)
   *       await window.write(new TextEncoder().encode('draw'))
   *       await window.close()
   *       return 0
   *     },
   *   },
   *   { x11: () => screen },
   * )
   * const cookie = { authProtocol: 'MIT-MAGIC-COOKIE-1', authCookie: '00ff', screen: 0 }
   * const program = await client.exec('xclock', { x11: cookie })
   * console.log(new TextDecoder().decode(await xServer.read())) // draw
   * await xServer.close()
   * console.log((await program.exit).code) // 0
   */
  openX11(originatorHost: string, originatorPort: number, options?: WaitOptions): Promise<Channel>
  /** Tells whether the client may stop and resume output at Ctrl-S and Ctrl-Q (RFC 4254 §6.8). */
  setFlowControl(clientCanDo: boolean): void
  /** Signals of the client, without SIG; those that came before are told at once. */
  onSignal(listener: (name: string) => void): void
  onWindowChange(listener: (size: WindowSize) => void): void
  /** Breaks (RFC 4335) with their length, 0 if left open. */
  onBreak(listener: (lengthMs: number) => void): void
}

/** What a server decides about sessions. */
export interface SessionPolicy {
  readonly username: string
  readonly clientIdentification: string
  readonly handlerFor: (kind: ServerSession['kind'], name: string) => SessionHandler | undefined
  readonly acceptEnv: (name: string, value: string) => boolean
  readonly agentForwarding: boolean
  readonly x11Forwarding: boolean
  readonly openChannel: (
    type: string,
    typeSpecific: Uint8Array | undefined,
    wait: WaitOptions | undefined,
  ) => Promise<Channel>
  readonly onError: (error: unknown) => void
}

/** Environment a client may set, whatever `acceptEnv` says. */
const ENV_COUNT_MAX = 256
const ENV_BYTES_MAX = 256 * 1024
/** Signals kept for a handler that has not asked for them yet. */
const EARLY_SIGNALS_MAX = 32

/** Attaches the session protocol to a channel that was just accepted. */
export function serveSession(channel: Channel, policy: SessionPolicy): void {
  new Session(channel, policy)
}

class Session implements ServerSession {
  kind: ServerSession['kind'] = 'shell'
  command = ''
  commandBytes: Uint8Array = new Uint8Array(0)
  readonly env = new Map<string, string>()
  pty: Pty | undefined
  agentForwarding = false
  x11: X11Request | undefined
  #x11Used = false
  readonly #channel: Channel
  readonly #policy: SessionPolicy
  readonly #gone = new AbortController()
  readonly #outputClosed = new AbortController()
  readonly #earlySignals: string[] = []
  #started = false
  #envBytes = 0
  #onSignal: ((name: string) => void) | undefined
  #onWindowChange: ((size: WindowSize) => void) | undefined
  #onBreak: ((lengthMs: number) => void) | undefined
  #stdin: ReadableStream<Uint8Array> | undefined
  #stdout: WritableStream<Uint8Array> | undefined
  #stderr: WritableStream<Uint8Array> | undefined
  #transport: Transport | undefined
  #stdoutEnded = false
  #stderrEnded = false

  constructor(channel: Channel, policy: SessionPolicy) {
    this.#channel = channel
    this.#policy = policy
    listen(
      channel,
      (request, data) => this.#request(request, data),
      () => {},
    )
    void channel.closed.then(() => {
      this.#gone.abort(channel.failure ?? closed('the client closed the session'))
    })
  }

  get username(): string {
    return this.#policy.username
  }

  get clientIdentification(): string {
    return this.#policy.clientIdentification
  }

  get signal(): AbortSignal {
    return this.#gone.signal
  }

  get outputClosed(): AbortSignal {
    return this.#outputClosed.signal
  }

  get stdin(): ReadableStream<Uint8Array> {
    this.#stdin ??= pullStream(
      () => this.read(),
      () => {
        this.#channel.discard()
        if (understandsEow(this.clientIdentification)) this.#channel.notify(REQUEST.EOW)
      },
    )
    return this.#stdin
  }

  get stdout(): WritableStream<Uint8Array> {
    this.#stdout ??= new WritableStream<Uint8Array>({
      write: (chunk) => this.write(chunk),
      close: () => this.#endStdout(),
      abort: () => this.#endStdout(),
    })
    return this.#stdout
  }

  get stderr(): WritableStream<Uint8Array> {
    this.#stderr ??= new WritableStream<Uint8Array>({
      write: (chunk) => this.writeStderr(chunk),
      close: () => this.#endStderr(),
      abort: () => this.#endStderr(),
    })
    return this.#stderr
  }

  get transport(): Transport {
    this.#transport ??= {
      read: () => this.read(),
      write: (chunk) => this.write(chunk),
      close: async () => this.#endStdout(),
      abort: (reason) => this.#channel.abort(reason),
      widen: (windowBytes) => this.#channel.widen(windowBytes),
    }
    return this.#transport
  }

  read(options?: WaitOptions): Promise<Uint8Array | undefined> {
    // A handler that ended its output and waits for the client to end too must not wait for ever.
    if (this.#stdoutEnded && this.#channel.readWouldWait) void this.#channel.close()
    return this.#channel.read(options)
  }

  write(chunk: Uint8Array, options?: WaitOptions): Promise<void> {
    if (this.#stdoutEnded) return rejected(closed('stdout has been closed'))
    return this.#channel.write(chunk, options)
  }

  writeStderr(chunk: Uint8Array, options?: WaitOptions): Promise<void> {
    if (this.#stderrEnded) return rejected(closed('stderr has been closed'))
    return this.#channel.writeStderr(chunk, options)
  }

  async agent(options?: WaitOptions): Promise<Channel> {
    if (!this.agentForwarding) throw notAsked('its agent')
    return this.#policy.openChannel(CHANNEL_TYPE.AGENT, undefined, options)
  }

  async openX11(
    originatorHost: string,
    originatorPort: number,
    options?: WaitOptions,
  ): Promise<Channel> {
    if (this.x11 === undefined) throw notAsked('X11')
    if (this.x11.singleConnection && this.#x11Used) throw notAsked('a second X11 connection')
    this.#x11Used = true
    const typeSpecific = x11.encode({ originatorHost, originatorPort })
    return this.#policy.openChannel(CHANNEL_TYPE.X11, typeSpecific, options)
  }

  setFlowControl(clientCanDo: boolean): void {
    this.#channel.notify(REQUEST.XON_XOFF, xonXoff.encode({ clientCanDo }))
  }

  onSignal(listener: (name: string) => void): void {
    this.#onSignal = listener
    for (const name of this.#earlySignals.splice(0)) listener(name)
  }

  onWindowChange(listener: (size: WindowSize) => void): void {
    this.#onWindowChange = listener
  }

  onBreak(listener: (lengthMs: number) => void): void {
    this.#onBreak = listener
  }

  /** EOF ends both streams at once, so it goes when both have ended, or with the handler. */
  #endStdout(): void {
    this.#stdoutEnded = true
    if (this.#stderrEnded) void this.#channel.close()
  }

  #endStderr(): void {
    this.#stderrEnded = true
    if (this.#stdoutEnded) void this.#channel.close()
  }

  #request(request: string, data: Uint8Array): boolean {
    try {
      switch (request) {
        case REQUEST.PTY:
          return !this.#started && this.#ptyRequest(data)
        case REQUEST.ENV:
          return !this.#started && this.#environment(data)
        case REQUEST.SHELL:
          return this.#start('shell', new Uint8Array(0))
        case REQUEST.EXEC:
          return this.#start('exec', exec.decode(data).command)
        case REQUEST.SUBSYSTEM:
          return this.#start('subsystem', new TextEncoder().encode(subsystem.decode(data).name))
        case REQUEST.WINDOW_CHANGE:
          return this.#windowChange(windowChange.decode(data))
        case REQUEST.SIGNAL:
          return this.#signal(signalRequest.decode(data).name)
        case REQUEST.BREAK:
          return this.#break(breakRequest.decode(data).lengthMs)
        case REQUEST.AGENT:
          if (!this.#policy.agentForwarding || this.#started) return false
          this.agentForwarding = true
          return true
        case REQUEST.X11:
          if (!this.#policy.x11Forwarding || this.#started) return false
          this.x11 = x11Request.decode(data)
          return true
        case REQUEST.EOW:
          this.#endOfWrites()
          return true
        default:
          return false
      }
    } catch (error) {
      // A malformed request is refused. Failures of listeners are the handler's to hear of.
      if (!(error instanceof SshError)) this.#policy.onError(error)
      return false
    }
  }

  #ptyRequest(data: Uint8Array): boolean {
    const { modes, ...rest } = ptyRequest.decode(data)
    this.pty = { ...rest, modes: decodeTerminalModes(modes) }
    return true
  }

  #environment(data: Uint8Array): boolean {
    const { name, value } = environment.decode(data)
    if (name === '' || name.includes('=') || name.includes('\0') || value.includes('\0')) {
      return false
    }
    if (!this.#policy.acceptEnv(name, value)) return false
    this.#envBytes += data.length
    if (this.env.size >= ENV_COUNT_MAX || this.#envBytes > ENV_BYTES_MAX) return false
    this.env.set(name, value)
    return true
  }

  #start(kind: ServerSession['kind'], commandBytes: Uint8Array): boolean {
    // RFC 4254 §6.5: only one of these can succeed on a channel.
    if (this.#started) return false
    const command = new TextDecoder().decode(commandBytes)
    const handler = this.#policy.handlerFor(kind, command)
    if (handler === undefined) return false
    this.#started = true
    this.kind = kind
    this.command = command
    this.commandBytes = commandBytes.slice()
    // The success must leave before the first output.
    queueMicrotask(() => void this.#run(handler))
    return true
  }

  async #run(handler: SessionHandler): Promise<void> {
    let status: { readonly request: string; readonly data: Uint8Array }
    try {
      status = encodeExit(await handler(this))
    } catch (error) {
      this.#policy.onError(error)
      status = encodeExit(1)
    }
    // The handler need not have waited for what it wrote.
    await this.#channel.flushed()
    this.#channel.notify(status.request, status.data)
    await this.#channel.close()
    this.#channel.abort(closed('the session has ended'))
  }

  #windowChange(size: WindowSize): boolean {
    if (this.pty === undefined) return false
    this.pty = { ...this.pty, ...size }
    this.#onWindowChange?.(size)
    return true
  }

  #signal(name: string): boolean {
    if (this.#onSignal !== undefined) this.#onSignal(name)
    else if (this.#earlySignals.length < EARLY_SIGNALS_MAX) this.#earlySignals.push(name)
    return true
  }

  #break(lengthMs: number): boolean {
    if (this.#onBreak === undefined) return false
    this.#onBreak(lengthMs)
    return true
  }

  #endOfWrites(): void {
    const reason = closed('the client reads no more output')
    this.#channel.refuseWrites(reason)
    this.#outputClosed.abort(reason)
  }
}

function encodeExit(result: ExitResult): { readonly request: string; readonly data: Uint8Array } {
  if (typeof result === 'object' && 'signal' in result) {
    const { signal, coreDumped = false, message = '' } = result
    return {
      request: REQUEST.EXIT_SIGNAL,
      data: exitSignal.encode({ name: signal, coreDumped, message, languageTag: '' }),
    }
  }
  const code = typeof result === 'object' ? result.code : result
  if (!Number.isInteger(code) || code < 0 || code > 0xffffffff) {
    throw new TypeError('a session handler must return an exit status (0 to 2^32-1) or a signal')
  }
  return { request: REQUEST.EXIT_STATUS, data: exitStatus.encode({ code }) }
}

function closed(why: string): SshError {
  return new SshError('SSH_CHANNEL_CLOSED', why)
}

function notAsked(what: string): SshError {
  return new SshError('SSH_REQUEST_REFUSED', `the client did not forward ${what}`)
}
