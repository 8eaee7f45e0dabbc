/** The SFTP client of `SshClient.sftp`: everything of ours, and the names of microsandbox's SDK. */
import type { WaitOptions } from '@sandbox-ssh/protocol'
import { type ReadOptions, SftpClient as SftpClientBase } from '@sandbox-ssh/sftp'

/**
 * An SFTP session in a sandbox. Relative paths start in the user's home.
 *
 * @example
 * import { sandbox, type SftpClient } from '@sandbox-ssh/sandbox-bridge'
 *
 * await using client = await sandbox('local:devbox').ssh().openClient()
 * const sftp: SftpClient = await client.sftp()
 * await sftp.write('/tmp/note', 'in the sandbox')
 * console.log((await sftp.read('/tmp/note')).toString()) // in the sandbox
 * await sftp.removeFile('/tmp/note')
 * await sftp.close()
 */
export class SftpClient extends SftpClientBase {
  protected override readonly closedMessage: string = 'SSH handle has been consumed'

  /** A file's contents. Rejects with `SSH_LIMIT` past 1 GiB, unless `length` allows more. */
  override async read(path: string, options: ReadOptions = {}): Promise<Buffer> {
    const bytes = await super.read(path, options)
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** `remove`. */
  removeFile(path: string, options: WaitOptions = {}): Promise<void> {
    return this.remove(path, options)
  }

  /**
   * `rmdir`.
   *
   * @example
   * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
   *
   * await using client = await sandbox('local:devbox').ssh().openClient()
   * const sftp = await client.sftp()
   * await sftp.mkdirs('/tmp/names/inner')
   * await sftp.symlink('inner', '/tmp/names/link')
   * console.log(await sftp.readLink('/tmp/names/link')) // inner
   * console.log(await sftp.realPath('/tmp/names/link')) // …/names/inner
   * await sftp.removeFile('/tmp/names/link')
   * await sftp.removeDir('/tmp/names/inner')
   * await sftp.removeDir('/tmp/names')
   * await sftp.close()
   */
  removeDir(path: string, options: WaitOptions = {}): Promise<void> {
    return this.rmdir(path, options)
  }

  /** `realpath`. */
  realPath(path: string, options: WaitOptions = {}): Promise<string> {
    return this.realpath(path, options)
  }

  /** `readlink`. */
  readLink(path: string, options: WaitOptions = {}): Promise<string> {
    return this.readlink(path, options)
  }
}
