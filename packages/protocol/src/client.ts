/** The client: connects, authenticates, and runs things at the other end. */
import { bindForForwarding } from './agent/binding.ts'
import { modern } from './algorithms/modern.ts'
import type { Algorithms, SignatureSpec } from './algorithms/spec.ts'
import type { Channel } from './channel.ts'
import { IncomingChannels } from './client-channels.ts'
import type { RemoteListener } from './client-forwards.ts'
import { ClientLogin } from './client-login.ts'
import type { ClientOptions, ExecOptions, SubsystemOptions } from './client-options.ts'
import { ClientSessions } from './client-sessions.ts'
import { CHANNEL_TYPE, directStreamlocal, directTcpip } from './connection/forwarding.ts'
import { exec, GLOBAL_REQUEST, REQUEST, subsystem } from './connection/requests.ts'
import { Connection } from './connection.ts'
import { machineOptions } from './connection-options.ts'
import { defaultCrypto } from './crypto/native.ts'
import type { CryptoProvider } from './crypto/provider.ts'
import { deferred, ignore } from './deferred.ts'
import { verifyHostKeys } from './host-keys.ts'
import type { Transport } from './io/transport.ts'
import { Link, type RoleEvent } from './link.ts'
import { clientMachine } from './machine/client.ts'
import type { RemoteProcess } from './process.ts'
import { collect, type RunOptions, type RunResult, validateRun } from './run.ts'
import {
  type Carrier,
  carrierOf,
  optionalFunction,
  requireFunction,
  requirePort,
  requireString,
  requireTransport,
  validateCommon,
} from './validate.ts'
import type { WaitOptions } from './wait.ts'
import { DISCONNECT } from './wire/numbers.ts'

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
 * const client = await connect(nodeSocket(createConnection(22, 'box')), {
 *   username: 'ada',
 *   hostKey: knownHosts(await readFile('known_hosts', 'utf8'), 'box'),
 *   auth: [publickey(await parsePrivateKey(await readFile('id_ed25519', 'utf8')))],
 * })
 * console.log((await client.run('uname -a')).text().trim()) // Linux …
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
  return establish(carrierOf(transport, options.inProcess), options)
}

/** Makes one and waits for the end of its handshake. */
let establish: (carrier: Carrier, options: ClientOptions) => Promise<Client>

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
export class Client extends Connection {
  static {
    establish = async (carrier, options) => {
      const client = new Client(carrier, options)
      await client.#ready.promise
      return client
    }
  }

  readonly username: string
  readonly #options: ClientOptions
  readonly #link: Link
  readonly #incoming: IncomingChannels
  readonly #sessions: ClientSessions
  readonly #login: ClientLogin
  readonly #crypto: CryptoProvider
  readonly #algorithms: Algorithms
  readonly #ready = deferred<void>()
  #hostKeysTold = false

  private constructor(carrier: Carrier, options: ClientOptions) {
    const crypto = options.crypto ?? defaultCrypto()
    const preferred = preferKnown(modern(crypto), options.hostKey.keyTypes)
    const common = machineOptions(options, crypto, preferred, carrier.inProcess)
    const link = new Link({
      machine: clientMachine({ username: options.username, ...common }),
      transport: carrier.transport,
      onEvent: (event) => this.#handle(event),
      onClosed: (error) => {
        this.#incoming.end(error)
        this.#ready.reject(this.#login.fail(error))
      },
      keepalive: options.keepalive,
      deadlines: options.deadlines,
      signal: options.signal,
    })
    super(link)
    this.username = options.username
    this.#options = options
    this.#link = link
    this.#crypto = crypto
    this.#algorithms = common.algorithms
    this.#login = new ClientLogin(link, options)
    const { agentForward, x11, channels } = options
    const agent =
      agentForward &&
      (async (): Promise<Transport> => {
        const transport = await agentForward()
        try {
          await bindForForwarding(transport, link.session)
        } catch (error) {
          transport.abort(error)
          throw error
        }
        return transport
      })
    this.#incoming = new IncomingChannels(link, { agentForward: agent, x11, channels })
    this.#sessions = new ClientSessions(link, this.#incoming, agent !== undefined)
    link.start()
  }

