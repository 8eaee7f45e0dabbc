/** Files of authorities whose certificates let in, and of what is revoked. */
import { dirname } from 'node:path'
import { Revocations, SshError } from '@sandbox-ssh/protocol'
import {
  AUTHORIZED_KEYS_BYTES_MAX,
  type AuthorizedKeys,
  linesOf,
  parseGrants,
} from './authorized-keys.ts'
import { errnoOf, reasonOf, SandboxError } from './errors.ts'
import { readBoundedBytes, requireSafeMode } from './files.ts'
import { authorityLine, isKeylessLine } from './key-lines.ts'

/**
 * Reads a file of authorities' keys, one a line, as sshd's TrustedUserCAKeys; call it at each login.
 * Options before a key bind its certificates: `from`, `expiry-time`, `principals`, `restrict` and so
 * on. Whether a security key must be touched is for the certificate to say. Unusable lines are
 * skipped and reported. With `mayBeMissing` a file that is not there has none.
 * @throws SandboxError `MODE_UNSAFE`, `HOME_UNUSABLE`
 */
export function readAuthoritiesFile(path: string, mayBeMissing = false): AuthorizedKeys {
  let text: string
  try {
    text = Buffer.from(readTrusted(path)).toString('utf8')
  } catch (error) {
    const { cause } = error as Error
    if (mayBeMissing && errnoOf(cause) === 'ENOENT') return { keys: [], warnings: [] }
    throw error
  }
  const lines = linesOf(text).map((line) => (isKeylessLine(line) ? line : authorityLine(line)))
  const { keys, warnings } = parseGrants(lines.join('\n'))
  return {
    keys: keys.map(({ options, ...line }) => ({
      ...line,
      options: { ...options, touchRequired: false },
    })),
    warnings: warnings.map((warning) => `${path} ${warning}`),
  }
}

/**
 * Reads a list of what is revoked, as sshd's RevokedKeys: a KRL or a text. If it cannot be read
 * nobody can be let in.
 * @throws SandboxError `MODE_UNSAFE`, `HOME_UNUSABLE`, `REVOCATIONS_INVALID`
 */
export function readRevocationsFile(path: string): Revocations {
  try {
    return Revocations.parse(readTrusted(path))
  } catch (cause) {
    if (!(cause instanceof SshError)) throw cause
    throw new SandboxError('REVOCATIONS_INVALID', `revoked keys ${path}: ${cause.message}`, {
      cause,
    })
  }
}

function readTrusted(path: string): Uint8Array {
  requireSafeMode(dirname(path))
  try {
    const { bytes, stats } = readBoundedBytes(path, AUTHORIZED_KEYS_BYTES_MAX)
    requireSafeMode(path, stats)
    return bytes
  } catch (cause) {
    if (cause instanceof SandboxError) throw cause
    throw new SandboxError('HOME_UNUSABLE', `failed to read ${path}: ${reasonOf(cause)}`, { cause })
  }
}
