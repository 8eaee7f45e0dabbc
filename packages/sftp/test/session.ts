// A client and a server joined in memory.
import { memoryPair } from '@sandbox-ssh/protocol'
import { type OpenSftpOptions, openSftp, type SftpClient } from '../src/client.ts'
import type { SftpFileSystem } from '../src/file-system.ts'
import { type SftpServerOptions, serveSftp } from '../src/server.ts'

/** A session under test. */
export interface TestSession {
  readonly sftp: SftpClient
  /** How serving ended. */
  readonly served: Promise<void>
  /** Ends the client and waits for the server. */
  readonly dispose: () => Promise<void>
}

/** Serves `files` to a client in this process. */
export async function session(
  files: SftpFileSystem,
  options: SftpServerOptions = {},
  client: OpenSftpOptions = {},
): Promise<TestSession> {
  const [left, right] = memoryPair()
  const served = serveSftp(right, files, options)
  served.catch(() => {})
  const sftp = await openSftp(left, client)
  return {
    sftp,
    served,
    async dispose() {
      await sftp.close()
      await served
    },
  }
}
