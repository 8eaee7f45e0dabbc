/** Checks of our own promises. They stay on in production and end one connection, not the process. */
import { SshError } from './errors.ts'

/**
 * States what this code guarantees. Never used on peer input: that is validation.
 * @throws SshError `SSH_INTERNAL`
 */
export function assert(condition: boolean, why: string): asserts condition {
  if (!condition) throw new SshError('SSH_INTERNAL', `internal error: ${why}`)
}

/** Ends an exhaustive `switch`; reaching it is a compile error, then a `SSH_INTERNAL`. */
export function unreachable(value: never): never {
  throw new SshError('SSH_INTERNAL', `internal error: unexpected ${JSON.stringify(value)}`)
}
