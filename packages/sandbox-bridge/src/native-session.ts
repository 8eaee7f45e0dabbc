/** SSH within one process: both ends here, keys made for it, nothing on disk. */
import {
  type Client,
  connect,
  DISCONNECT,
  generateKey,
  memoryPair,
  pinned,
  publickey,
  type ServerConnection,
} from '@sandbox-ssh/protocol'
import { GuestConnection } from './guest-connection.ts'
import { watchInactivity } from './inactivity.ts'
import type { Sandbox } from './sandbox.ts'
import { serveGuest } from './serve-guest.ts'

/** How long a last word may take to be sent. */
const GOODBYE_MS = 1000

/** How a native session is opened. */
export interface NativeSessionOptions {
  /** Guest user; default: that of the sandbox's options. */
  readonly user?: string | undefined
  /** Offer SFTP; default true. */
  readonly sftp?: boolean | undefined
  /**
   * Seconds without a byte either way after which the connection ends; 0: never. Default: what
   * `config.json` says of it, else never.
   */
  readonly inactivityTimeoutSecs?: number | undefined
  /** Ends the attempt to connect. */
  readonly signal?: AbortSignal | undefined
  /** Lines about what passes between the two ends. */
  readonly trace?: ((line: string) => void) | undefined
}

/** Both ends of a native session. */
export interface NativeSession {
  readonly client: Client
  /** Resolves once both ends and the connection to the sandbox are gone; never rejects. */
  readonly closed: Promise<void>
  /** Ends it: programs get HUP, then TERM, then KILL. Resolves as `closed`. */
  close(): Promise<void>
}

/**
 * Opens a native session to `sandbox(…)` and gives its client. Closing the client ends the session.
 * @throws SandboxError, AgentError if the sandbox cannot be reached
 *
 * @example
 * import { openNativeSession, sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * const client = await openNativeSession(sandbox('local:devbox'))
 * const channel = await client.run('cat', { stdin: 'the SSH client itself' })
 * console.log(channel.text()) // the SSH client itself
 * await client.close()
 */
export async function openNativeSession(
  sandbox: Sandbox,
  options: NativeSessionOptions = {},
): Promise<Client> {
  return (await nativeSession(sandbox, options)).client
}

/**
 * The same with both ends in hand.
 *
 * @example
 * import { nativeSession, sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * const session = await nativeSession(sandbox('local:devbox'), { user: 'root' })
 * console.log((await session.client.run('exit 4')).code) // 4
 * await session.close()
 */
export async function nativeSession(
  sandbox: Sandbox,
  options: NativeSessionOptions = {},
): Promise<NativeSession> {
  const { signal } = options
  // Dialled before anything else: what is wrong with the sandbox is what the user wants to hear.
  const agent = await sandbox.connectAgent({ signal })
  let first: typeof agent | undefined = agent
  const guest = new GuestConnection(() => {
    const connected = first
    first = undefined
    return connected === undefined ? sandbox.connectAgent() : Promise.resolve(connected)
  }, sandbox.settings)
  await guest.agent()
  const hostKey = generateKey('ed25519')
  const userKey = generateKey('ed25519')
  const seconds = options.inactivityTimeoutSecs ?? sandbox.home.config.inactivityTimeoutSecs
  const watch = watchInactivity(seconds, (error) => {
    const goodbye = (server: ServerConnection): Promise<void> =>
      server.close(DISCONNECT.BY_APPLICATION, error.message)
    serving.then(goodbye).catch(() => {})
    setTimeout(() => theirs.abort(error), GOODBYE_MS)
  })
  const [ours, theirs] = memoryPair(watch === undefined ? {} : { onTraffic: () => watch.touch() })
  const common = {
    // Encryption between two ends in one process protects nobody.
    inProcess: true as const,
    ...(signal === undefined ? {} : { signal }),
    ...(options.trace === undefined ? {} : { trace: options.trace }),
  }
  const serving = serveGuest(theirs, guest, {
    ...common,
    hostKeys: [hostKey],
    auth: { publickey: ({ key }) => key.equals(userKey.publicKey) },
    // The user of this process is the owner of the sandbox: any variable is his to set.
    acceptEnv: ['*'],
    sftp: options.sftp,
  })
  serving.catch(() => {})
  try {
    const client = await connect(ours, {
      ...common,
      username: options.user ?? sandbox.user,
      hostKey: pinned(hostKey.publicKey),
      auth: [publickey(userKey)],
    })
    const closed = serving.then(async (server) => {
      await server.closed
      watch?.stop()
      await guest.close()
    })
    return {
      client,
      closed,
      close: async () => {
        await client.close()
        await closed
      },
    }
  } catch (error) {
    watch?.stop()
    await guest.close()
    throw error
  }
}
