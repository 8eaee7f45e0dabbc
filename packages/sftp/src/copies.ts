/**
 * Copying to and from a server whatever it offers: by SFTP, or by `scp` where SFTP is off. What only
 * SFTP can do is refused there rather than left out.
 */
import { SshError } from '@sandbox-ssh/protocol'
import { openSftp, type SftpClient, type SftpSource } from './client.ts'
import type { SftpFileSystem } from './file-system.ts'
import { printablePath } from './path.ts'
import type { ScpOptions, ScpResult } from './scp.ts'
import { type ScpClient, scpGet, scpPut } from './scp-command.ts'
import { SftpError, STATUS } from './status.ts'
import type { CopyOptions, CopyResult } from './tree.ts'

/** An SSH client: something that has subsystems and commands. */
export interface CopyClient extends SftpSource, ScpClient {}

/** What was copied, and by which protocol. */
export interface CopiesResult extends CopyResult {
  readonly by: 'sftp' | 'scp'
}

/**
 * As `SftpClient.get`, in a session of its own, by scp if the server refuses the subsystem `sftp`.
 * By scp, a directory that is there already gets what is copied inside; `resume` and `links` other
 * than following them reject with SftpError `OP_UNSUPPORTED`. Rejects further as `SftpClient.get`;
 * SshError `SSH_REQUEST_REFUSED` or `SSH_CONNECTION_LOST` if there is no scp either.
 *
 * @example
 * import { getFiles, memoryFileSystem, parseScpCommand, serveScp } from '@sandbox-ssh/sftp'
 *
 * // A server that knows scp and nothing else.
 * const there = memoryFileSystem()
 * const client = await pair({
 *   exec: async ({ command, transport }) => {
 *     const scp = parseScpCommand(command)
 *     return scp === undefined ? 127 : serveScp(transport, there, scp)
 *   },
 * })
 * await there.mkdir('/logs', 0o755)
 * const result = await getFiles(client, '/logs', memoryFileSystem(), '/copy', { recursive: true })
 * console.log(result.by, result.directories) // scp 1
 */
export function getFiles(
  client: CopyClient,
  remotePath: string,
  local: SftpFileSystem,
  localPath: string,
  options: CopyOptions = {},
): Promise<CopiesResult> {
  return copy(
    client,
    remotePath,
    options,
    (sftp) => sftp.get(remotePath, local, localPath, options),
    (scp) => scpGet(client, remotePath, local, localPath, scp),
  )
}

/**
 * As `SftpClient.put`; everything else as with `getFiles`.
 *
 * @example
 * import { memoryFileSystem, putFiles, sftpServer } from '@sandbox-ssh/sftp'
 *
 * const there = memoryFileSystem()
 * const client = await pair({ subsystems: { sftp: sftpServer(there) } })
 * const here = memoryFileSystem()
 * await here.mkdir('/logs', 0o755)
 * const result = await putFiles(client, here, '/logs', '/copy', { recursive: true })
 * console.log(result.by, result.directories) // sftp 1
 */
export function putFiles(
  client: CopyClient,
  local: SftpFileSystem,
  localPath: string,
  remotePath: string,
  options: CopyOptions = {},
): Promise<CopiesResult> {
  return copy(
    client,
    localPath,
    options,
    (sftp) => sftp.put(local, localPath, remotePath, options),
    (scp) => scpPut(client, local, localPath, remotePath, scp),
  )
}

async function copy(
  client: CopyClient,
  from: string,
  options: CopyOptions,
  bySftp: (sftp: SftpClient) => Promise<CopyResult>,
  byScp: (options: ScpOptions) => Promise<ScpResult>,
): Promise<CopiesResult> {
  const { signal } = options
  const sftp = await openSftp(client, signal === undefined ? {} : { signal }).catch(
    (error: unknown) => {
      if (error instanceof SshError && error.code === 'SSH_REQUEST_REFUSED') return undefined
      throw error
    },
  )
  if (sftp === undefined) return { ...(await overScp(from, options, byScp)), by: 'scp' }
  try {
    const result = await bySftp(sftp)
    await sftp.close()
    return { ...result, by: 'sftp' }
  } catch (error) {
    sftp.abort()
    throw error
  }
}

async function overScp(
  from: string,
  options: CopyOptions,
  byScp: (options: ScpOptions) => Promise<ScpResult>,
): Promise<CopyResult> {
  const { recursive = false, preserve = false, resume, links = 'follow', signal } = options
  const { onProgress, onError } = options
  if (resume || links !== 'follow') {
    const what = resume ? 'resume' : `links: '${links}'`
    throw new SftpError(STATUS.OP_UNSUPPORTED, `the server has no SFTP, and scp has no ${what}`)
  }
  let [files, total] = [0, 0]
  let current = { path: '', bytes: 0 }
  const scpProgress = (path: string, bytes: number, size: number): void => {
    if (path !== current.path) current = { path, bytes: 0 }
    total += bytes - current.bytes
    current.bytes = bytes
    const done = bytes === size
    if (done) files++
    onProgress?.({ path, bytes, size, totalBytes: total, files, done })
  }
  const { errors, ...result } = await byScp({
    recursive,
    preserve,
    ...(signal !== undefined && { signal }),
    onProgress: scpProgress,
  })
  const [first] = errors
  if (first === undefined) return result
  // scp tells in words what it could not copy, and goes on.
  if (onError === undefined) throw new SftpError(STATUS.FAILURE, printablePath(first))
  for (const error of errors) {
    onError(from, new SftpError(STATUS.FAILURE, printablePath(error)))
  }
  return result
}
