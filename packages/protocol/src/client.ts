/** The client: connects, authenticates, and runs things at the other end. */
import { bindForForwarding } from './agent/binding.ts'
import { inProcessAlgorithms } from './algorithms/in-process.ts'
import { modern } from './algorithms/modern.ts'
import type { Algorithms, SignatureSpec } from './algorithms/spec.ts'
import { type AuthMethod, type AuthPlan, AuthSequence } from './auth-methods.ts'
import type { Channel, ChannelOptions } from './channel.ts'
import { IncomingChannels } from './client-channels.ts'
import type { RemoteListener } from './client-forwards.ts'
import {
  CHANNEL_TYPE,
  directStreamlocal,
  directTcpip,
  type X11Origin,
} from './connection/forwarding.ts'
import {
  environment,
  exec,
  GLOBAL_REQUEST,
  ptyRequest,
  REQUEST,
  subsystem,
  type X11Request,
  x11Request,
} from './connection/requests.ts'
import { defaultCrypto } from './crypto/native.ts'
import type { CryptoProvider } from './crypto/provider.ts'
import { deferred, ignore } from './deferred.ts'
import { AuthenticationError, DisconnectError, SshError } from './errors.ts'
import { verifyHostKeys } from './host-keys.ts'
import type { Transport } from './io/transport.ts'
import { CONNECTION_CHANNEL } from './join.ts'
import type { PublicKey } from './keys/public-key.ts'
import { type ConnectionLimits, type Keepalive, Link, type RoleEvent } from './link.ts'
import type { Negotiated, Question, SessionBinding } from './machine/event.ts'
import { Machine } from './machine/machine.ts'
import type { Deadlines } from './machine/options.ts'
import { printable } from './printable.ts'
import { killOnAbort, type PtyOptions, RemoteProcess } from './process.ts'
import { nowMs } from './pump.ts'
import { collect, type RunOptions, type RunResult, validateRun } from './run.ts'
import type { ChannelHandler } from './server-channels.ts'
import { SOFTWARE_VERSION } from './software-version.ts'
import { encodeTerminalModes } from './terminal-modes.ts'
import type { RekeyLimits } from './transport/key-exchange.ts'
import {
  optionalFunction,
  requireFunction,
  requireInProcess,
  requirePort,
  requireString,
  requireTransport,
  validateCommon,
} from './validate.ts'
import type { WaitOptions } from './wait.ts'
import { DISCONNECT } from './wire/numbers.ts'

/**
 * Decides whether a key is the server's; may throw to say why not. See `pinned` and `knownHosts`
 * for ready-made ones.
 */
export interface HostKeyDecision {
  (
    key: PublicKey,
    info: {
      readonly algorithm: string
      /** Aborted when connecting was given up: a question on a screen may go. */
      readonly signal?: AbortSignal
    },
  ): boolean | Promise<boolean>
  /** Types of the keys it knows: the server is asked for one of these rather than another. */
  readonly keyTypes?: readonly string[]
}

/** What `connect` needs to know. */
export interface ClientOptions {
  readonly username: string
  /** Required: there is no default that trusts. */
  readonly hostKey: HostKeyDecision
  /** Tried in this order, as far as the server can continue with them; or a plan that decides. */
  readonly auth: readonly AuthMethod[] | AuthPlan
  /** Default: `defaultCrypto()`. */
  readonly crypto?: CryptoProvider
  /** Gets the sound algorithms in the order that is fast here; returns what to use. */
  readonly algorithms?: (modern: Algorithms) => Algorithms
  /** Ends the attempt to connect; afterwards it means nothing. */
  readonly signal?: AbortSignal
  /** Limit for everything up to the end of authentication, our own decisions not counted. */
  readonly handshakeMs?: number
  /** Default: none; a connection that goes silent is not noticed. */
  readonly keepalive?: Keepalive
  readonly rekey?: RekeyLimits
  readonly limits?: ConnectionLimits
  /** How long each phase may take. */
  readonly deadlines?: Deadlines
  /** Refuse peers without strict key exchange (the answer to the Terrapin attack). */
  readonly requireStrictKex?: boolean
  /**
   * Connects to an agent for the server. Given, sessions ask for agent forwarding, and whoever
   * governs the server can sign with the agent's keys while one of them is open. The agent is told
   * of the connection first (`session-bind@openssh.com`), so that it can hold keys for some
   * destinations only. See `serveAgent`.
   */
  readonly agentForward?: () => Transport | Promise<Transport>
  /**
   * Connects to an X server for a session started with `x11`. What passes is not looked at:
   * replacing the made-up cookie by the real one is for the transport given here.
   */
  readonly x11?: (origin: X11Origin) => Transport | Promise<Transport>
  /** Serves channels of other types that the server opens, by type; the rest is refused. */
  readonly channels?: Readonly<Record<string, ChannelHandler>>
  /**
   * Hears, once, of all host keys that the server announced and proved to hold, the present one
   * among them: a chance to learn new keys and forget old ones. Certificates and kinds of key that
   * are not in use here are left out.
   */
  readonly onHostKeys?: (keys: readonly PublicKey[]) => void
  /** Text the server shows before the user is in. Untrusted: strip control characters. */
  readonly onBanner?: (text: string) => void
  /**
   * Neither cipher nor MAC, over an end of a `memoryPair` and nothing else: between two ends in
   * one process encryption protects nobody. Both must ask for it. `algorithms` is then not used.
   */
  readonly inProcess?: true
  /**
   * Hears, line by line, what passes: names and sizes of messages, lists of algorithms, types of
   * requests. No secrets, user names, commands or data. For finding faults.
   */
  readonly trace?: (line: string) => void
}

