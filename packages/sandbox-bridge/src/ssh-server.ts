/** The server of `SandboxSshOps`: SSH clients from outside, into a sandbox. */
import {
  type CryptoProvider,
  DISCONNECT,
  type IncomingConnection,
  type Listener,
  nodeStreams,
  type PublicKey,
  type ServerConnection,
  type Signer,
  SshError,
  serve,
  type Transport,
} from '@sandbox-ssh/protocol'
import type { PeerAddresses } from './environment.ts'
import { GuestConnection } from './guest-connection.ts'
import { loadOrCreateHostKey } from './home/host-key.ts'
import { withInactivityLimit } from './inactivity.ts'
import type { Sandbox } from './sandbox.ts'
import { type GuestPolicy, guestHandlers } from './serve-guest.ts'
import { type AcceptedConnection, acceptAll, type ServeOptions } from './server/accept.ts'
import { Access } from './server/access.ts'
import type { ServerEvent, ServerEventListener } from './server/events.ts'
import { counted } from './server/traffic.ts'
import { Visit } from './server/visit.ts'
import { checkBoolean, checkEnvPatterns, checkInactivity, checkText } from './settings.ts'

/** How long a last word may take to be sent. */
const GOODBYE_MS = 1000

/** Options of `prepareServer`. */
export interface SshServerOptions
  extends Pick<
    GuestPolicy,
    'user' | 'sftp' | 'readOnlySftp' | 'acceptEnv' | 'permitOpen' | 'onError'
  > {
  /** File of the host key, or several, made if not there; default: the sandbox's own. */
  readonly hostKeyPath?: string | readonly string[] | undefined
  /** Host keys in memory, instead of a file. */
  readonly hostKeys?: readonly Signer[] | undefined
  /**
   * File of the keys that may enter, or several, read at each login; default: that of MSB_HOME for
   * all sandboxes and that for this one. Options before a key are enforced: `from`, `expiry-time`,
   * `command`, `permitopen`, `restrict` and the `no-…` ones; a line with any other lets nobody in.
   */
  readonly authorizedKeysPath?: string | readonly string[] | undefined
  /** Keys that may enter, besides those of `authorizedKeysPath` if that is given, else alone. */
  readonly authorizedKeys?: readonly PublicKey[] | undefined
  /** Seconds without a byte either way; default: `config.json`, else 600. 0: never. */
  readonly inactivityTimeoutSecs?: number | undefined
  /** Told, in a sentence, of lines of a key file that let nobody in. */
  readonly onWarning?: ((message: string) => void) | undefined
  /** Hears of logins, sessions, forwards and their ends. */
  readonly onEvent?: ServerEventListener | undefined
  readonly crypto?: CryptoProvider | undefined
  readonly trace?: ((line: string) => void) | undefined
}

/** What is known of one connection. */
export interface ServeConnectionOptions {
  /** Where it comes from, for SSH_CONNECTION inside and for keys bound to addresses. */
  readonly peer?: PeerAddresses | undefined
  /** Told once a user is in. */
  readonly onLogin?: ((connection: ServerConnection) => void) | undefined
  /** Ends the connection. */
  readonly signal?: AbortSignal | undefined
}

/** One connection, from its beginning to its end. */
interface Serving {
  readonly visit: Visit
  readonly ending: AbortController
  /** Settles with it; never rejects. */
  done: Promise<void>
}

/** Serves SSH connections to one sandbox. Keys are loaded; no socket is open. */
export class SshServer {
  readonly #sandbox: Sandbox
  readonly #options: SshServerOptions
  readonly #access: Access
  readonly #hostKeys: readonly Signer[]
  readonly #inactivitySecs: number
  readonly #serving = new Set<Serving>()
  #connections = 0
  #closed = false

  private constructor(
    sandbox: Sandbox,
    options: SshServerOptions,
    access: Access,
    hostKeys: readonly Signer[],
  ) {
    this.#sandbox = sandbox
    this.#options = options
    this.#access = access
    this.#hostKeys = hostKeys
    this.#inactivitySecs =
      options.inactivityTimeoutSecs ?? sandbox.home.config.inactivityTimeoutSecs
  }

