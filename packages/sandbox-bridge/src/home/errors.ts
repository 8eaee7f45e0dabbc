/** What can go wrong before a sandbox is reached: names, files, modes, sockets, start. */

/** Stable identifiers; switch on these, never on the message. */
export type SandboxErrorCode =
  /** Not a sandbox name, or an endpoint of an unknown kind. */
  | 'SANDBOX_NAME_INVALID'
  /** No sandbox of this name in MSB_HOME, or no socket at this path. */
  | 'SANDBOX_NOT_FOUND'
  /** The sandbox is known but nothing listens on its socket. */
  | 'SANDBOX_NOT_RUNNING'
  /** The sandbox is on its way up, and not there yet. */
  | 'SANDBOX_STARTING'
  /** The sandbox is said to run, but its process is gone. */
  | 'SANDBOX_DEAD'
  /** Its socket exists but could not be used; see `cause`. */
  | 'SANDBOX_UNREACHABLE'
  /** The sandbox could not be started, or not stopped. */
  | 'SANDBOX_START_FAILED'
  /** `config.json` cannot be understood. */
  | 'CONFIG_INVALID'
  /** A directory or file under MSB_HOME cannot be made, read or written. */
  | 'HOME_UNUSABLE'
  /** A file that decides who may enter can be written by others. */
  | 'MODE_UNSAFE'
  /** A host key file cannot be used. */
  | 'HOST_KEY_INVALID'
  /** A public key given to `authorize`, or all of `authorized_keys`, cannot be used. */
  | 'AUTHORIZED_KEY_INVALID'
  /** A list of revoked keys cannot be understood. */
  | 'REVOCATIONS_INVALID'
  /** Another process held a lock for too long. */
  | 'LOCK_TIMEOUT'

/**
 * An error whose message is fit for the user: it says what, which file and why.
 *
 * @example
 * import { SandboxError, sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * const attempt = sandbox('unix:/nowhere/agent.sock').ssh().openClient()
 * const error = await attempt.catch((caught: unknown) => caught)
 * console.log(error instanceof SandboxError && error.code) // SANDBOX_NOT_FOUND
 */
export class SandboxError extends Error {
  override readonly name = 'SandboxError'
  readonly code: SandboxErrorCode

  constructor(code: SandboxErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

/** The reason of a failed system call in words, without the path that the caller will print. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = errnoOf(error)
  // Node's texts read "EACCES: permission denied, open '/path'".
  const text = /^[A-Z0-9]+: ([^,]+),/.exec(error.message)?.[1] ?? error.message
  return code === undefined || text.includes(code) ? text : `${text} (${code})`
}

/** `ENOENT` and the like, if `error` comes from a system call. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}
