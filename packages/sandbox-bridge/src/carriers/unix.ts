/** The Unix socket (on Windows, named pipe) that a sandbox's relay listens on. */
import { createConnection } from 'node:net'
import { nodeSocket, type Transport } from '@sandbox-ssh/protocol'
import { errnoOf, reasonOf, SandboxError } from '../home/errors.ts'
import { shortSocketPath } from './socket-path.ts'

/** Time for a connection to be made; the backlog of a booting sandbox answers at once. */
export const CONNECT_MS: number = 10_000

/** What bounds a dial. */
export interface DialOptions {
  readonly signal?: AbortSignal | undefined
  /** Default `CONNECT_MS`. */
  readonly timeoutMs?: number | undefined
}

/**
 * Connects to a relay socket.
 * @throws SandboxError `SANDBOX_NOT_FOUND` without the file, `SANDBOX_NOT_RUNNING` if nobody
 * listens, else `SANDBOX_UNREACHABLE`; or the signal's reason
 *
 * @example
 * import { dialUnix, SandboxError } from '@sandbox-ssh/sandbox-bridge'
 *
 * const error = await dialUnix('/nowhere/agent.sock').catch((caught: unknown) => caught)
 * console.log(error instanceof SandboxError && error.code) // SANDBOX_NOT_FOUND
 */
export async function dialUnix(path: string, options: DialOptions = {}): Promise<Transport> {
  options.signal?.throwIfAborted()
  const short = shortSocketPath(path)
  const socket = createConnection({ path: short.path, allowHalfOpen: true })
  try {
    await new Promise<void>((resolve, reject) => {
      const timeoutMs = options.timeoutMs ?? CONNECT_MS
      const timer = setTimeout(() => {
        reject(new SandboxError('SANDBOX_UNREACHABLE', `${path}: no answer in ${timeoutMs} ms`))
      }, timeoutMs)
      const aborted = (): void => reject(options.signal?.reason)
      options.signal?.addEventListener('abort', aborted, { once: true })
      const settle = (): void => {
        clearTimeout(timer)
        options.signal?.removeEventListener('abort', aborted)
      }
      socket.once('connect', () => {
        settle()
        resolve()
      })
      socket.once('error', (error) => {
        settle()
        reject(dialError(path, error))
      })
    })
    return nodeSocket(socket)
  } catch (error) {
    // A late failure of an abandoned socket is of no interest to anybody.
    socket.on('error', () => undefined)
    socket.destroy()
    throw error
  } finally {
    short.release()
  }
}

function dialError(path: string, cause: Error): SandboxError {
  switch (errnoOf(cause)) {
    case 'ENOENT':
      return new SandboxError('SANDBOX_NOT_FOUND', `no socket at ${path}`, { cause })
    case 'ECONNREFUSED':
      return new SandboxError('SANDBOX_NOT_RUNNING', `nothing listens on ${path}`, { cause })
    default:
      return new SandboxError('SANDBOX_UNREACHABLE', `${path}: ${reasonOf(cause)}`, { cause })
  }
}
