/** Errors as exit codes and as one line. */
import { SshError } from '@sandbox-ssh/protocol'
import { SandboxError } from '@sandbox-ssh/sandbox-bridge'

/** An error of ours that says all there is to say. */
export class CliError extends Error {
  override readonly name = 'CliError'
}

/** Exit code for an error on this side: names, files, keys, ports. */
export const EXIT_LOCAL_ERROR = 1
/** Exit code for wrong usage. */
export const EXIT_USAGE = 2
/** Exit code if the connection was lost before a status came, as that of OpenSSH's `ssh`. */
export const EXIT_LOST = 255

/** The exit code of a command that failed with `error`. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof SshError)) return EXIT_LOCAL_ERROR
  switch (error.code) {
    case 'SSH_CONNECTION_LOST':
    case 'SSH_DISCONNECTED':
    case 'SSH_TRANSPORT':
    case 'SSH_TIMEOUT':
      return EXIT_LOST
    default:
      return EXIT_LOCAL_ERROR
  }
}

/**
 * The text of an error and of its causes: the outermost alone often hides the reason. Errors that
 * were written for users are complete, and a cause that says nothing new is left out.
 */
export function explain(error: unknown): string {
  const parts: string[] = []
  let current: unknown = error
  for (let depth = 0; current !== undefined && current !== null && depth < 8; depth++) {
    const text = current instanceof Error ? systemReason(current.message) : String(current)
    const isSaid = (part: string): boolean => part.toLowerCase().includes(text.toLowerCase())
    if (text !== '' && !parts.some(isSaid)) parts.push(text)
    if (current instanceof SandboxError || current instanceof CliError) break
    current = current instanceof Error ? current.cause : undefined
  }
  return parts.length === 0 ? 'unknown error' : parts.join(': ')
}

/** `ENOENT: no such file or directory, open '/x'` in words alone; the rest is said before it. */
function systemReason(message: string): string {
  return /^E[A-Z0-9]+: ([^,]+), \w+(?: '.*')?$/s.exec(message)?.[1] ?? message
}
