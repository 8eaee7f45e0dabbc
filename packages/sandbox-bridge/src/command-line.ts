/** What a session runs: an SSH command, or a login shell, as a program and its arguments. */
import type { GuestUser } from './guest-user.ts'

/** The command cannot be carried to the guest. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
}

/** A program for the agent, which involves no shell of its own. */
export interface CommandLine {
  readonly command: string
  readonly args: readonly string[]
}

/** Shells that understand `-l`; others are started plain rather than not at all. */
const LOGIN_SHELLS = new Set([
  'ash',
  'bash',
  'csh',
  'dash',
  'fish',
  'ksh',
  'mksh',
  'sh',
  'tcsh',
  'yash',
  'zsh',
])
/** Shells in which `eval "$(printf …)"` means what it does in POSIX. */
const POSIX_SHELLS = new Set(['ash', 'bash', 'dash', 'ksh', 'mksh', 'sh', 'yash', 'zsh'])

/**
 * The user's shell as a login shell. The agent cannot give it a name that begins with a hyphen, by
 * which an sshd would tell it so.
 */
export function loginShell(user: GuestUser): CommandLine {
  const args = LOGIN_SHELLS.has(nameOf(user.shell)) ? ['-l'] : []
  return { command: user.shell, args }
}

/**
 * The user's shell with a command of an SSH client. SSH's are bytes and the agent's are text: what
 * is not UTF-8 is spelled out for the shell in ASCII.
 * @throws CommandError if it holds a NUL, or is not UTF-8 and the shell is not a POSIX one
 */
export function shellCommand(user: GuestUser, bytes: Uint8Array): CommandLine {
  if (bytes.includes(0)) throw new CommandError('the command holds a NUL byte')
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    if (!POSIX_SHELLS.has(nameOf(user.shell))) {
      throw new CommandError(
        `the command is not valid UTF-8, which cannot be passed to ${user.shell}`,
      )
    }
    text = `eval "$(printf '${octal(bytes)}')"`
  }
  return { command: user.shell, args: ['-c', text] }
}

/** Bytes as a format of printf(1): what is not plain ASCII as `\ooo`. */
function octal(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) {
    const character = String.fromCharCode(byte)
    text += /[A-Za-z0-9 _./:=,+@-]/.test(character)
      ? character
      : `\\${byte.toString(8).padStart(3, '0')}`
  }
  return text
}

function nameOf(shell: string): string {
  return shell.slice(shell.lastIndexOf('/') + 1)
}
