/** scp's old protocol for a guest that has no scp: `scp -O`, and clients that know nothing else. */
import type { ServerSession } from '@sandbox-ssh/protocol'
import { decodePath, parseScpCommand, serveScp } from '@sandbox-ssh/sftp'
import { guestFileSystem } from './file-system.ts'
import { findTool } from './file-tools.ts'
import type { GuestConnection } from './guest-connection.ts'

/**
 * Stands in for the guest's scp. Undefined if the command is none of scp's, if the guest has an scp
 * of its own, or may not be written to: then a shell runs it, whatever comes of it.
 */
export async function runScp(
  session: ServerSession,
  guest: GuestConnection,
  login: string,
  readOnly: boolean,
): Promise<number | undefined> {
  const command = parseScpCommand(decodePath(session.commandBytes))
  if (command === undefined || (readOnly && command.side === 'sink')) return undefined
  const agent = await guest.agent()
  if (agent.generation < 2 || (await findTool(agent, 'scp')) !== undefined) return undefined
  const files = await guestFileSystem(guest, login)
  return serveScp(session.transport, files, command, { signal: session.signal })
}
