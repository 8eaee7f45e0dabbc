/** The server: lets users in and serves what they open. */
import { inProcessAlgorithms } from './algorithms/in-process.ts'
import { modern } from './algorithms/modern.ts'
import type { Algorithms } from './algorithms/spec.ts'
import type { Channel } from './channel.ts'
import { CHANNEL_TYPE, type DirectTcpip, type TcpipForward } from './connection/forwarding.ts'
import { GLOBAL_REQUEST } from './connection/requests.ts'
import { defaultCrypto } from './crypto/native.ts'
import type { CryptoProvider } from './crypto/provider.ts'
import { deferred, ignore } from './deferred.ts'
import { SshError } from './errors.ts'
import { announceHostKeys, proveHostKeys } from './host-keys.ts'
import type { Transport } from './io/transport.ts'
import { type ChannelOpen, CONNECTION_CHANNEL, prohibit } from './join.ts'
import type { PublicKey, Signer } from './keys/public-key.ts'
import {
  type ConnectionLimits,
  type GlobalAnswer,
  type Keepalive,
  Link,
  type RoleEvent,
} from './link.ts'
import type { AuthRequest, AuthVerdict, Negotiated, Question } from './machine/event.ts'
import { Machine } from './machine/machine.ts'
import type { Deadlines } from './machine/options.ts'
import { nowMs } from './pump.ts'
import { refusalTime } from './refusal-time.ts'
import { type ServerAuthHandlers, Verdicts } from './server-auth.ts'
import {
  type ChannelHandler,
  type Connector,
  openOther,
  type StreamlocalTarget,
} from './server-channels.ts'
import { type ForwardHandler, ServerForwards } from './server-forwards.ts'
import { type ServerSession, type SessionHandler, serveSession } from './server-session.ts'
import { SOFTWARE_VERSION } from './software-version.ts'
import type { RekeyLimits } from './transport/key-exchange.ts'
import {
  optionalFunction,
  optionalInteger,
  requireInProcess,
  requireSigners,
  requireTransport,
  validateCommon,
} from './validate.ts'
import type { WaitOptions } from './wait.ts'
import { DISCONNECT } from './wire/numbers.ts'

/** What `serve` needs to know; what is not given is refused. */
export interface ServerOptions {
  /** Keys that prove who we are, one of each type that clients may want. */
  readonly hostKeys: readonly Signer[]
  /**
   * Whether clients are told all host keys once their user is in, so that they can learn new ones
   * (`hostkeys-00@openssh.com`). Default true.
   */
  readonly announceHostKeys?: boolean
  /** Who may come in; a method without a handler is not offered. */
  readonly auth: ServerAuthHandlers
  /**
   * Names of the signature algorithms taken from a user, of those in `algorithms`, such as
   * `sk-ssh-ed25519@openssh.com` alone; undefined stands for all. Clients that understand
   * `ext-info-in-auth@openssh.com` are told. Users who do not exist must get an answer too. What it
   * throws goes to `onError`, and the user can then use no key.
   */
  readonly userAlgorithms?: (username: string) => readonly string[] | undefined
  /** Serves exec, shell and subsystem alike; those below come first. */
  readonly session?: SessionHandler
  readonly exec?: SessionHandler
  readonly shell?: SessionHandler
  readonly subsystems?: Readonly<Record<string, SessionHandler>>
  /** Connects for a client, RFC 4254 §7.2. Absent, the default: prohibited. */
  readonly directTcpip?: Connector<DirectTcpip>
  /** The same for a Unix socket, OpenSSH's PROTOCOL §2.4. Default: prohibited. */
  readonly directStreamlocal?: Connector<StreamlocalTarget>
  /**
   * Listens for a client, RFC 4254 §7.1: each connection becomes a channel to it. Undefined
   * refuses, as does an error, which `onError` hears. The listener is closed when the client
   * cancels, and with the connection. A client has at most 64. Default: refused.
   */
  readonly tcpipForward?: ForwardHandler<TcpipForward>
  /** The same for a Unix socket. Default: refused. */
  readonly streamlocalForward?: ForwardHandler<Pick<StreamlocalTarget, 'path'>>
  /** Serves channels of other types, such as `tun@openssh.com`, by type. Default: unknown. */
  readonly channels?: Readonly<Record<string, ChannelHandler>>
  /**
   * Asked before anything is done about a channel that a client opens, whatever its type; false or
   * a throw prohibits it. `forwarding` has codecs for `typeSpecific`. Default: true, which leaves
   * it to the handler for the type.
   */
  readonly permitChannel?: (request: {
    readonly channelType: string
    readonly typeSpecific: Uint8Array
    readonly username: string
  }) => boolean | Promise<boolean>
  /** Whether sessions may use the client's agent, see `ServerSession.agent`. Default: no. */
  readonly agentForwarding?: boolean
  /** Whether sessions may use the client's X server, see `ServerSession.openX11`. Default: no. */
  readonly x11Forwarding?: boolean
  /** Which variables a client may set. Default: none. */
  readonly acceptEnv?: (name: string, value: string) => boolean
  /** Shown before authentication. */
  readonly banner?: string
  /**
   * Neither cipher nor MAC, over an end of a `memoryPair` and nothing else: between two ends in
   * one process encryption protects nobody. Both must ask for it. `algorithms` is then not used.
   */
  readonly inProcess?: true
  readonly crypto?: CryptoProvider
  readonly algorithms?: (modern: Algorithms) => Algorithms
  /** Ends the handshake; afterwards it means nothing. */
  readonly signal?: AbortSignal
  readonly handshakeMs?: number
  readonly rekey?: RekeyLimits
  readonly limits?: ConnectionLimits
  /** How long each phase may take. */
  readonly deadlines?: Deadlines
  readonly keepalive?: Keepalive
  readonly requireStrictKex?: boolean
  /** Failures before the client is sent away. */
  readonly authFailuresMax?: number
  /** Hears what passes, as `ClientOptions.trace` does. */
  readonly trace?: (line: string) => void
  /** Hears of what handlers throw; by default nobody does. */
  readonly onError?: (error: unknown) => void
}

