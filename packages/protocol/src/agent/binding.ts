/** Telling an agent which SSH connection it is used for: OpenSSH's PROTOCOL.agent §1. */
import { SshError } from '../errors.ts'
import type { Transport } from '../io/transport.ts'
import type { SessionBinding } from '../machine/event.ts'
import type { AgentClient } from './client.ts'
import { AgentStream, extension, SESSION_BIND, sessionBind } from './messages.ts'

function contentsOf(session: SessionBinding, forwarding: boolean): Uint8Array {
  const { hostKey, sessionId, signature } = session
  return sessionBind.encode({
    hostKey: hostKey.blob,
    sessionId,
    signature,
    forwarding: forwarding ? 1 : 0,
  })
}

/** Binds an agent to a connection that it is to log in on; one that knows no bindings does without. */
export async function bindForLogin(agent: AgentClient, session: SessionBinding): Promise<void> {
  try {
    await agent.extension(SESSION_BIND, contentsOf(session, false))
  } catch (error) {
    if (!(error instanceof SshError && error.code === 'SSH_REQUEST_REFUSED')) throw error
  }
}

/**
 * Binds an agent that is about to be forwarded over a connection, before anybody there can ask it
 * anything. Rejects with SshError `SSH_PROTOCOL` or `SSH_CONNECTION_LOST` if it gives no answer.
 */
export async function bindForForwarding(agent: Transport, session: SessionBinding): Promise<void> {
  const stream = new AgentStream(agent)
  const contents = contentsOf(session, true)
  await stream.write(extension.encode({ name: SESSION_BIND, contents }))
  const answer = await stream.read()
  if (answer === undefined) {
    throw new SshError('SSH_CONNECTION_LOST', 'the agent closed the connection')
  }
  if (stream.bufferedBytes > 0) {
    throw new SshError('SSH_PROTOCOL', 'the agent answered what it was not asked')
  }
}
