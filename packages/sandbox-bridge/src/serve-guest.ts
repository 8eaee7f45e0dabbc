/** A guest behind an SSH server: what each request of a client becomes inside. */
import {
  type ServerConnection,
  type ServerOptions,
  type ServerSession,
  type SessionHandler,
  serve,
  type Transport,
} from '@sandbox-ssh/protocol'
import { sftpServer } from '@sandbox-ssh/sftp'
import { guestFileSystem } from './file-system.ts'
import { openForward } from './forwarding.ts'
import type { GuestConnection } from './guest-connection.ts'
import { runScp } from './scp-session.ts'
import { runSession, tellFailure } from './session.ts'
import { ACCEPTED_ENV, envFilter } from './settings.ts'

/** Both addresses of a connection from outside, for `SSH_CONNECTION`. */
export interface PeerAddresses {
  readonly clientHost: string
  readonly clientPort: number
  readonly serverHost: string
  readonly serverPort: number
}

/** What clients of a sandbox may do. */
export interface GuestPolicy {
  /** Guest user of every session; default: the login name. */
  readonly user?: string | undefined
  /** Offer SFTP; default true. */
  readonly sftp?: boolean | undefined
  /** Refuse every change of a file by SFTP; programs are not bound by it. Default false. */
  readonly readOnlySftp?: boolean | undefined
  /** Variables clients may set, with `*` and `?`; default LANG, LC_*, TERM, COLORTERM. */
  readonly acceptEnv?: readonly string[] | undefined
  /** Decides about connections made from inside the guest; default: any. */
  readonly permitOpen?: ((host: string, port: number) => boolean) | undefined
  /** Where the connection comes from, if that is known. */
  readonly peer?: PeerAddresses | undefined
  /** Hears of what went wrong without being an answer to the client. */
  readonly onError?: ((error: unknown) => void) | undefined
}

/**
 * The handlers for `serve` that put a guest behind one connection.
 *
 * @example
 * const guest = new GuestConnection(async () => AgentClient.connect(await dial()))
 * await serve(transport, { hostKeys, auth, ...guestHandlers(guest) })
 */
export function guestHandlers(
  guest: GuestConnection,
  policy: GuestPolicy = {},
): Pick<ServerOptions, 'exec' | 'shell' | 'subsystems' | 'directTcpip' | 'acceptEnv'> {
  const login = (session: ServerSession): string => policy.user ?? session.username
  const run: SessionHandler = (session) => runSession(session, guest, login(session), policy.peer)
  const exec: SessionHandler = async (session) => {
    try {
      const status =
        policy.sftp === false
          ? undefined
          : await runScp(session, guest, login(session), policy.readOnlySftp ?? false)
      return status ?? (await run(session))
    } catch (error) {
      return tellFailure(session, error)
    }
  }
  const files: SessionHandler = async (session) => {
    try {
      const fileSystem = await guestFileSystem(guest, login(session))
      const { onError } = policy
      const serveFiles = sftpServer(fileSystem, {
        readOnly: policy.readOnlySftp ?? false,
        ...(onError === undefined ? {} : { onError }),
      })
      return await serveFiles(session)
    } catch (error) {
      return tellFailure(session, error)
    }
  }
  return {
    exec,
    shell: run,
    subsystems: policy.sftp === false ? {} : { sftp: files },
    directTcpip: ({ host, port }) => openForward(guest, host, port, policy.permitOpen),
    acceptEnv: envFilter(policy.acceptEnv ?? ACCEPTED_ENV),
  }
}

/** Everything `serve` needs besides the handlers. */
export interface ServeGuestOptions
  extends GuestPolicy,
    Omit<
      ServerOptions,
      'session' | 'exec' | 'shell' | 'subsystems' | 'directTcpip' | 'acceptEnv' | 'onError'
    > {}

/**
 * Serves one connection to a guest, whose connection ends with it.
 * @throws SshError if nobody gets in
 */
export async function serveGuest(
  transport: Transport,
  guest: GuestConnection,
  options: ServeGuestOptions,
): Promise<ServerConnection> {
  const { user, sftp, readOnlySftp, acceptEnv, permitOpen, peer, onError, ...serverOptions } =
    options
  const policy = { user, sftp, readOnlySftp, acceptEnv, permitOpen, peer, onError }
  try {
    const connection = await serve(transport, {
      ...serverOptions,
      ...guestHandlers(guest, policy),
      ...(onError === undefined ? {} : { onError }),
    })
    void connection.closed.then(() => guest.close())
    return connection
  } catch (error) {
    await guest.close()
    throw error
  }
}
