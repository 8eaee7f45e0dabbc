/** A guest behind an SSH server: what each request of a client becomes inside. */
import {
  type Listener,
  type ServerConnection,
  type ServerOptions,
  type ServerSession,
  type SessionHandler,
  serve,
  type Transport,
} from '@sandbox-ssh/protocol'
import type { PeerAddresses } from './environment.ts'
import { openForward, refuse } from './forwarding.ts'
import type { GuestConnection } from './guest-connection.ts'
import { type ListenPlace, openGuestListener } from './guest-listener.ts'
import { runScp } from './scp-session.ts'
import { runSession, tellFailure } from './session.ts'
import { ACCEPTED_ENV, nameFilter } from './settings.ts'
import { runSftp } from './sftp-session.ts'
import { openUnixForward } from './unix-forward.ts'

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
  /**
   * Decides about connections made from inside the guest; default: any. With it none are made to Unix
   * sockets, about which it could not decide, and nothing listens inside.
   */
  readonly permitOpen?: ((host: string, port: number) => boolean) | undefined
  /**
   * Let clients that ask for it (`ssh -A`) have their own agent inside, where whoever is root may use
   * it. Default false.
   */
  readonly agentForwarding?: boolean | undefined
  /** Where the connection comes from, if that is known. */
  readonly peer?: PeerAddresses | undefined
  /** Hears of what went wrong without being an answer to the client. */
  readonly onError?: ((error: unknown) => void) | undefined
}

type Forwards = 'directTcpip' | 'directStreamlocal' | 'tcpipForward' | 'streamlocalForward'

/**
 * The handlers for `serve` that put a guest behind one connection.
 *
 * @example
 * import { generateKey, none, pinned } from '@sandbox-ssh/protocol'
 * import { GuestConnection, guestHandlers, sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * const guest = new GuestConnection(() => sandbox('local:devbox').connectAgent())
 * // Among handlers of your own: here programs run in the guest, and forwards do not exist.
 * const { directTcpip: _, ...handlers } = guestHandlers(guest, { user: 'root' })
 * const hostKey = generateKey('ed25519')
 * const client = await pair(
 *   { hostKeys: [hostKey], auth: { none: () => true }, ...handlers },
 *   { hostKey: pinned(hostKey.publicKey), auth: [none()] },
 * )
 * console.log((await client.run('echo inside')).text().trim()) // inside
 * await client.close()
 * await guest.close()
 */
export function guestHandlers(
  guest: GuestConnection,
  policy: GuestPolicy = {},
): Pick<
  ServerOptions,
  'exec' | 'shell' | 'subsystems' | Forwards | 'acceptEnv' | 'agentForwarding'
> {
  const login = (session: ServerSession): string => policy.user ?? session.username
  const readOnly = policy.readOnlySftp ?? false
  const shell: SessionHandler = (session) =>
    runSession(session, guest, { login: login(session), peer: policy.peer })
  /** A failure on the way is told to this client, and harms nobody else. */
  const told =
    (handler: SessionHandler): SessionHandler =>
    async (session) => {
      try {
        return await handler(session)
      } catch (error) {
        return tellFailure(session, error)
      }
    }
  const exec = told(async (session) => {
    const status =
      policy.sftp === false ? undefined : await runScp(session, guest, login(session), readOnly)
    return status ?? shell(session)
  })
  const sftp = told((session) =>
    runSftp(session, guest, login(session), { readOnly, onError: policy.onError }),
  )
  /** Who may connect to some places only is not met by whatever the sandbox sends. */
  const listen = (place: ListenPlace, username: string): Promise<Listener> => {
    if (policy.permitOpen !== undefined) refuse('only some forwards are permitted, and none inside')
    return openGuestListener(guest, place, policy.user ?? username)
  }
  const forwards = { permit: policy.permitOpen, onError: policy.onError }
  return {
    exec,
    shell,
    subsystems: policy.sftp === false ? {} : { sftp },
    directTcpip: ({ host, port }) => openForward(guest, host, port, forwards),
    directStreamlocal: ({ path, username }) => {
      if (policy.permitOpen !== undefined) refuse('this destination is not permitted')
      return openUnixForward(guest, path, policy.user ?? username)
    },
    tcpipForward: ({ port, username }) => listen({ port }, username),
    streamlocalForward: ({ path, username }) => listen({ path }, username),
    acceptEnv: nameFilter(policy.acceptEnv ?? ACCEPTED_ENV),
    agentForwarding: policy.agentForwarding ?? false,
  }
}

/** Everything `serve` needs besides the handlers. */
export interface ServeGuestOptions
  extends GuestPolicy,
    Omit<
      ServerOptions,
      | 'session'
      | 'exec'
      | 'shell'
      | 'subsystems'
      | Forwards
      | 'acceptEnv'
      | 'agentForwarding'
      | 'onError'
    > {}

/**
 * Serves one connection to a guest, whose connection ends with it.
 * @throws SshError if nobody gets in
 *
 * @example
 * import { connect, generateKey, memoryPair, pinned, publickey } from '@sandbox-ssh/protocol'
 * import { GuestConnection, sandbox, serveGuest } from '@sandbox-ssh/sandbox-bridge'
 *
 * const [hostKey, user] = [generateKey('ed25519'), generateKey('ed25519')]
 * const guest = new GuestConnection(() => sandbox('local:devbox').connectAgent())
 * const [near, far] = memoryPair()
 * const serving = serveGuest(far, guest, {
 *   hostKeys: [hostKey],
 *   auth: { publickey: ({ key }) => key.equals(user.publicKey) },
 * })
 * const client = await connect(near, {
 *   username: 'root',
 *   hostKey: pinned(hostKey.publicKey),
 *   auth: [publickey(user)],
 * })
 * console.log((await client.run('echo inside')).text().trim()) // inside
 * await client.close()
 * await (await serving).closed
 */
export async function serveGuest(
  transport: Transport,
  guest: GuestConnection,
  options: ServeGuestOptions,
): Promise<ServerConnection> {
  const { user, sftp, readOnlySftp, acceptEnv, permitOpen, peer, onError, ...others } = options
  const { agentForwarding, ...serverOptions } = others
  const policy = { user, sftp, readOnlySftp, acceptEnv, permitOpen, agentForwarding, peer, onError }
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
