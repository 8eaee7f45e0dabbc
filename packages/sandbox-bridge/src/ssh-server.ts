/** A server for SSH clients from outside, into one sandbox or many. */
import {
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
import { withInactivityLimit } from './inactivity.ts'
import { type AcceptedConnection, acceptAll, type ServeOptions } from './server/accept.ts'
import type { ServerEvent } from './server/events.ts'
import type { ServingOptions } from './server/options.ts'
import type { Site } from './server/site.ts'
import { Sojourn } from './server/sojourn.ts'
import { counted } from './server/traffic.ts'
import { Visit } from './server/visit.ts'
import { ACCEPTED_ENV, nameFilter } from './settings.ts'

/** How long a last word may take to be sent. */
const GOODBYE_MS = 1000

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

/**
 * Serves SSH connections to one sandbox, or to many. Keys are loaded; no socket is open.
 *
 * @example
 * import { connect, generateKey, memoryPair, pinned, publickey } from '@sandbox-ssh/protocol'
 * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * const user = generateKey('ed25519')
 * const server = await sandbox('local:devbox')
 *   .ssh()
 *   .prepareServer({ hostKeys: [generateKey('ed25519')], authorizedKeys: [user.publicKey] })
 *
 * // Any stream of bytes will do; here it is memory.
 * const [near, far] = memoryPair()
 * const serving = server.serveConnection(far)
 * const client = await connect(near, {
 *   username: 'root',
 *   hostKey: pinned(...server.hostKeys),
 *   auth: [publickey(user)],
 * })
 * console.log((await client.run('echo from outside')).text().trim()) // from outside
 * await client.close()
 * await serving
 * await server.close()
 */
export class SshServer {
  readonly #site: Site
  readonly #options: ServingOptions
  readonly #hostKeys: readonly Signer[]
  readonly #inactivitySecs: number
  readonly #serving = new Set<Serving>()
  #connections = 0
  #closed = false

  /** Use `SandboxSshOps.prepareServer` or `prepareGateway`. */
  constructor(parts: {
    readonly site: Site
    readonly options: ServingOptions
    readonly hostKeys: readonly Signer[]
    readonly inactivitySecs: number
  }) {
    this.#site = parts.site
    this.#options = parts.options
    this.#hostKeys = parts.hostKeys
    this.#inactivitySecs = parts.inactivitySecs
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
   * import { createServer } from 'node:net'
   * import { generateKey, nodeListener } from '@sandbox-ssh/protocol'
   * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
   *
   * const options = { authorizedKeys: [generateKey('ed25519').publicKey] }
   * const sshServer = await sandbox('local:devbox').ssh().prepareServer(options)
   * const server = createServer({ allowHalfOpen: true, noDelay: true }).listen(0, '127.0.0.1')
   * const listener = await nodeListener(server)
   * const serving = sshServer.serve(listener)
   * console.log((listener.port ?? 0) > 0) // true
   * await listener.close()
   * await serving
   * await sshServer.close()
   */
  async serve(
    listener: Pick<Listener, 'accept'> | { accept(): Promise<AcceptedConnection | undefined> },
    options: ServeOptions = {},
  ): Promise<void> {
    await acceptAll(listener, options, {
      turnAway: (from, reason) => {
        const connection = ++this.#connections
        const sandbox = this.#site.name
        this.#emit({ type: 'turned-away', connection, from, sandbox, reason })
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
   *
   * @example
   * import { generateKey } from '@sandbox-ssh/protocol'
   * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
   *
   * const keys = { authorizedKeys: [generateKey('ed25519').publicKey] }
   * const server = await sandbox('local:devbox').ssh().prepareServer(keys)
   * // As `msb ssh serve` does at SIGTERM: whoever works has a minute to finish.
   * await server.drain(60_000)
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
    await this.#site.close()
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
      site: this.#site,
      onEvent: (event) => this.#emit(event),
      onError: this.#options.onError,
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
    const { acceptEnv = ACCEPTED_ENV, onError, crypto, trace } = this.#options
    const signal = options.signal === undefined ? ending : AbortSignal.any([ending, options.signal])
    const transport = counted(outer, visit.traffic)
    const sojourn = new Sojourn(visit, { ...this.#options, peer: options.peer })
    let connection: ServerConnection | undefined
    let expired: SshError | undefined
    const limited = withInactivityLimit(transport, this.#inactivitySecs, (error) => {
      expired = error
      // Said to the client, who need not be there to hear it.
      void connection?.close(DISCONNECT.BY_APPLICATION, error.message)
      setTimeout(() => transport.abort(error), connection === undefined ? 0 : GOODBYE_MS)
    })
    try {
      connection = await serve(limited, {
        hostKeys: this.#hostKeys,
        auth: { publickey: (request) => visit.admits(request) },
        agentForwarding: this.#options.agentForwarding ?? false,
        ...visit.govern(() => sojourn.handlers, { sftp: this.#options.sftp !== false }),
        acceptEnv: nameFilter(acceptEnv),
        signal,
        ...(onError === undefined ? {} : { onError }),
        ...(crypto === undefined ? {} : { crypto }),
        ...(trace === undefined ? {} : { trace }),
      })
      const opened = connection
      visit.loggedIn(opened.clientIdentification)
      const full = sojourn.begin()
      if (full !== undefined) {
        await opened.close(DISCONNECT.TOO_MANY_CONNECTIONS, full)
        throw new SshError('SSH_DISCONNECTED', full)
      }
      const end = (): void => void opened.close()
      signal.addEventListener('abort', end, { once: true })
      if (signal.aborted) end()
      options.onLogin?.(opened)
      const error = await opened.closed
      signal.removeEventListener('abort', end)
      if (expired !== undefined) throw expired
      if (error !== undefined && !isGoodbye(error) && !signal.aborted) throw error
    } finally {
      await sojourn.end()
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
