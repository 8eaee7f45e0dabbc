/** The subsystem `sftp` of a guest. */
import type { ExitResult, ServerSession } from '@sandbox-ssh/protocol'
import { sftpServer } from '@sandbox-ssh/sftp'
import type { AgentClient } from './agent/client.ts'
import { guestFileSystem } from './file-system.ts'
import { isProgram } from './file-tools.ts'
import type { GuestConnection } from './guest-connection.ts'
import { runSession } from './session.ts'

/** How files are served. */
export interface SftpPolicy {
  readonly readOnly: boolean
  /** Hears of what went wrong without being an answer to the client. */
  readonly onError?: ((error: unknown) => void) | undefined
}

/** Where systems keep the server that comes with OpenSSH. */
const SERVERS = [
  '/usr/lib/openssh/sftp-server',
  '/usr/libexec/openssh/sftp-server',
  '/usr/lib/ssh/sftp-server',
  '/usr/libexec/sftp-server',
]

/**
 * Serves the guest's files to the user `login`. The agent does everything as root, so for another
 * user the guest's own sftp-server is run as that user where there is one: then the kernel itself
 * decides about each file.
 */
export async function runSftp(
  session: ServerSession,
  guest: GuestConnection,
  login: string,
  { readOnly, onError }: SftpPolicy,
): Promise<ExitResult> {
  const { owner } = await guest.user(login)
  if (owner !== undefined) {
    const server = await findServer(await guest.agent())
    const args = readOnly ? ['-R'] : []
    if (server !== undefined) {
      return runSession(session, guest, { login, program: { command: server, args } })
    }
  }
  const files = await guestFileSystem(guest, login)
  const serve = sftpServer(files, { readOnly, ...(onError === undefined ? {} : { onError }) })
  return serve(session)
}

async function findServer(agent: AgentClient): Promise<string | undefined> {
  const found = await Promise.all(SERVERS.map((path) => isProgram(agent, path)))
  return SERVERS.find((_, index) => found[index])
}