/** How a program is started. */
export interface ExecOptions {
  /** Servers accept few names; a refused one is silently left out. */
  readonly env?: Readonly<Record<string, string>>
  /** Run it in a terminal. */
  readonly pty?: PtyOptions
  /** `pipe` (default): stderr apart, must be read. `merge`: among stdout. `ignore`: dropped. */
  readonly stderr?: 'pipe' | 'merge' | 'ignore'
  /** Whether the server may use the agent of `ClientOptions.agentForward`. Default true. */
  readonly agentForward?: boolean
  /** Asks for X11 forwarding to `ClientOptions.x11`; a refusal rejects. */
  readonly x11?: Omit<X11Request, 'singleConnection'> & { readonly singleConnection?: boolean }
  /**
   * When it fires, all that waits for the program rejects at once, and the program gets TERM, after
   * `graceMs` KILL, and after as long again its channel is closed.
   */
  readonly signal?: AbortSignal
  /** Default 2000. */
  readonly graceMs?: number
}

/**
 * Speaks SSH over `transport` and resolves once the user is in. Rejects with an SshError whose
 * `code` tells what failed: `SSH_HOST_KEY_REJECTED`, `SSH_AUTHENTICATION` (an AuthenticationError
 * saying what was tried), `SSH_TIMEOUT` naming the phase, `SSH_ABORTED`, `SSH_CONNECTION_LOST`, …
 * Throws TypeError on bad options, naming the one. The transport is closed whenever it fails.
 *
 * @example
 * import { createConnection } from 'node:net'
 * import { readFile } from 'node:fs/promises'
 * import {
 *   connect,
 *   knownHosts,
 *   nodeSocket,
 *   parsePrivateKey,
 *   publickey,
 * } from '@sandbox-ssh/protocol'
 *
 * // Not run: needs a server named box.
 * const client = await connect(nodeSocket(createConnection(22, 'box')), {
 *   username: 'ada',
 *   hostKey: knownHosts(await readFile('known_hosts', 'utf8'), 'box'),
 *   auth: [publickey(await parsePrivateKey(await readFile('id_ed25519', 'utf8')))],
 * })
 * console.log((await client.run('uname -a')).text())
 * await client.close()
 */
export async function connect(transport: Transport, options: ClientOptions): Promise<Client> {
  requireTransport(transport)
  requireString(options?.username, 'username')
  requireFunction(options.hostKey, 'hostKey')
  for (const name of ['agentForward', 'x11', 'onHostKeys', 'onBanner'] as const)
    optionalFunction(options[name], name)
  if (!Array.isArray(options.auth) && typeof options.auth !== 'function') {
    throw new TypeError('auth must be an array of methods or a plan')
  }
  validateCommon(options)
  requireInProcess(transport, options.inProcess)
  return establish(transport, options)
}

/** Makes one and waits for the end of its handshake. */
let establish: (transport: Transport, options: ClientOptions) => Promise<Client>

const SESSION: ChannelOptions = { stderr: 'pipe', closeWhenEnded: false }

