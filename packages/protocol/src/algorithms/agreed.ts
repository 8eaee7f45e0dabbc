/** How a peer's bad value ends a key exchange. */
import { SshError } from '../errors.ts'

/**
 * Runs what a value of the peer can make fail.
 * Throws SshError `SSH_KEY_EXCHANGE` for whatever comes out of it.
 */
export function agreed<T>(name: string, compute: () => T): T {
  try {
    return compute()
  } catch (cause) {
    throw new SshError('SSH_KEY_EXCHANGE', `the peer sent an invalid value for ${name}`, { cause })
  }
}