  /** Use `SandboxSshOps.prepareServer`. */
  static async prepare(sandbox: Sandbox, options: SshServerOptions): Promise<SshServer> {
    const hostKeyPaths = pathList(options.hostKeyPath, 'hostKeyPath')
    const paths = pathList(options.authorizedKeysPath, 'authorizedKeysPath')
    checkText(options.user, 'user')
    checkBoolean(options.sftp, 'sftp')
    checkBoolean(options.readOnlySftp, 'readOnlySftp')
    checkEnvPatterns(options.acceptEnv)
    checkInactivity(options.inactivityTimeoutSecs)
    const access = new Access({
      home: sandbox.home,
      sandbox: sandbox.hostKeyPath === undefined ? undefined : sandbox.label,
      paths,
      keys: options.authorizedKeys,
      onWarning: options.onWarning,
    })
    access.requireSomebody()
    const hostKeys = options.hostKeys ?? (await loadHostKeys(sandbox, hostKeyPaths))
    return new SshServer(sandbox, options, access, hostKeys)
  }

  /** The public halves of the host keys, for known_hosts files and fingerprints. */
  get hostKeys(): readonly PublicKey[] {
    return this.#hostKeys.map((signer) => signer.publicKey)
  }

  /** Connections that are open, those logging in included. */
  get connectionCount(): number {
    return this.#serving.size
  }

  /**
   * Serves one connection over `transport`, by default stdin and stdout of this process, until it
   * ends. May be called again and again, also at once.
   * @throws SshError if nobody got in or the connection broke
   */
  async serveConnection(
    transport: Transport = nodeStreams(process.stdin, process.stdout),
    options: ServeConnectionOptions = {},
  ): Promise<void> {
    await this.#serveVisit(transport, options)
  }

  /**
   * Serves every connection that comes in on a listener, within limits, and turns away for a while
   * whoever keeps failing to get in. Resolves once the listener was closed; connections go on. What
   * goes wrong on one is told as an event and is no matter for the others. Rejects if listening fails.
   *
   * @example
   * const server = createServer({ allowHalfOpen: true, noDelay: true }).listen(2222, '127.0.0.1')
   * await sshServer.serve(await nodeListener(server))
   */
  async serve(
    listener: Pick<Listener, 'accept'> | { accept(): Promise<AcceptedConnection | undefined> },
    options: ServeOptions = {},
  ): Promise<void> {
    await acceptAll(listener, options, {
      turnAway: (from, reason) => {
        const connection = ++this.#connections
        this.#emit({ type: 'turned-away', connection, from, reason })
      },
      serve: async (connection, onLogin) => {
        const peer = connection.peer ?? peerOf(connection)
        try {
          await this.#serveVisit(connection.transport, { peer, onLogin })
        } catch (error) {
          if (error instanceof VisitError) return error
        }
        return undefined
      },
    })
  }

