/** The server of `SandboxSshOps`: SSH clients from outside, into a sandbox. */
import {
  type CryptoProvider,
  DISCONNECT,
  nodeStreams,
  type PublicKey,
  type ServerConnection,
  type Signer,
  type SshError,
  type Transport,
} from '@sandbox-ssh/protocol'
import type { PeerAddresses } from './environment.ts'
import { GuestConnection } from './guest-connection.ts'
import {
  readAuthorizedKeys,
  readAuthorizedKeysFile,
  requireAuthorizedKeys,
} from './home/authorized-keys.ts'
import { SandboxError } from './home/errors.ts'
import { loadOrCreateHostKey } from './home/host-key.ts'
import { withInactivityLimit } from './inactivity.ts'
import type { Sandbox } from './sandbox.ts'
import { type GuestPolicy, serveGuest } from './serve-guest.ts'
import { checkBoolean, checkEnvPatterns, checkInactivity, checkText } from './settings.ts'

/** How long a last word may take to be sent. */
const GOODBYE_MS = 1000

/** Options of `prepareServer`. */
export interface SshServerOptions
  extends Pick<
    GuestPolicy,
    'user' | 'sftp' | 'readOnlySftp' | 'acceptEnv' | 'permitOpen' | 'onError'
  > {
  /** File of the host key, made if it is not there; default: the sandbox's own. */
  readonly hostKeyPath?: string | undefined
  /** Host keys in memory, instead of a file. */
  readonly hostKeys?: readonly Signer[] | undefined
  /** File of the keys that may enter, read at each login; default `<MSB_HOME>/ssh/authorized_keys`. */
  readonly authorizedKeysPath?: string | undefined
  /** Keys that may enter, besides those of `authorizedKeysPath` if that is given, else alone. */
  readonly authorizedKeys?: readonly PublicKey[] | undefined
  /** Seconds without a byte either way; default: `config.json`, else 600. 0: never. */
  readonly inactivityTimeoutSecs?: number | undefined
  /** Told, in a sentence, of lines of a key file that let nobody in. */
  readonly onWarning?: ((message: string) => void) | undefined
  readonly crypto?: CryptoProvider | undefined
  readonly trace?: ((line: string) => void) | undefined
}

/** What is known of one connection. */
export interface ServeConnectionOptions {
  /** Where it comes from, for SSH_CONNECTION inside. */
  readonly peer?: PeerAddresses | undefined
  /** Told once a user is in. */
  readonly onLogin?: ((connection: ServerConnection) => void) | undefined
  /** Ends the connection. */
  readonly signal?: AbortSignal | undefined
}

/** Serves SSH connections to one sandbox. Keys are loaded; no socket is open. */
export class SshServer {
  readonly #sandbox: Sandbox
  readonly #options: SshServerOptions
  readonly #hostKeys: readonly Signer[]
  readonly #inactivitySecs: number
  readonly #open = new Set<AbortController>()
  readonly #serving = new Set<Promise<void>>()
  #closed = false

  private constructor(
    sandbox: Sandbox,
    options: SshServerOptions,
    hostKeys: readonly Signer[],
    inactivitySecs: number,
  ) {
    this.#sandbox = sandbox
    this.#options = options
    this.#hostKeys = hostKeys
    this.#inactivitySecs = inactivitySecs
  }

  /** Use `SandboxSshOps.prepareServer`. */
  static async prepare(sandbox: Sandbox, options: SshServerOptions): Promise<SshServer> {
    checkText(options.hostKeyPath, 'hostKeyPath')
    checkText(options.authorizedKeysPath, 'authorizedKeysPath')
    checkText(options.user, 'user')
    checkBoolean(options.sftp, 'sftp')
    checkBoolean(options.readOnlySftp, 'readOnlySftp')
    checkEnvPatterns(options.acceptEnv)
    checkInactivity(options.inactivityTimeoutSecs)
    const { home } = sandbox
    // Said now, while somebody can act on it: a server nobody can enter is of no use.
    if (options.authorizedKeysPath !== undefined) {
      requireKeysIn(options.authorizedKeysPath, options.authorizedKeys)
    } else if (options.authorizedKeys === undefined) requireAuthorizedKeys(home)
    else if (options.authorizedKeys.length === 0) {
      throw new SandboxError('AUTHORIZED_KEY_INVALID', 'SSH server has no authorized public keys')
    }
    const hostKeys = options.hostKeys ?? [await hostKeyOf(sandbox, options.hostKeyPath)]
    const seconds = options.inactivityTimeoutSecs ?? home.config.inactivityTimeoutSecs
    return new SshServer(sandbox, options, hostKeys, seconds)
  }

