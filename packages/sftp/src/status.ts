/** Status codes, the error that carries them, and how errno becomes one. Draft 02 §7. */
import { SshError } from '@sandbox-ssh/protocol'

/** SSH_FX_ codes of version 3. */
export const STATUS = {
  OK: 0,
  EOF: 1,
  NO_SUCH_FILE: 2,
  PERMISSION_DENIED: 3,
  FAILURE: 4,
  BAD_MESSAGE: 5,
  NO_CONNECTION: 6,
  CONNECTION_LOST: 7,
  OP_UNSUPPORTED: 8,
} as const

/** The generic text of each code, as OpenSSH words them. */
const TEXTS: readonly string[] = [
  'Success',
  'End of file',
  'No such file',
  'Permission denied',
  'Failure',
  'Bad message',
  'No connection',
  'Connection lost',
  'Operation unsupported',
]

/**
 * The generic text of a status code.
 *
 * @example
 * import { STATUS, statusText } from '@sandbox-ssh/sftp'
 *
 * console.log(statusText(STATUS.NO_SUCH_FILE)) // No such file
 */
export function statusText(status: number): string {
  return TEXTS[status] ?? `Unknown status ${status}`
}

/** What is known beyond the status. */
export interface SftpErrorOptions {
  readonly cause?: unknown
  /** Name of the errno behind it, such as `EEXIST`, where it is known. It never travels. */
  readonly errno?: string
  /** See `SftpError.targetPath`. */
  readonly targetPath?: string
}

/**
 * An operation on a file failed; the session goes on. Its `code` is `SFTP_STATUS`.
 *
 * @example
 * import { SftpError, STATUS } from '@sandbox-ssh/sftp'
 *
 * const error = await sftp.stat('/nowhere').catch((caught: unknown) => caught)
 * if (!(error instanceof SftpError)) throw error
 * console.log(error.code, error.status === STATUS.NO_SUCH_FILE) // SFTP_STATUS true
 */
export class SftpError extends SshError {
  override readonly name = 'SftpError'
  /** One of `STATUS`, or what else a server sent. */
  readonly status: number
  /** Name of the errno behind it, where it is known: only for file systems in reach, not peers. */
  readonly errno: string | undefined
  /** Of a copy: what could not be made or written. Undefined if it was the source that failed. */
  readonly targetPath: string | undefined

  constructor(status: number, message: string = statusText(status), options?: SftpErrorOptions) {
    super('SFTP_STATUS', message, options)
    this.status = status
    this.errno = options?.errno
    this.targetPath = options?.targetPath
  }
}

interface Errno {
  readonly name: string
  /** Linux number, as in agents' messages. */
  readonly number: number
  readonly text: string
  /** As OpenSSH's sftp-server answers it. */
  readonly status: number
}

function errno(name: string, number: number, text: string, status: number): Errno {
  return { name, number, text, status }
}