  /**
   * Takes no more connections and waits until those with open sessions or forwards have none any
   * more, at most `limitMs`; all others end at once, and in the end all do. Then it is closed.
   * Firing `signal` ends the waiting.
   */
  async drain(limitMs: number, signal?: AbortSignal): Promise<void> {
    this.#closed = true
    const waited = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, limitMs)
      signal?.addEventListener('abort', () => resolve(), { once: true })
      if (signal?.aborted) resolve()
      void Promise.all([...this.#serving].map(({ done }) => done)).then(() => {
        clearTimeout(timer)
        resolve()
      })
    })
    for (const { visit, ending } of this.#serving) {
      if (visit.identity === undefined) ending.abort()
      else visit.whenIdle(() => ending.abort())
    }
    await waited
    await this.close()
  }

  /** Ends all connections; resolves once they are gone. */
  async close(): Promise<void> {
    this.#closed = true
    for (const { ending } of this.#serving) ending.abort()
    await Promise.all([...this.#serving].map(({ done }) => done))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @throws VisitError if nobody got in */
  async #serveVisit(transport: Transport, options: ServeConnectionOptions): Promise<void> {
    if (this.#closed) throw new Error('SSH handle has been consumed')
    const { peer } = options
    const visit = new Visit({
      connection: ++this.#connections,
      from: peer === undefined ? undefined : formatPeer(peer),
      address: peer?.clientHost,
      decide: (request) => this.#access.decide(request),
      onEvent: (event) => this.#emit(event),
    })
    const ending = new AbortController()
    const serving: Serving = { visit, ending, done: Promise.resolve() }
    this.#serving.add(serving)
    visit.emit({ type: 'connected' })
    const work = this.#serve(transport, options, visit, ending.signal)
    serving.done = work.catch(() => {})
    let reason: string | undefined
    try {
      await work
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error)
      throw visit.identity === undefined ? new VisitError(error, visit.wasRefused) : error
    } finally {
      this.#serving.delete(serving)
      visit.ended(reason)
    }
  }

  async #serve(
    outer: Transport,
    options: ServeConnectionOptions,
    visit: Visit,
    ending: AbortSignal,
  ): Promise<void> {
    const { user, sftp, readOnlySftp, acceptEnv, permitOpen, onError, crypto, trace } =
      this.#options
    const { peer } = options
    const sandbox = this.#sandbox
    const signal = options.signal === undefined ? ending : AbortSignal.any([ending, options.signal])
    const transport = counted(outer, visit.traffic)
    const guest = new GuestConnection(() => sandbox.connectAgent(), sandbox.settings)
    let connection: ServerConnection | undefined
    let expired: SshError | undefined
    const limited = withInactivityLimit(transport, this.#inactivitySecs, (error) => {
      expired = error
      // Said to the client, who need not be there to hear it.
      void connection?.close(DISCONNECT.BY_APPLICATION, error.message)
      setTimeout(() => transport.abort(error), connection === undefined ? 0 : GOODBYE_MS)
    })
    const policy = { user, sftp, readOnlySftp, acceptEnv, permitOpen, onError, peer }
    try {
      connection = await serve(limited, {
        hostKeys: this.#hostKeys,
        auth: { publickey: (request) => visit.admits(request) },
        ...visit.govern(guestHandlers(guest, policy)),
        signal,
        ...(onError === undefined ? {} : { onError }),
        ...(crypto === undefined ? {} : { crypto }),
        ...(trace === undefined ? {} : { trace }),
      })
      const opened = connection
      visit.loggedIn(opened.clientIdentification)
      const end = (): void => void opened.close()
      signal.addEventListener('abort', end, { once: true })
      if (signal.aborted) end()
      options.onLogin?.(opened)
      const error = await opened.closed
      signal.removeEventListener('abort', end)
      if (expired !== undefined) throw expired
      if (error !== undefined && !isGoodbye(error) && !signal.aborted) throw error
    } finally {
      await guest.close()
    }
  }

  #emit(event: ServerEvent): void {
    try {
      this.#options.onEvent?.(event)
    } catch (error) {
      // A log that cannot be written must be known of, but is no client's fault.
      this.#options.onError?.(error)
    }
  }
}

/** Nobody got in. */
class VisitError extends SshError {
  /** Whether a key was shown that may not enter. */
  readonly wasRefused: boolean

  constructor(cause: unknown, wasRefused: boolean) {
    const message = cause instanceof Error ? cause.message : String(cause)
    super(cause instanceof SshError ? cause.code : 'SSH_ABORTED', message, { cause })
    this.wasRefused = wasRefused
  }
}

/** A client that says goodbye, or closes the connection when all is done, ended it well. */
function isGoodbye(error: SshError): boolean {
  return error.code === 'SSH_DISCONNECTED' || error.code === 'SSH_CONNECTION_LOST'
}

function pathList(
  paths: string | readonly string[] | undefined,
  name: string,
): readonly string[] | undefined {
  if (paths === undefined) return undefined
  const list = typeof paths === 'string' ? [paths] : [...paths]
  for (const path of list) checkText(path, name)
  if (list.length === 0) throw new TypeError(`${name} must name at least one file`)
  return list
}

async function loadHostKeys(
  sandbox: Sandbox,
  paths: readonly string[] | undefined,
): Promise<readonly Signer[]> {
  if (paths !== undefined) {
    return Promise.all(paths.map((path) => loadOrCreateHostKey(path, { custom: true })))
  }
  if (sandbox.hostKeyPath === undefined) {
    throw new TypeError('hostKeyPath or hostKeys is needed for a sandbox without a name')
  }
  return [await loadOrCreateHostKey(sandbox.hostKeyPath)]
}

/** What a listener tells of a TCP connection; nothing for a Unix socket. */
function peerOf({ originatorHost, originatorPort }: IncomingConnection): PeerAddresses | undefined {
  if (originatorHost === '') return undefined
  // What sshd says of an address it cannot tell.
  const server = { serverHost: 'UNKNOWN', serverPort: 65535 }
  return { clientHost: originatorHost, clientPort: originatorPort, ...server }
}

function formatPeer({ clientHost, clientPort }: PeerAddresses): string {
  return clientHost.includes(':') ? `[${clientHost}]:${clientPort}` : `${clientHost}:${clientPort}`
}
