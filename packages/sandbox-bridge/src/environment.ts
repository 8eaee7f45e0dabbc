/** The environment of a session, as an sshd would set it. */
import type { ServerSession } from '@sandbox-ssh/protocol'
import type { GuestUser } from './guest-user.ts'
import type { SessionSettings } from './settings.ts'

/** Both addresses of a connection from outside, for `SSH_CONNECTION`. */
export interface PeerAddresses {
  readonly clientHost: string
  readonly clientPort: number
  readonly serverHost: string
  readonly serverPort: number
}

/**
 * Variables for a session, laid by the agent over the guest's own, PATH among them. Those of the
 * client were let through by the server's filter; the terminal it asked for has the last word on
 * TERM.
 *
 * `strayTerm` says that the agent hands on a TERM of its own, as microsandbox's does with the kernel's
 * `linux`. Nothing takes a variable away there; an empty one is what terminfo's programs, and
 * `test -z`, take for none.
 */
export function sessionEnvironment(
  user: GuestUser,
  settings: SessionSettings,
  session: Pick<ServerSession, 'env' | 'pty'>,
  {
    peer,
    agentSocket,
    strayTerm = false,
  }: {
    readonly peer?: PeerAddresses | undefined
    /** Where the client's agent is to be had inside. */
    readonly agentSocket?: string | undefined
    readonly strayTerm?: boolean
  } = {},
): ReadonlyMap<string, string> {
  const env = new Map<string, string>([
    ['USER', user.name],
    ['LOGNAME', user.name],
    ['SHELL', user.shell],
  ])
  if (user.home !== undefined) env.set('HOME', user.home)
  if (peer !== undefined) {
    const { clientHost, clientPort, serverHost, serverPort } = peer
    env.set('SSH_CONNECTION', `${clientHost} ${clientPort} ${serverHost} ${serverPort}`)
    env.set('SSH_CLIENT', `${clientHost} ${clientPort} ${serverPort}`)
  }
  if (strayTerm && session.pty === undefined) env.set('TERM', '')
  for (const [name, value] of Object.entries(settings.env ?? {})) env.set(name, value)
  for (const [name, value] of session.env) env.set(name, value)
  if (agentSocket !== undefined) env.set('SSH_AUTH_SOCK', agentSocket)
  const term = session.pty?.term
  if (term !== undefined && term !== '' && !term.includes('\0')) env.set('TERM', term)
  return env
}
