/** Public key algorithms: what verifies a host's or a user's signature. */
import type { CryptoProvider, CurveName } from '../crypto/provider.ts'
import type { PublicKey } from '../keys/public-key.ts'
import { Reader } from '../wire/reader.ts'
import type { SignatureSpec } from './spec.ts'

/** RFC 8709. */
export const sshEd25519: SignatureSpec = {
  name: 'ssh-ed25519',
  keyType: 'ssh-ed25519',
  verify(crypto, key, data, signature) {
    return guarded('ssh-ed25519', key, signature, (fields, value) => {
      const point = fields.string(32)
      fields.end()
      return value.length === 64 && crypto.ed25519.verify(point, data, value)
    })
  },
}

/** Bytes of a coordinate, RFC 5656 §3.1. */
const COORDINATE_BYTES = { nistp256: 32, nistp384: 48, nistp521: 66 } as const

/** RFC 5656 §3.1. */
function ecdsa(curve: CurveName): SignatureSpec {
  const name = `ecdsa-sha2-${curve}`
  return {
    name,
    keyType: name,
    verify(crypto, key, data, signature) {
      return guarded(name, key, signature, (fields, value) => {
        if (fields.ascii() !== curve) return false
        const point = fields.string(160)
        fields.end()
        return verifyEcdsa(crypto, curve, point, data, value)
      })
    },
  }
}

export const ecdsaNistp256: SignatureSpec = ecdsa('nistp256')
export const ecdsaNistp384: SignatureSpec = ecdsa('nistp384')
export const ecdsaNistp521: SignatureSpec = ecdsa('nistp521')

/**
 * Verifies an ECDSA signature in SSH's encoding, `mpint r, mpint s` (RFC 5656 §3.1.2).
 * Throws SshError on a malformed one; callers turn that into a refusal.
 */
export function verifyEcdsa(
  crypto: CryptoProvider,
  curve: CurveName,
  point: Uint8Array,
  data: Uint8Array,
  value: Uint8Array,
): boolean {
  const width = COORDINATE_BYTES[curve]
  const reader = new Reader(value)
  const fixed = new Uint8Array(2 * width)
  for (const end of [width, 2 * width]) {
    const number = reader.mpint()
    if (number.length > width) return false
    fixed.set(number, end - number.length)
  }
  reader.end()
  return crypto.ecdsa.verify(curve, point, data, fixed)
}

/**
 * Reads the heads of key and signature, which must both name what is expected, and hands the rest
 * to `verify`. Anything malformed is simply not a valid signature.
 */
function guarded(
  name: string,
  key: PublicKey,
  signature: Uint8Array,
  verify: (fields: Reader, value: Uint8Array) => boolean,
): boolean {
  try {
    const fields = new Reader(key.blob)
    if (fields.ascii() !== name) return false
    const reader = new Reader(signature)
    if (reader.ascii() !== name) return false
    const value = reader.string()
    reader.end()
    return verify(fields, value)
  } catch {
    return false
  }
}
