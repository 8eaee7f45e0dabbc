/**
 * The names of errors in microsandbox's SDK, for `instanceof` in code that was written for it. What
 * is thrown is this project's own, with a `code`; each name stands for those that mean the same.
 */
import { SshError } from '@sandbox-ssh/protocol'
import { SandboxError, type SandboxErrorCode } from './home/errors.ts'
import { NoTerminalError } from './terminal/attach.ts'
import { DetachKeysError } from './terminal/detach-keys.ts'

/**
 * Whatever goes wrong on the way into a sandbox and in it; wrong arguments are `TypeError` and
 * `RangeError`, as there.
 *
 * @example
 * import { MicrosandboxError, sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * const error = await sandbox('nobody').ssh().openClient().catch((caught: unknown) => caught)
 * console.log(error instanceof MicrosandboxError) // true
 */
export abstract class MicrosandboxError extends Error {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return [SandboxError, SshError, NoTerminalError, DetachKeysError].some(
      (kind) => value instanceof kind,
    )
  }
}

/**
 * No sandbox has that name.
 *
 * @example
 * import { SandboxNotFoundError, sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * const error = await sandbox('nobody').ssh().openClient().catch((caught: unknown) => caught)
 * console.log(error instanceof SandboxNotFoundError) // true
 */
export abstract class SandboxNotFoundError extends MicrosandboxError {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return hasCode(value, ['SANDBOX_NOT_FOUND'])
  }
}

/**
 * `config.json`, the name of a sandbox or a sequence of detach keys cannot be understood.
 *
 * @example
 * import { InvalidConfigError, parseDetachKeys } from '@sandbox-ssh/sandbox-bridge'
 *
 * try {
 *   parseDetachKeys('ctrl-1')
 * } catch (error) {
 *   console.log(error instanceof InvalidConfigError) // true
 * }
 */
export abstract class InvalidConfigError extends MicrosandboxError {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return (
      value instanceof DetachKeysError || hasCode(value, ['CONFIG_INVALID', 'SANDBOX_NAME_INVALID'])
    )
  }
}

/**
 * There is no terminal to attach to.
 *
 * @example
 * import { sandbox, TerminalError } from '@sandbox-ssh/sandbox-bridge'
 *
 * const client = await sandbox('local:devbox').ssh().openClient()
 * // Not from a terminal:
 * const error = await client.attach().catch((caught: unknown) => caught)
 * console.log(error instanceof TerminalError) // true
 * await client.close()
 */
export abstract class TerminalError extends MicrosandboxError {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof NoTerminalError
  }
}

function hasCode(value: unknown, codes: readonly SandboxErrorCode[]): boolean {
  return value instanceof SandboxError && codes.includes(value.code)
}