  /** The server's identification line. */
  get serverIdentification(): string {
    return this.#link.machine.peerIdentification ?? ''
  }

  /** RFC 4253 §7.2: binds what is signed to this connection. */
  get sessionId(): Uint8Array {
    return this.#link.machine.sessionId ?? new Uint8Array(0)
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
    return this.#sessions.start(REQUEST.EXEC, exec.encode({ command: bytes }), options)
  }

  /**
   * Starts the user's shell.
   *
   * @example
   * const client = await pair({
   *   shell: async (session) => {
   *     await session.write(new TextEncoder().encode(`${session.pty?.columns} columns`))
   *     return 0
   *   },
   * })
   * const shell = await client.shell({ pty: { columns: 132 }, stderr: 'merge' })
   * console.log(new TextDecoder().decode(await shell.read())) // 132 columns
   * console.log((await shell.exit).code) // 0
   */
  shell(options: ExecOptions = {}): Promise<RemoteProcess> {
    return this.#sessions.start(REQUEST.SHELL, new Uint8Array(0), options)
  }

  /**
   * Starts a subsystem such as `sftp` and gives its channel, whose stderr is dropped, unless `stderr`
   * is `pipe`: then it must be read, or the subsystem may stand still.
   * Rejects with SshError `SSH_REQUEST_REFUSED` if the server has none of that name.
   */
  async subsystem(name: string, options: SubsystemOptions = {}): Promise<Channel> {
    requireString(name, 'name')
    const process = await this.#sessions.start(REQUEST.SUBSYSTEM, subsystem.encode({ name }), {
      ...options,
      stderr: options.stderr ?? 'ignore',
    })
    return process.channel
  }

  /** A session channel on which nothing was requested yet. */
  session(options: WaitOptions = {}): Promise<Channel> {
    return this.#sessions.open(options)
  }

  /**
   * Promises the server that no more sessions will be opened (`no-more-sessions@openssh.com`), so
   * that nobody who gets hold of the connection can run anything. Further attempts reject with
   * SshError `SSH_REQUEST_REFUSED`; forwards go on.
   *
   * @example
   * client.noMoreSessions()
   * const refused = await client.run('echo hello').catch((error) => error.code)
   * console.log(refused) // SSH_REQUEST_REFUSED
   * // Forwards go on.
   * await (await client.directTcpip('localhost', 7)).close()
   */
  noMoreSessions(): void {
    this.#sessions.noMore()
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
   *
   * @example
   * import { memoryPair } from '@sandbox-ssh/protocol'
   *
   * const [docker, far] = memoryPair()
   * const client = await pair({ directStreamlocal: () => far })
   * const channel = await client.directStreamlocal('/run/docker.sock')
   * await channel.write(new TextEncoder().encode('GET /_ping'))
   * console.log(new TextDecoder().decode(await docker.read())) // GET /_ping
   * await Promise.all([channel.close(), docker.close()])
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

  /**
   * The same for a Unix socket on the server's side.
   *
   * @example
   * import { createConnection, createServer } from 'node:net'
   * import { nodeListener } from '@sandbox-ssh/protocol'
   *
   * const client = await pair({
   *   streamlocalForward: ({ path }) => nodeListener(createServer({ allowHalfOpen: true }).listen(path)),
   * })
   * await using listener = await client.listenStreamlocal('forwarded.sock')
   * createConnection('forwarded.sock').end('from the server')
   * const { transport } = (await listener.accept()) ?? {}
   * console.log(new TextDecoder().decode(await transport?.read())) // from the server
   * await transport?.close()
   */
  async listenStreamlocal(path: string, options: WaitOptions = {}): Promise<RemoteListener> {
    requireString(path, 'path')
    return this.#incoming.forwards.listenStreamlocal(path, options)
  }

  /** Says goodbye and ends the connection; resolves once the transport was let go. */
  async close(): Promise<void> {
    await this.#link.disconnect(DISCONNECT.BY_APPLICATION, 'closed by the user')
  }

  #handle(event: RoleEvent): void {
    switch (event.type) {
      case 'question':
        this.#login.answer(event)
        break
      case 'banner':
        this.#options.onBanner?.(event.message)
        break
      case 'authenticated':
        this.#login.succeed()
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
