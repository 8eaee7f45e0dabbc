/** The SFTP client of `SshClient.sftp`: everything of ours, and the names of microsandbox's SDK. */
import { type ReadOptions, SftpClient as SftpClientBase } from '@sandbox-ssh/sftp'

/** An SFTP session in a sandbox. Relative paths start in the user's home. */
export class SftpClient extends SftpClientBase {
  /** A file's contents. Rejects with `SSH_LIMIT` past 1 GiB, unless `length` allows more. */
  override async read(path: string, options: ReadOptions = {}): Promise<Buffer> {
    const bytes = await super.read(path, options)
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** `remove`. */
  removeFile(path: string): Promise<void> {
    return this.remove(path)
  }

  /** `rmdir`. */
  removeDir(path: string): Promise<void> {
    return this.rmdir(path)
  }

  /** `realpath`. */
  realPath(path: string): Promise<string> {
    return this.realpath(path)
  }

  /** `readlink`. */
  readLink(path: string): Promise<string> {
    return this.readlink(path)
  }
}
