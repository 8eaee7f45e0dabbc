/** The client's own SSH agent inside the guest, `ssh -A`: a socket there that leads to it. */
import { type Listener, type ServerSession, splice } from '@sandbox-ssh/protocol'
import type { GuestConnection } from './guest-connection.ts'
import { openGuestListener, unguessable } from './guest-listener.ts'

/** A socket that is there as long as its session. */
export interface AgentSocket {
  /** Its path inside, for `SSH_AUTH_SOCK`. */
  readonly path: string
  close(): Promise<void>
}

/**
 * Makes the socket, for the guest user `login` alone: its name cannot be guessed, and nobody else may
 * connect to it but root.
 * @throws Error that says why not
 */
export async function openAgentSocket(
  session: ServerSession,
  guest: GuestConnection,
  login: string,
): Promise<AgentSocket> {
  const path = `/tmp/ssh-agent-${unguessable()}`
  const listener = await openGuestListener(guest, { path }, login)
  void connectAll(session, listener)
  return { path, close: () => listener.close() }
}

/** Each connection gets a channel of its own to the client, which bounds how many there are. */
async function connectAll(session: ServerSession, listener: Listener): Promise<void> {
  for (;;) {
    const incoming = await listener.accept().catch(() => undefined)
    if (incoming === undefined) return
    const { transport } = incoming
    session.agent().then(
      (channel) => splice(transport, channel),
      // A client that will not have it ends this connection, and nothing else.
      (error: unknown) => transport.abort(error),
    )
  }
}