  /** The public halves of the host keys, for known_hosts files and fingerprints. */
  get hostKeys(): readonly PublicKey[] {
    return this.#hostKeys.map((signer) => signer.publicKey)
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
    if (this.#closed) throw new Error('SSH handle has been consumed')
    const ending = new AbortController()
    this.#open.add(ending)
    const serving = this.#serve(transport, options, ending.signal)
    const settled = serving.catch(() => {})
    this.#serving.add(settled)
    try {
      await serving
    } finally {
      this.#open.delete(ending)
      this.#serving.delete(settled)
    }
  }

  /** Ends all connections; resolves once they are gone. */
  async close(): Promise<void> {
    this.#closed = true
    for (const ending of this.#open) ending.abort()
    await Promise.all(this.#serving)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #serve(
    transport: Transport,
    options: ServeConnectionOptions,
    ending: AbortSignal,
  ): Promise<void> {
    const { user, sftp, readOnlySftp, acceptEnv, permitOpen, onError, crypto, trace } =
      this.#options
    const sandbox = this.#sandbox
    const signal = options.signal === undefined ? ending : AbortSignal.any([ending, options.signal])
    const guest = new GuestConnection(() => sandbox.connectAgent(), sandbox.settings)
    let connection: ServerConnection | undefined
    let expired: SshError | undefined
    const limited = withInactivityLimit(transport, this.#inactivitySecs, (error) => {
      expired = error
      // Said to the client, who need not be there to hear it.
      void connection?.close(DISCONNECT.BY_APPLICATION, error.message)
      setTimeout(() => transport.abort(error), connection === undefined ? 0 : GOODBYE_MS)
    })
    connection = await serveGuest(limited, guest, {
      hostKeys: this.#hostKeys,
      auth: { publickey: ({ key }) => this.#authorizes(key) },
      ...{ user, sftp, readOnlySftp, acceptEnv, permitOpen, onError, peer: options.peer, signal },
      ...(crypto === undefined ? {} : { crypto }),
      ...(trace === undefined ? {} : { trace }),
    })
    const opened = connection
    const end = (): void => void opened.close()
    signal.addEventListener('abort', end, { once: true })
    if (signal.aborted) end()
    options.onLogin?.(opened)
    const error = await opened.closed
    signal.removeEventListener('abort', end)
    await guest.close()
    if (expired !== undefined) throw expired
    if (error !== undefined && !isGoodbye(error) && !signal.aborted) throw error
  }

  #authorizes(key: PublicKey): boolean {
    const { authorizedKeys, authorizedKeysPath, onWarning } = this.#options
    if (authorizedKeys?.some((allowed) => allowed.equals(key))) return true
    if (authorizedKeysPath === undefined && authorizedKeys !== undefined) return false
    const { keys, warnings } =
      authorizedKeysPath === undefined
        ? readAuthorizedKeys(this.#sandbox.home)
        : readAuthorizedKeysFile(authorizedKeysPath)
    for (const warning of warnings) onWarning?.(warning)
    return keys.some((allowed) => allowed.equals(key))
  }
}

/** A client that says goodbye, or closes the connection when all is done, ended it well. */
function isGoodbye(error: SshError): boolean {
  return error.code === 'SSH_DISCONNECTED' || error.code === 'SSH_CONNECTION_LOST'
}

async function hostKeyOf(sandbox: Sandbox, path: string | undefined): Promise<Signer> {
  if (path !== undefined) return loadOrCreateHostKey(path, { custom: true })
  if (sandbox.hostKeyPath === undefined) {
    throw new TypeError('hostKeyPath or hostKeys is needed for a sandbox without a name')
  }
  return loadOrCreateHostKey(sandbox.hostKeyPath)
}

function requireKeysIn(path: string, others: readonly PublicKey[] | undefined): void {
  const { keys, warnings } = readAuthorizedKeysFile(path)
  if (keys.length > 0 || (others !== undefined && others.length > 0)) return
  const why = warnings[0] === undefined ? '' : ` (${warnings[0]})`
  throw new SandboxError(
    'AUTHORIZED_KEY_INVALID',
    `no authorized keys in ${path}${why}; add one with: msb ssh authorize --file KEY.pub`,
  )
}
