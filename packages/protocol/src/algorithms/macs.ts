/** Message authentication codes, RFC 6668 and OpenSSH PROTOCOL §1.1 (encrypt-then-mac). */
import type { HashName } from '../crypto/provider.ts'
import type { MacSpec } from './spec.ts'

/** HMAC with its whole output, RFC 4253 §6.4; encrypt-then-MAC if the name says so. */
export function hmac(name: string, hash: HashName, bytes: number): MacSpec {
  return {
    name,
    keyBytes: bytes,
    tagBytes: bytes,
    encryptThenMac: name.endsWith('-etm@openssh.com'),
    create(crypto, key) {
      const keyed = crypto.hmac(hash, key)
      return (sequenceNumber, data) => keyed.packet(sequenceNumber, data)
    },
  }
}

export const hmacSha256Etm: MacSpec = hmac('hmac-sha2-256-etm@openssh.com', 'sha256', 32)
export const hmacSha512Etm: MacSpec = hmac('hmac-sha2-512-etm@openssh.com', 'sha512', 64)
export const hmacSha256: MacSpec = hmac('hmac-sha2-256', 'sha256', 32)
export const hmacSha512: MacSpec = hmac('hmac-sha2-512', 'sha512', 64)