/**
 * Speaks SSH as the server over `transport`; resolves once a user is in, and goes on serving.
 * Rejects with SshError if nobody gets in: `SSH_AUTHENTICATION`, `SSH_TIMEOUT`,
 * `SSH_CONNECTION_LOST`, … Throws TypeError on bad options, naming the one.
 *
 * @example
 * import {
 *   connect,
 *   generateKey,
 *   memoryPair,
 *   pinned,
 *   publickey,
 *   serve,
 * } from '@sandbox-ssh/protocol'
 *
 * const [near, far] = memoryPair()
 * const [hostKey, userKey] = [generateKey('ed25519'), generateKey('ed25519')]
 * const serving = serve(far, {
 *   hostKeys: [hostKey],
 *   auth: { publickey: ({ key }) => key.equals(userKey.publicKey) },
 *   exec: ({ command }) => (command === 'true' ? 0 : 1),
 * })
 * const client = await connect(near, {
 *   username: 'ada',
 *   hostKey: pinned(hostKey.publicKey),
 *   auth: [publickey(userKey)],
 * })
 * console.log((await serving).username, (await client.run('true')).code) // ada 0
 * await client.close()
 * await (await serving).closed
 */
export async function serve(
  transport: Transport,
  options: ServerOptions,
): Promise<ServerConnection> {
  requireTransport(transport)
  requireInProcess(transport, options?.inProcess)
  validate(options)
  return establish(transport, options)
}

/** Makes one and waits for the end of its handshake. */
let establish: (transport: Transport, options: ServerOptions) => Promise<ServerConnection>

/**
 * A connection whose user is in, made by `serve`.
 *
 * @example
 * import { connect, generateKey, memoryPair, none, pinned, serve } from '@sandbox-ssh/protocol'
 *
 * const [near, far] = memoryPair()
 * const hostKey = generateKey('ed25519')
 * const [connection, client] = await Promise.all([
 *   serve(far, { hostKeys: [hostKey], auth: { none: () => true } }),
 *   connect(near, { username: 'guest', hostKey: pinned(hostKey.publicKey), auth: [none()] }),
 * ])
 * console.log(connection.username, connection.publicKey) // guest undefined
 * await connection.close()
 * console.log((await client.closed)?.code) // SSH_DISCONNECTED
 */
export class ServerConnection {
  static {
    establish = async (transport, options) => {
      const connection = new ServerConnection(transport, options)
      await connection.#ready.promise
      return connection
    }
  }

  readonly #options: ServerOptions
  readonly #crypto: CryptoProvider
  readonly #link: Link
  readonly #verdicts: Verdicts
  readonly #forwards: ServerForwards
  readonly #ready = deferred<void>()
  #username = ''
  #publicKey: PublicKey | undefined
  #noMoreSessions = false