/**
 * A connection whose user is in, made by `connect`.
 *
 * @example
 * const sorted = await client.run('cat', { stdin: 'hello' })
 * console.log(sorted.code, sorted.text()) // 0 hello
 *
 * const process = await client.exec('echo streamed', { stderr: 'ignore' })
 * const text = await new Response(process.stdout).text()
 * console.log(text.trim(), (await process.exit).code) // streamed 0
 *
 * console.log((await client.ping()) >= 0, client.negotiated.kex) // true mlkem768x25519-sha256
 * await client.close()
 */
export class Client {
  static {
    establish = async (transport, options) => {
      const client = new Client(transport, options)
      await client.#ready.promise
      return client
    }
  }

  readonly username: string
  readonly #options: ClientOptions
  readonly #link: Link
  readonly #incoming: IncomingChannels
  readonly #auth: AuthSequence
  readonly #crypto: CryptoProvider
  readonly #algorithms: Algorithms
  readonly #ready = deferred<void>()
  /** Aborted if the connection ends: then nobody waits for a decision any more. */
  readonly #connecting = new AbortController()
  #hostKeysTold = false
  #noMoreSessions = false
  #methods: readonly string[] = []
  #partialSuccess = false

  private constructor(transport: Transport, options: ClientOptions) {
    this.username = options.username
    this.#options = options
    this.#auth = new AuthSequence(options.auth)
    const crypto = options.crypto ?? defaultCrypto()
    const preferred = preferKnown(modern(crypto), options.hostKey.keyTypes)
    const algorithms = options.inProcess
      ? inProcessAlgorithms(preferred)
      : (options.algorithms?.(preferred) ?? preferred)
    this.#crypto = crypto
    this.#algorithms = algorithms
    this.#link = new Link({
      machine: new Machine({
        role: 'client',
        crypto,
        algorithms,
        softwareVersion: SOFTWARE_VERSION,
        username: options.username,
        nowMs: nowMs(),
        ...(options.handshakeMs && { handshakeMs: options.handshakeMs }),
        ...(options.rekey && { rekey: options.rekey }),
        ...(options.requireStrictKex && { requireStrictKex: true }),
        ...options.limits,
        ...(options.deadlines && { deadlines: options.deadlines }),
        ...(options.trace && { trace: options.trace }),
      }),
      transport,
      onEvent: (event) => this.#handle(event),
      onClosed: (error) => {
        this.#incoming.end(error)
        const explained = this.#explain(error)
        this.#ready.reject(explained)
        this.#connecting.abort(explained)
        this.#auth.end()
      },
      keepalive: options.keepalive,
      deadlines: options.deadlines,
      signal: options.signal,
    })
    const { agentForward, x11, channels } = options
    const agent =
      agentForward &&
      (async (): Promise<Transport> => {
        const transport = await agentForward()
        try {
          await bindForForwarding(transport, this.#session)
        } catch (error) {
          transport.abort(error)
          throw error
        }
        return transport
      })
    this.#incoming = new IncomingChannels(this.#link, { agentForward: agent, x11, channels })
    this.#link.start()
  }

  /** What is in force now. */
  get negotiated(): Negotiated {
    return this.#link.negotiated
  }

  /** The server's identification line. */
  get serverIdentification(): string {
    return this.#link.machine.peerIdentification ?? ''
  }

  get #session(): SessionBinding {
    const session = this.#link.machine.sessionBinding
    if (session === undefined) throw new SshError('SSH_INTERNAL', 'no keys are in force')
    return session
  }

  /** RFC 4253 §7.2: binds what is signed to this connection. */
  get sessionId(): Uint8Array {
    return this.#link.machine.sessionId ?? new Uint8Array(0)
  }

  /** Resolves once the connection is gone, with what ended it unless that was `close`. */
  get closed(): Promise<SshError | undefined> {
    return this.#link.ended
  }

  /**
   * Runs a command and collects what it writes, each stream up to `maxBytes`. Rejects with SshError
   * `SSH_LIMIT` past that, `SSH_CONNECTION_LOST` if there was no exit status; a status other than 0
   * is a result, not an error.
   */
  async run(command: string | Uint8Array, options: RunOptions = {}): Promise<RunResult> {
    validateRun(options)
    return collect(await this.exec(command, options), options)
  }

  /**
   * Starts a command, RFC 4254 §6.5. A string is sent as UTF-8; servers hand it to a shell.
   * Rejects with SshError `SSH_REQUEST_REFUSED` if the server will not run it.
   */
  async exec(command: string | Uint8Array, options: ExecOptions = {}): Promise<RemoteProcess> {
    const bytes = typeof command === 'string' ? new TextEncoder().encode(command) : command
    if (!(bytes instanceof Uint8Array)) {
      throw new TypeError('command must be a string or a Uint8Array')
    }
    return this.#start(REQUEST.EXEC, exec.encode({ command: bytes }), options)
  }

  /** Starts the user's shell. */
  shell(options: ExecOptions = {}): Promise<RemoteProcess> {
    return this.#start(REQUEST.SHELL, new Uint8Array(0), options)
  }

  /**
   * Starts a subsystem such as `sftp` and gives its channel, whose stderr is dropped.
   * Rejects with SshError `SSH_REQUEST_REFUSED` if the server has none of that name.
   */
  async subsystem(name: string, options: { readonly signal?: AbortSignal } = {}): Promise<Channel> {
    requireString(name, 'name')
    const process = await this.#start(REQUEST.SUBSYSTEM, subsystem.encode({ name }), {
      ...options,
      stderr: 'ignore',
    })
    return process.channel
  }

  /** A session channel on which nothing was requested yet. */
  async session({ signal }: WaitOptions = {}): Promise<Channel> {
    this.#needSessions()
    return this.#link.openChannel(CHANNEL_TYPE.SESSION, undefined, { ...SESSION, signal })
  }

  /**
   * Promises the server that no more sessions will be opened (`no-more-sessions@openssh.com`), so
   * that nobody who gets hold of the connection can run anything. Further attempts reject with
   * SshError `SSH_REQUEST_REFUSED`; forwards go on.
   */
  noMoreSessions(): void {
    if (this.#noMoreSessions) return
    this.#noMoreSessions = true
    this.#link.notifyGlobal(GLOBAL_REQUEST.NO_MORE_SESSIONS)
  }

  /**
   * Has the server connect to `host`:`port`, RFC 4254 §7.2. The channel closes itself once both
   * sides ended. Being a transport, it can carry another `connect`. Rejects with ChannelOpenError.
   */
  async directTcpip(
    host: string,
    port: number,
    originator: { readonly host: string; readonly port: number } = { host: '127.0.0.1', port: 0 },
    options: WaitOptions = {},
  ): Promise<Channel> {
    requireString(host, 'host')
    requirePort(port)
    const { host: originatorHost, port: originatorPort } = originator
    const data = directTcpip.encode({ host, port, originatorHost, originatorPort })
    return this.openChannel(CHANNEL_TYPE.DIRECT_TCPIP, data, options)
  }

  /**
   * Has the server connect to a Unix socket on its side (OpenSSH's PROTOCOL §2.4). As
   * `directTcpip` otherwise.
   */
  async directStreamlocal(path: string, options: WaitOptions = {}): Promise<Channel> {
    requireString(path, 'path')
    const reserved = new Uint8Array(0)
    const data = directStreamlocal.encode({ path, reserved, reservedNumber: 0 })
    return this.openChannel(CHANNEL_TYPE.DIRECT_STREAMLOCAL, data, options)
  }

  /**
   * Has the server listen on a TCP port, RFC 4254 §7.1. `host` is an address of the server: empty
   * for all, `localhost` for its loopback. For port 0 the server chooses; see `RemoteListener.port`.
   * Rejects with SshError `SSH_REQUEST_REFUSED` if the server will not.
   *
   * @example
   * import { createConnection, createServer } from 'node:net'
   * import { nodeListener } from '@sandbox-ssh/protocol'
   *
   * const client = await pair({
   *   tcpipForward: ({ host, port }) =>
   *     nodeListener(createServer({ allowHalfOpen: true }).listen(port, host)),
   * })
   * await using listener = await client.listen('127.0.0.1', 0)
   * createConnection(listener.port, '127.0.0.1').end('hello')
   * for await (const { transport } of listener) {
   *   console.log(new TextDecoder().decode(await transport.read())) // hello
   *   await transport.close()
   *   break
   * }
   */
  async listen(host: string, port: number, options: WaitOptions = {}): Promise<RemoteListener> {
    requireString(host, 'host')
    requirePort(port)
    return this.#incoming.forwards.listen(host, port, options)
  }

  /** The same for a Unix socket on the server's side. */
  async listenStreamlocal(path: string, options: WaitOptions = {}): Promise<RemoteListener> {
    requireString(path, 'path')
    return this.#incoming.forwards.listenStreamlocal(path, options)
  }

  /** Opens a channel of any type. It closes itself once both sides ended. */
  openChannel(
    type: string,
    typeSpecific?: Uint8Array,
    { signal }: WaitOptions = {},
  ): Promise<Channel> {
    return this.#link.openChannel(type, typeSpecific, { ...CONNECTION_CHANNEL, signal })
  }

  /** A global request with a reply. Rejects with SshError `SSH_REQUEST_REFUSED` on failure. */
  globalRequest(
    name: string,
    data?: Uint8Array,
    { signal }: WaitOptions = {},
  ): Promise<Uint8Array> {
    return this.#link.globalRequest(name, data, { signal })
  }

  /**
   * Round trip to the server in milliseconds: of a `ping@openssh.com` where the server offers it,
   * else of a global request.
   */
  ping(options: WaitOptions = {}): Promise<number> {
    return this.#link.ping(options)
  }

  /** Starts a key exchange. Data waits meanwhile, nothing is lost. */
  rekey(): void {
    this.#link.machine.rekey()
    this.#link.wake()
  }

  /** Says goodbye and ends the connection; resolves once the transport was let go. */
  async close(): Promise<void> {
    await this.#link.disconnect(DISCONNECT.BY_APPLICATION, 'closed by the user')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** Opens a session and starts something on it; the requests go together, in one round trip. */
  async #start(request: string, data: Uint8Array, options: ExecOptions): Promise<RemoteProcess> {
    const { env = {}, pty, stderr = 'pipe', signal, graceMs } = options
    const { agentForward = true, x11 } = options
    const forwardsAgent = agentForward && this.#options.agentForward !== undefined
    const required = [
      ...(x11 ? [[REQUEST.X11, x11Request.encode({ singleConnection: false, ...x11 })]] : []),
      ...(pty ? [[REQUEST.PTY, encodePty(pty)]] : []),
    ] as [string, Uint8Array][]
    this.#needSessions()
    let process: RemoteProcess | undefined
    const channel = await this.#link.openChannel(CHANNEL_TYPE.SESSION, undefined, {
      stderr,
      closeWhenEnded: false,
      signal,
      setUp: (opened) => {
        process = new RemoteProcess(opened, this.serverIdentification)
        if (signal !== undefined) killOnAbort(process, signal, graceMs)
        if (forwardsAgent) this.#incoming.permitAgent(opened)
        if (x11 !== undefined) this.#incoming.permitX11(opened, x11.singleConnection ?? false)
      },
    })
    try {
      if (forwardsAgent) channel.notify(REQUEST.AGENT)
      await this.#request(channel, required, env, [request, data], signal)
    } catch (error) {
      // One that was aborted may be running already, and is being terminated.
      if (!signal?.aborted) channel.abort()
      throw error
    }
    // It was made as soon as the channel was open, before any request could come on it.
    return process as RemoteProcess
  }

  #needSessions(): void {
    if (this.#noMoreSessions) {
      throw new SshError('SSH_REQUEST_REFUSED', 'no more sessions were announced')
    }
  }

  async #request(
    channel: Channel,
    required: readonly (readonly [string, Uint8Array])[],
    env: Readonly<Record<string, string>>,
    start: readonly [string, Uint8Array],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    // In the order of OpenSSH. Env wants no reply: a refused name is no reason to fail.
    const replies = required.map(([name, data]) => ({
      name,
      ok: channel.request(name, data, { signal }),
    }))
    for (const [name, value] of Object.entries(env)) {
      channel.notify(REQUEST.ENV, environment.encode({ name, value }))
    }
    replies.push({ name: start[0], ok: channel.request(...start, { signal }) })
    for (const { name, ok } of replies) {
      if (!(await ok)) {
        throw new SshError('SSH_REQUEST_REFUSED', `the server refused the ${name} request`)
      }
    }
  }

  #handle(event: RoleEvent): void {
    switch (event.type) {
      case 'question':
        this.#answer(event)
        break
      case 'banner':
        this.#options.onBanner?.(event.message)
        break
      case 'authenticated':
        this.#auth.end()
        this.#ready.resolve()
        break
      case 'channel-open':
        this.#incoming.open(event)
        break
      case 'global-request':
        if (event.request === GLOBAL_REQUEST.HOSTKEYS) this.#learnHostKeys(event.data)
        // Keepalives among them: any answer is a sign of life.
        if (event.wantReply) this.#link.machine.answerGlobalRequest(false)
        break
      case 'extension':
        break
    }
  }

  /** What is not proved, or comes again, is not told to anybody. */
  #learnHostKeys(announcement: Uint8Array): void {
    const { onHostKeys } = this.#options
    if (onHostKeys === undefined || this.#hostKeysTold) return
    this.#hostKeysTold = true
    verifyHostKeys(this.#link, this.#crypto, this.#algorithms.hostKeys, announcement)
      .then(onHostKeys)
      .catch(ignore)
  }

  #answer(question: Question): void {
    const { machine } = this.#link
    const { id } = question
    switch (question.kind) {
      case 'host-key':
        this.#ask(
          () => {
            const { hostKey, algorithm } = question
            return this.#options.hostKey(hostKey, { algorithm, signal: this.#connecting.signal })
          },
          (accepted) => machine.answerHostKey(id, accepted === true),
          DISCONNECT.HOST_KEY_NOT_VERIFIABLE,
        )
        break
      case 'authenticate-next': {
        const { last } = question
        this.#methods = question.methods ?? []
        this.#partialSuccess ||= last?.partialSuccess === true
        const { signatureAlgorithms, methods } = question
        const context = {
          username: this.username,
          signatureAlgorithms,
          session: this.#session,
          signal: this.#connecting.signal,
        }
        this.#ask(
          () => this.#auth.next(context, methods, last?.partialSuccess === true),
          (attempt) => machine.answerAttempt(id, attempt),
        )
        break
      }
      case 'sign':
        // A signer that will not is one attempt lost, not the connection.
        this.#ask(
          () => this.#auth.sign(question.publicKey, question.data, question.algorithm),
          (signature) => machine.answerSignature(id, signature),
        )
        break
      case 'prompts': {
        const { name, instruction, prompts } = question
        this.#ask(
          () => this.#auth.current?.respond?.({ name, instruction, prompts }) ?? [],
          (responses) => machine.answerPrompts(id, responses),
        )
        break
      }
      case 'change-password':
        this.#ask(
          () => this.#auth.current?.changePassword?.(question.prompt),
          (attempt) => machine.answerAttempt(id, attempt),
        )
        break
      case 'authenticate':
        break
    }
  }

  /** Puts a decision to our own side. One that throws ends the attempt, with that as the cause. */
  #ask<T>(
    decide: () => T | Promise<T>,
    answer: (value: T) => void,
    reason: number = DISCONNECT.AUTH_CANCELLED_BY_USER,
  ): void {
    const failed = (cause: unknown): void => {
      const error =
        cause instanceof SshError
          ? cause
          : new SshError('SSH_ABORTED', `connecting was given up: ${messageOf(cause)}`, { cause })
      this.#link.disconnect(reason, 'given up', error).catch(ignore)
    }
    this.#link.ask(decide, answer, failed, true).catch(ignore)
  }

  /** Puts what was tried into the error of a failed authentication. */
  #explain(error: SshError | undefined): SshError {
    if (error === undefined) return new SshError('SSH_ABORTED', 'closed while connecting')
    const { tried } = this.#auth
    // Servers also say "too many authentication failures" and disconnect.
    const sentAway = error instanceof DisconnectError && error.byPeer && tried.length > 0
    if (error.code !== 'SSH_AUTHENTICATION' && !sentAway) return error
    const what = tried.length === 0 ? 'nothing fitted what it takes' : `tried ${tried.join(', ')}`
    const methods = printable(this.#methods.join(', ')) || 'nothing'
    const end = sentAway ? error.message : `the server would continue with ${methods}`
    const partly = this.#partialSuccess ? '; part of it succeeded' : ''
    return new AuthenticationError(
      `user ${JSON.stringify(this.username)} was not let in: ${what}; ${end}${partly}`,
      this.#methods,
      this.#partialSuccess,
    )
  }
}

/** A server has several keys; ask for one that can be checked. */
function preferKnown(algorithms: Algorithms, keyTypes: readonly string[] = []): Algorithms {
  const isKnown = (spec: SignatureSpec): boolean => keyTypes.includes(spec.keyType)
  const { hostKeys } = algorithms
  return {
    ...algorithms,
    hostKeys: [...hostKeys.filter(isKnown), ...hostKeys.filter((spec) => !isKnown(spec))],
  }
}

function encodePty(pty: PtyOptions): Uint8Array {
  return ptyRequest.encode({
    term: pty.term ?? 'xterm-256color',
    columns: pty.columns ?? 80,
    rows: pty.rows ?? 24,
    widthPixels: pty.widthPixels ?? 0,
    heightPixels: pty.heightPixels ?? 0,
    modes: encodeTerminalModes(pty.modes ?? {}),
  })
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
