/** The server: lets users in and serves what they open. */
import { modern } from './algorithms/modern.ts'
import { CHANNEL_TYPE } from './connection/forwarding.ts'
import { GLOBAL_REQUEST } from './connection/requests.ts'
import { Connection } from './connection.ts'
import { machineOptions } from './connection-options.ts'
import { defaultCrypto } from './crypto/native.ts'
import type { CryptoProvider } from './crypto/provider.ts'
import { deferred, ignore } from './deferred.ts'
import { SshError } from './errors.ts'
import { announceHostKeys, proveHostKeys } from './host-keys.ts'
import type { Transport } from './io/transport.ts'
import { type ChannelOpen, prohibit } from './join.ts'
import type { PublicKey } from './keys/public-key.ts'
import { type GlobalAnswer, Link, type RoleEvent } from './link.ts'
import type { AuthRequest, AuthVerdict, Question } from './machine/event.ts'
import { serverMachine } from './machine/server.ts'
import { nowMs } from './pump.ts'
import { refusalTime } from './refusal-time.ts'
import { Verdicts } from './server-auth.ts'
import { openOther } from './server-channels.ts'
import { ServerForwards } from './server-forwards.ts'
import { type ServerOptions, validateServerOptions } from './server-options.ts'
import { type ServerSession, type SessionHandler, serveSession } from './server-session.ts'
import { type Carrier, carrierOf, requireTransport } from './validate.ts'
import { DISCONNECT } from './wire/numbers.ts'

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
  validateServerOptions(options)
  return establish(carrierOf(transport, options.inProcess), options)
}

/** Makes one and waits for the end of its handshake. */
let establish: (carrier: Carrier, options: ServerOptions) => Promise<ServerConnection>

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
export class ServerConnection extends Connection {
  static {
    establish = async (carrier, options) => {
      const connection = new ServerConnection(carrier, options)
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

  private constructor(carrier: Carrier, options: ServerOptions) {
    const crypto = options.crypto ?? defaultCrypto()
    const verdicts = new Verdicts(options.auth, (error) => this.#report(error))
    const link = new Link({
      machine: serverMachine({
        ...machineOptions(options, crypto, modern(crypto), carrier.inProcess),
        hostKeys: options.hostKeys.map((signer) => signer.publicKey),
        authMethods: verdicts.methods,
        ...(options.banner !== undefined && { banner: options.banner }),
        ...(options.authFailuresMax && { authFailuresMax: options.authFailuresMax }),
        userAlgorithms: (username) => this.#userAlgorithms(username),
      }),
      transport: carrier.transport,
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
    super(link)
    this.#options = options
    this.#crypto = crypto
    this.#verdicts = verdicts
    this.#link = link
    this.#forwards = new ServerForwards(link, {
      tcpipForward: options.tcpipForward,
      streamlocalForward: options.streamlocalForward,
      onError: (error) => this.#report(error),
      username: () => this.#username,
    })
    link.start()
  }

  get username(): string {
    return this.#username
  }

  /** The key that let the user in, if it was one. */
  get publicKey(): PublicKey | undefined {
    return this.#publicKey
  }

  /** The client's identification line. */
  get clientIdentification(): string {
    return this.#link.machine.peerIdentification ?? ''
  }

  /** Says goodbye (reasons of RFC 4253 §11.1) and ends; resolves once the transport was let go. */
  async close(reason: number = DISCONNECT.BY_APPLICATION, message = 'closed'): Promise<void> {
    await this.#link.disconnect(reason, message)
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
          () => signer?.sign(question.data, question.algorithm, { signal: this.#link.signal }),
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
