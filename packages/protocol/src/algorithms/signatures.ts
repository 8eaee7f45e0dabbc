/** Public key algorithms: what verifies a host's or a user's signature. */
import { isSoundRsaKey } from '../crypto/portable-rsa.ts'
import type { CryptoProvider, CurveName, HashName } from '../crypto/provider.ts'
import type { PublicKey } from '../keys/public-key.ts'
import { Reader } from '../wire/reader.ts'
import type { SignatureSpec } from './spec.ts'

/** RFC 8709. */
export const sshEd25519: SignatureSpec = {
  name: 'ssh-ed25519',
  keyType: 'ssh-ed25519',
  verify(crypto, key, data, signature) {
    return guarded('ssh-ed25519', 'ssh-ed25519', key, signature, (fields, value) => {
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
      return guarded(name, name, key, signature, (fields, value) => {
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

/** RFC 8332 §3. Keys under 2048 bits are refused. */
export function rsa(name: string, hash: HashName): SignatureSpec {
  return {
    name,
    keyType: 'ssh-rsa',
    verify(crypto, key, data, signature) {
      return guarded(name, 'ssh-rsa', key, signature, (fields, value) => {
        const publicExponent = fields.mpint()
        const modulus = fields.mpint()
        fields.end()
        const numbers = { modulus, publicExponent }
        if (!isSoundRsaKey(numbers) || value.length > modulus.length) return false
        // Old PuTTYs leave out leading zeros (RFC 8332 §3.1 speaks of the whole length).
        const whole = new Uint8Array(modulus.length)
        whole.set(value, modulus.length - value.length)
        return crypto.rsa.verify(hash, numbers, data, whole)
      })
    },
  }
}

export const rsaSha512: SignatureSpec = rsa('rsa-sha2-512', 'sha512')
export const rsaSha256: SignatureSpec = rsa('rsa-sha2-256', 'sha256')

/**
 * Reads the heads of key and signature, which must both name what is expected, and hands the rest
 * to `verify`. Anything malformed is simply not a valid signature.
 */
function guarded(
  name: string,
  keyType: string,
  key: PublicKey,
  signature: Uint8Array,
  verify: (fields: Reader, value: Uint8Array) => boolean,
): boolean {
  try {
    const fields = new Reader(key.blob)
    if (fields.ascii() !== keyType) return false
    const reader = new Reader(signature)
    if (reader.ascii() !== name) return false
    const value = reader.string()
    reader.end()
    return verify(fields, value)
  } catch {
    return false
  }
}