  private constructor(transport: Transport, options: ServerOptions) {
    this.#options = options
    this.#verdicts = new Verdicts(options.auth, (error) => this.#report(error))
    const crypto = options.crypto ?? defaultCrypto()
    this.#crypto = crypto
    const algorithms = modern(crypto)
    this.#link = new Link({
      machine: new Machine({
        role: 'server',
        crypto,
        algorithms: options.inProcess
          ? inProcessAlgorithms(algorithms)
          : (options.algorithms?.(algorithms) ?? algorithms),
        softwareVersion: SOFTWARE_VERSION,
        nowMs: nowMs(),
        hostKeys: options.hostKeys.map((signer) => signer.publicKey),
        authMethods: this.#verdicts.methods,
        ...(options.banner !== undefined && { banner: options.banner }),
        ...(options.authFailuresMax && { authFailuresMax: options.authFailuresMax }),
        ...(options.handshakeMs && { handshakeMs: options.handshakeMs }),
        ...(options.rekey && { rekey: options.rekey }),
        ...(options.requireStrictKex && { requireStrictKex: true }),
        ...options.limits,
        ...(options.deadlines && { deadlines: options.deadlines }),
        userAlgorithms: (username) => this.#userAlgorithms(username),
        ...(options.trace && { trace: options.trace }),
      }),
      transport,
      onEvent: (event) => this.#handle(event),
      onClosed: (error) => {
        this.#verdicts.abandon()
        this.#forwards.end()
        this.#ready.reject(error ?? new SshError('SSH_ABORTED', 'closed during the handshake'))
      },
      keepalive: options.keepalive,
      deadlines: options.deadlines,
      signal: options.signal,
    })
    this.#forwards = new ServerForwards(this.#link, {
      tcpipForward: options.tcpipForward,
      streamlocalForward: options.streamlocalForward,
      onError: (error) => this.#report(error),
    })
    this.#link.start()
  }

  get username(): string {
    return this.#username
  }

  /** The key that let the user in, if it was one. */
  get publicKey(): PublicKey | undefined {
    return this.#publicKey
  }

  /** What is in force now. */
  get negotiated(): Negotiated {
    return this.#link.negotiated
  }

  /** The client's identification line. */
  get clientIdentification(): string {
    return this.#link.machine.peerIdentification ?? ''
  }

  /** Resolves once the connection is gone, with what ended it unless that was `close`. */
  get closed(): Promise<SshError | undefined> {
    return this.#link.ended
  }

  /** Opens a channel to the client. It closes itself once both sides ended. */
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
   * Round trip to the client in milliseconds: of a `ping@openssh.com` where the client offers it,
   * else of a global request.
   */
  ping(options: WaitOptions = {}): Promise<number> {
    return this.#link.ping(options)
  }

  /** Starts a key exchange. */
  rekey(): void {
    this.#link.machine.rekey()
    this.#link.wake()
  }

  /** Says goodbye (reasons of RFC 4253 §11.1) and ends; resolves once the transport was let go. */
  async close(reason: number = DISCONNECT.BY_APPLICATION, message = 'closed'): Promise<void> {
    await this.#link.disconnect(reason, message)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #handle(event: RoleEvent): void {
    switch (event.type) {
      case 'question':
        this.#answer(event)
        break
      case 'authenticated':
        this.#username = event.username
        this.#publicKey = event.publicKey
        if (this.#options.announceHostKeys !== false) {
          announceHostKeys(this.#link, this.#options.hostKeys)
        }
        this.#ready.resolve()
        break
      case 'channel-open':
        this.#open(event)
        break
      case 'global-request':
        if (event.request === GLOBAL_REQUEST.NO_MORE_SESSIONS) this.#noMoreSessions = true
        // A reply nobody wanted would be taken for that of a later request.
        this.#link.answerGlobal(event.wantReply, () => this.#globalRequest(event))
        break
      case 'banner':
      case 'extension':
        break
    }
  }

  /** What is thrown refuses, and every refusal takes a time that tells nothing. */
  async #decide(username: string, request: AuthRequest): Promise<AuthVerdict> {
    const startMs = nowMs()
    let verdict: AuthVerdict = { type: 'reject' }
    try {
      verdict = await this.#verdicts.decide(username, request)
    } catch (error) {
      this.#report(error)
    }
    // To ask with `none` what is offered is everybody's right, and looks nobody up.
    if (verdict.type !== 'reject' || request.method === 'none') return verdict
    await refusalTime(this.#crypto, username, startMs)
    return verdict
  }

  #userAlgorithms(username: string): readonly string[] | undefined {
    try {
      return this.#options.userAlgorithms?.(username)
    } catch (error) {
      this.#report(error)
      return []
    }
  }

  #answer(question: Question): void {
    const { machine } = this.#link
    const { id } = question
    if (question.kind === 'sign') {
      const signer = this.#options.hostKeys.find(({ publicKey }) =>
        publicKey.equals(question.publicKey),
      )
      const failed = (error: unknown): void => {
        this.#report(error)
        machine.answerSignature(id, undefined)
      }
      this.#link
        .ask(
          () => signer?.sign(question.data, question.algorithm),
          (signature) => machine.answerSignature(id, signature),
          failed,
          false,
        )
        .catch(ignore)
    } else if (question.kind === 'authenticate') {
      this.#link
        .ask(
          () => this.#decide(question.username, question.request),
          (verdict) => machine.answerAuthentication(id, verdict),
          (error) => {
            this.#report(error)
            machine.answerAuthentication(id, { type: 'reject' })
          },
          false,
        )
        .catch(ignore)
    }
  }

  #globalRequest({
    request,
    data,
  }: {
    readonly request: string
    readonly data: Uint8Array
  }): GlobalAnswer | Promise<GlobalAnswer> {
    if (request === GLOBAL_REQUEST.NO_MORE_SESSIONS) return new Uint8Array(0)
    if (request === GLOBAL_REQUEST.HOSTKEYS_PROVE) {
      return proveHostKeys(this.#link, this.#options.hostKeys, data)
    }
    return this.#forwards.request(request, data)
  }

  #open(event: ChannelOpen): void {
    const { permitChannel } = this.#options
    if (permitChannel === undefined) return this.#openPermitted(event)
    const { channelType, typeSpecific } = event
    // Nothing is served before the decision, but what is decided at once keeps its order.
    const decide = async (): Promise<boolean> =>
      permitChannel({ channelType, typeSpecific, username: this.#username })
    decide()
      .catch((error: unknown) => {
        this.#report(error)
        return false
      })
      .then((permitted) => {
        if (permitted === true) this.#openPermitted(event)
        else prohibit(this.#link, event, 'not allowed')
      })
      .catch((error: unknown) => this.#report(error))
  }

  #openPermitted(event: ChannelOpen): void {
    if (event.channelType === CHANNEL_TYPE.SESSION) return this.#openSession(event)
    const { directTcpip, directStreamlocal, channels } = this.#options
    const onError = (error: unknown): void => this.#report(error)
    const { username } = this
    openOther(this.#link, { username, directTcpip, directStreamlocal, channels, onError }, event)
  }

  #openSession(event: ChannelOpen): void {
    const { exec, shell, subsystems, session } = this.#options
    const served = exec ?? shell ?? subsystems ?? session
    if (this.#noMoreSessions || served === undefined) {
      const why = this.#noMoreSessions ? 'no more sessions were announced' : 'no sessions here'
      prohibit(this.#link, event, why)
      return
    }
    // A client has nothing to say on stderr; what it sends there must not fill the window.
    const options = { stderr: 'ignore', closeWhenEnded: false } as const
    const channel = this.#link.acceptChannel(event.channel, CHANNEL_TYPE.SESSION, options)
    if (channel === undefined) return
    serveSession(channel, {
      username: this.#username,
      clientIdentification: this.clientIdentification,
      handlerFor: (kind, name) => this.#handlerFor(kind, name),
      acceptEnv: this.#options.acceptEnv ?? (() => false),
      agentForwarding: this.#options.agentForwarding === true,
      x11Forwarding: this.#options.x11Forwarding === true,
      openChannel: (type, typeSpecific, wait) => this.openChannel(type, typeSpecific, wait),
      onError: (error) => this.#report(error),
    })
  }

  #handlerFor(kind: ServerSession['kind'], name: string): SessionHandler | undefined {
    const { exec, shell, subsystems, session } = this.#options
    if (kind === 'exec') return exec ?? session
    if (kind === 'shell') return shell ?? session
    // The name is the peer's: it must not reach what every object inherits.
    if (subsystems !== undefined && Object.hasOwn(subsystems, name)) return subsystems[name]
    return session
  }

  #report(error: unknown): void {
    try {
      this.#options.onError?.(error)
    } catch {
      // There is nobody left to tell.
    }
  }
}

const METHODS = ['publickey', 'password', 'keyboardInteractive', 'hostbased', 'none'] as const
const HANDLERS = [
  'session',
  'exec',
  'shell',
  'directTcpip',
  'directStreamlocal',
  'tcpipForward',
  'streamlocalForward',
  'permitChannel',
  'userAlgorithms',
  'acceptEnv',
  'onError',
] as const

function validate(options: ServerOptions): void {
  requireSigners(options?.hostKeys, 'hostKeys')
  if (typeof options.auth !== 'object' || options.auth === null) {
    throw new TypeError('auth must be an object of handlers')
  }
  for (const name of METHODS) {
    optionalFunction(options.auth[name], `auth.${name}`)
  }
  for (const name of HANDLERS) optionalFunction(options[name], name)
  for (const [name, handler] of Object.entries(options.subsystems ?? {})) {
    if (typeof handler !== 'function') throw new TypeError(`subsystems.${name} must be a function`)
  }
  for (const [name, handler] of Object.entries(options.channels ?? {})) {
    if (typeof handler !== 'function') throw new TypeError(`channels.${name} must be a function`)
  }
  optionalInteger(options.authFailuresMax, 'authFailuresMax', 1, 1000)
  validateCommon(options)
}
