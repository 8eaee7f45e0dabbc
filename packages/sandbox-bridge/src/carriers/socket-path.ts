/** Unix socket paths beyond the 108 bytes (104 elsewhere) that a socket address can hold. */
import { closeSync, constants, openSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { reasonOf, SandboxError } from '../home/errors.ts'

/** Longest path, in bytes, that fits `sun_path` with its final zero. */
export const SOCKET_PATH_BYTES_MAX: number = process.platform === 'linux' ? 107 : 103

/** A path that fits, and what keeps it valid. */
export interface ShortSocketPath {
  readonly path: string
  /** Call once connected, or, for a listener, once closed. */
  release(): void
}

/**
 * The path itself if it fits. On Linux a longer one is reached through a descriptor of its
 * directory (`/proc/self/fd/N/agent.sock`), so a deep MSB_HOME works.
 * @throws SandboxError `SANDBOX_UNREACHABLE` where there is no such way, or no such directory
 */
export function shortSocketPath(path: string): ShortSocketPath {
  const bytes = Buffer.byteLength(path)
  if (bytes <= SOCKET_PATH_BYTES_MAX || process.platform === 'win32') {
    return { path, release: () => undefined }
  }
  const short = `/proc/self/fd/1234567/${basename(path)}`
  if (process.platform !== 'linux' || Buffer.byteLength(short) > SOCKET_PATH_BYTES_MAX) {
    throw new SandboxError(
      'SANDBOX_UNREACHABLE',
      `socket path too long: ${bytes} bytes, at most ${SOCKET_PATH_BYTES_MAX}: ${path}`,
    )
  }
  let fd: number
  try {
    fd = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY)
  } catch (cause) {
    throw new SandboxError('SANDBOX_UNREACHABLE', `cannot open ${path}: ${reasonOf(cause)}`, {
      cause,
    })
  }
  let open = true
  return {
    path: `/proc/self/fd/${fd}/${basename(path)}`,
    release: () => {
      if (open) closeSync(fd)
      open = false
    },
  }
}
