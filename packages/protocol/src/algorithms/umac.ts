/**
 * UMAC as OpenSSH has it, in an entry of its own: every peer that knows it knows HMAC with SHA-2 as
 * well, which native code does faster. In plain JavaScript UMAC is the fastest MAC that there is.
 *
 *     import { umac64Etm, umac128Etm } from '@sandbox-ssh/protocol/umac'
 *     algorithms: (modern) => ({ ...modern, macs: [umac128Etm, ...modern.macs] })
 */
import { umac } from '../crypto/umac.ts'
import type { MacSpec } from './spec.ts'

/** RFC 4418; the nonce is the number of the packet. */
function umacSpec(name: string, tagBytes: 8 | 16): MacSpec {
  return {
    name,
    keyBytes: 16,
    tagBytes,
    encryptThenMac: name.endsWith('-etm@openssh.com'),
    create(crypto, key) {
      const tag = umac(crypto, key, tagBytes)
      const nonce = new Uint8Array(8)
      const view = new DataView(nonce.buffer)
      return (sequenceNumber, data) => {
        view.setUint32(4, sequenceNumber)
        return tag(nonce, data)
      }
    },
  }
}

/** Tags of 128 bits, over the ciphertext. */
export const umac128Etm: MacSpec = umacSpec('umac-128-etm@openssh.com', 16)
/** Tags of 64 bits, over the ciphertext: one forgery in 2^60 attempts may succeed, each of which ends the connection. */
export const umac64Etm: MacSpec = umacSpec('umac-64-etm@openssh.com', 8)
/** Tags of 128 bits, over the plaintext. */
export const umac128: MacSpec = umacSpec('umac-128@openssh.com', 16)
/** Tags of 64 bits, over the plaintext. */
export const umac64: MacSpec = umacSpec('umac-64@openssh.com', 8)
