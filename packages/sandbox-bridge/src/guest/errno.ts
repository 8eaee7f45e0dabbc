/**
 * Linux error numbers in the agent's words. Its C library is musl, whose texts differ from glibc's;
 * clients parse the number, people read the words.
 */

const ERRORS: readonly (readonly [number, string, string])[] = [
  [1, 'EPERM', 'Operation not permitted'],
  [2, 'ENOENT', 'No such file or directory'],
  [3, 'ESRCH', 'No such process'],
  [4, 'EINTR', 'Interrupted system call'],
  [5, 'EIO', 'I/O error'],
  [6, 'ENXIO', 'No such device or address'],
  [7, 'E2BIG', 'Argument list too long'],
  [8, 'ENOEXEC', 'Exec format error'],
  [9, 'EBADF', 'Bad file descriptor'],
  [10, 'ECHILD', 'No child process'],
  [11, 'EAGAIN', 'Resource temporarily unavailable'],
  [12, 'ENOMEM', 'Out of memory'],
  [13, 'EACCES', 'Permission denied'],
  [14, 'EFAULT', 'Bad address'],
  [16, 'EBUSY', 'Resource busy'],
  [17, 'EEXIST', 'File exists'],
  [18, 'EXDEV', 'Cross-device link'],
  [19, 'ENODEV', 'No such device'],
  [20, 'ENOTDIR', 'Not a directory'],
  [21, 'EISDIR', 'Is a directory'],
  [22, 'EINVAL', 'Invalid argument'],
  [23, 'ENFILE', 'Too many open files in system'],
  [24, 'EMFILE', 'No file descriptors available'],
  [25, 'ENOTTY', 'Not a tty'],
  [26, 'ETXTBSY', 'Text file busy'],
  [27, 'EFBIG', 'File too large'],
  [28, 'ENOSPC', 'No space left on device'],
  [29, 'ESPIPE', 'Invalid seek'],
  [30, 'EROFS', 'Read-only file system'],
  [31, 'EMLINK', 'Too many links'],
  [32, 'EPIPE', 'Broken pipe'],
  [36, 'ENAMETOOLONG', 'Filename too long'],
  [38, 'ENOSYS', 'Function not implemented'],
  [39, 'ENOTEMPTY', 'Directory not empty'],
  [40, 'ELOOP', 'Symbolic link loop'],
  [61, 'ENODATA', 'No data available'],
  [71, 'EPROTO', 'Protocol error'],
  [75, 'EOVERFLOW', 'Value too large for data type'],
  [95, 'EOPNOTSUPP', 'Not supported'],
  [98, 'EADDRINUSE', 'Address in use'],
  [99, 'EADDRNOTAVAIL', 'Address not available'],
  [100, 'ENETDOWN', 'Network is down'],
  [101, 'ENETUNREACH', 'Network unreachable'],
  [103, 'ECONNABORTED', 'Connection aborted'],
  [104, 'ECONNRESET', 'Connection reset by peer'],
  [107, 'ENOTCONN', 'Socket not connected'],
  [110, 'ETIMEDOUT', 'Operation timed out'],
  [111, 'ECONNREFUSED', 'Connection refused'],
  [112, 'EHOSTDOWN', 'Host is down'],
  [113, 'EHOSTUNREACH', 'Host is unreachable'],
  [116, 'ESTALE', 'Stale file handle'],
  [122, 'EDQUOT', 'Quota exceeded'],
]

const BY_NUMBER = new Map(ERRORS.map(([number, name, text]) => [number, { name, text }]))
const BY_NAME = new Map(ERRORS.map(([number, name]) => [name, number]))

/** `No such file or directory (os error 2)`. */
export function osError(number: number): string {
  return `${BY_NUMBER.get(number)?.text ?? 'No error information'} (os error ${number})`
}

/** `ENOENT` for 2. */
export function errorName(number: number): string | undefined {
  return BY_NUMBER.get(number)?.name
}

/** The Linux number of what a system call of the runtime threw, or undefined if it was not one. */
export function errorNumber(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  const { errno, code } = error as { errno?: unknown; code?: unknown }
  const named = typeof code === 'string' ? BY_NAME.get(code) : undefined
  if (named !== undefined) return named
  return typeof errno === 'number' && errno < 0 && errno > -4096 ? -errno : undefined
}

/** What a system call threw, in the agent's words. */
export function errorText(error: unknown): string {
  const number = errorNumber(error)
  if (number !== undefined) return osError(number)
  return error instanceof Error ? error.message : String(error)
}