/** What file systems report. The statuses are those of sftp-server; a read-only one is ours. */
const ERRNOS: readonly Errno[] = [
  errno('EPERM', 1, 'Operation not permitted', STATUS.PERMISSION_DENIED),
  errno('ENOENT', 2, 'No such file or directory', STATUS.NO_SUCH_FILE),
  errno('EINTR', 4, 'Interrupted system call', STATUS.FAILURE),
  errno('EIO', 5, 'Input/output error', STATUS.FAILURE),
  errno('ENXIO', 6, 'No such device or address', STATUS.FAILURE),
  errno('EBADF', 9, 'Bad file descriptor', STATUS.NO_SUCH_FILE),
  errno('EAGAIN', 11, 'Resource temporarily unavailable', STATUS.FAILURE),
  errno('ENOMEM', 12, 'Cannot allocate memory', STATUS.FAILURE),
  errno('EACCES', 13, 'Permission denied', STATUS.PERMISSION_DENIED),
  errno('EFAULT', 14, 'Bad address', STATUS.PERMISSION_DENIED),
  errno('EBUSY', 16, 'Device or resource busy', STATUS.FAILURE),
  errno('EEXIST', 17, 'File exists', STATUS.FAILURE),
  errno('EXDEV', 18, 'Invalid cross-device link', STATUS.FAILURE),
  errno('ENODEV', 19, 'No such device', STATUS.FAILURE),
  errno('ENOTDIR', 20, 'Not a directory', STATUS.NO_SUCH_FILE),
  errno('EISDIR', 21, 'Is a directory', STATUS.FAILURE),
  errno('EINVAL', 22, 'Invalid argument', STATUS.BAD_MESSAGE),
  errno('ENFILE', 23, 'Too many open files in system', STATUS.FAILURE),
  errno('EMFILE', 24, 'Too many open files', STATUS.FAILURE),
  errno('ETXTBSY', 26, 'Text file busy', STATUS.FAILURE),
  errno('EFBIG', 27, 'File too large', STATUS.FAILURE),
  errno('ENOSPC', 28, 'No space left on device', STATUS.FAILURE),
  errno('ESPIPE', 29, 'Illegal seek', STATUS.FAILURE),
  errno('EROFS', 30, 'Read-only file system', STATUS.PERMISSION_DENIED),
  errno('EMLINK', 31, 'Too many links', STATUS.FAILURE),
  errno('EPIPE', 32, 'Broken pipe', STATUS.FAILURE),
  errno('ENAMETOOLONG', 36, 'File name too long', STATUS.BAD_MESSAGE),
  errno('ENOSYS', 38, 'Function not implemented', STATUS.OP_UNSUPPORTED),
  errno('ENOTEMPTY', 39, 'Directory not empty', STATUS.FAILURE),
  errno('ELOOP', 40, 'Too many levels of symbolic links', STATUS.NO_SUCH_FILE),
  errno('EOVERFLOW', 75, 'Value too large for defined data type', STATUS.FAILURE),
  errno('EOPNOTSUPP', 95, 'Operation not supported', STATUS.OP_UNSUPPORTED),
  errno('ETIMEDOUT', 110, 'Connection timed out', STATUS.FAILURE),
  errno('ESTALE', 116, 'Stale file handle', STATUS.FAILURE),
  errno('EDQUOT', 122, 'Disk quota exceeded', STATUS.FAILURE),
]

const byName: ReadonlyMap<string, Errno> = new Map(ERRNOS.map((entry) => [entry.name, entry]))
const byNumber: ReadonlyMap<number, Errno> = new Map(ERRNOS.map((entry) => [entry.number, entry]))

/**
 * The error for an errno, given by name (`'ENOENT'`) or by its Linux number, with the status
 * sftp-server would answer and, unless `message` says otherwise, the text of strerror(3).
 *
 * @example
 * import { errnoError, STATUS } from '@sandbox-ssh/sftp'
 *
 * const error = errnoError('ENOENT')
 * console.log(error.status === STATUS.NO_SUCH_FILE, error.message) // true No such file or directory
 */
export function errnoError(id: string | number, message?: string, cause?: unknown): SftpError {
  const known = typeof id === 'number' ? byNumber.get(id) : byName.get(id)
  if (known === undefined) {
    return new SftpError(STATUS.FAILURE, message ?? `Failure (${id})`, { cause })
  }
  return new SftpError(known.status, message ?? known.text, { cause, errno: known.name })
}

/**
 * Any thrown value as an SftpError: one stays itself, a Node-style error with `code: 'ENOENT'` is
 * translated. Undefined for what is neither: a fault of ours, whose text is not for peers.
 *
 * @example
 * import { readFile } from 'node:fs/promises'
 * import { asSftpError } from '@sandbox-ssh/sftp'
 *
 * const thrown = await readFile('/nowhere').catch((caught: unknown) => caught)
 * console.log(asSftpError(thrown)?.status, asSftpError(new Error('a bug'))) // 2 undefined
 */
export function asSftpError(error: unknown): SftpError | undefined {
  if (error instanceof SftpError) return error
  if (!(error instanceof Error) || !('code' in error)) return undefined
  const { code } = error
  return typeof code === 'string' && byName.has(code)
    ? errnoError(code, undefined, error)
    : undefined
}
