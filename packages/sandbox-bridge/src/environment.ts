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
 */
export function sessionEnvironment(
  user: GuestUser,
  settings: SessionSettings,
  session: Pick<ServerSession, 'env' | 'pty'>,
  peer?: PeerAddresses,
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
  for (const [name, value] of Object.entries(settings.env ?? {})) env.set(name, value)
  for (const [name, value] of session.env) env.set(name, value)
  const term = session.pty?.term
  if (term !== undefined && term !== '' && !term.includes('\0')) env.set('TERM', term)
  return env
}
