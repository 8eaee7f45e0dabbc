/** Errors about keys, worded once. None of them ever quotes key material. */
import { SshError } from '../errors.ts'

/** SshError `SSH_KEY_INVALID`. */
export function invalidKey(message: string, cause?: unknown): SshError {
  return new SshError('SSH_KEY_INVALID', message, cause === undefined ? {} : { cause })
}

/** SshError `SSH_KEY_INVALID` for a private key of a kind that is not read here, and what to do. */
export function unsupportedKey(type: string): SshError {
  const advice = type.startsWith('sk-')
    ? ': its secret is in a device; give it to an agent with "ssh-add FILE", and use the agent'
    : type === 'ssh-dss'
      ? ', being too weak; make a new one with "ssh-keygen"'
      : '; make one of another type with "ssh-keygen -t ed25519"'
  return invalidKey(`private keys of type ${type.slice(0, 100)} are not supported${advice}`)
}

/** SshError `SSH_KEY_PASSPHRASE`: none was given. */
export function passphraseNeeded(): SshError {
  return new SshError('SSH_KEY_PASSPHRASE', 'the key file is encrypted: a passphrase is needed')
}

/** SshError `SSH_KEY_PASSPHRASE`: it does not fit. */
export function passphraseWrong(): SshError {
  return new SshError('SSH_KEY_PASSPHRASE', 'wrong passphrase for the key file')
}

/** Turns what the wire cursor throws on truncated data into an error about a key. */
export function asKeyError(error: unknown): unknown {
  if (error instanceof SshError && error.code === 'SSH_PROTOCOL') {
    return invalidKey(`the key is damaged: ${error.message.replace(/^malformed message: /, '')}`)
  }
  return error
}
