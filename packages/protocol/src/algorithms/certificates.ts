/**
 * Signatures by keys that show a certificate. What is checked here is that the certified key made
 * the signature; whether the certificate is to be trusted is for `checkCertificate`, through
 * whoever decides about keys.
 */
import { plainKey } from '../keys/certificate.ts'
import { skEcdsaNistp256, skEd25519 } from './security-keys.ts'
import {
  ecdsaNistp256,
  ecdsaNistp384,
  ecdsaNistp521,
  rsaSha256,
  rsaSha512,
  sshEd25519,
} from './signatures.ts'
import type { SignatureSpec } from './spec.ts'

function certified(plain: SignatureSpec): SignatureSpec {
  const named = (name: string): string =>
    `${name.replace(/@openssh\.com$/, '')}-cert-v01@openssh.com`
  const keyType = named(plain.keyType)
  return {
    name: named(plain.name),
    keyType,
    verify(crypto, key, data, signature, policy) {
      if (key.type !== keyType) return false
      // The signature itself carries the plain name.
      return plain.verify(crypto, plainKey(key), data, signature, policy)
    },
  }
}

export const sshEd25519Cert: SignatureSpec = certified(sshEd25519)
export const ecdsaNistp256Cert: SignatureSpec = certified(ecdsaNistp256)
export const ecdsaNistp384Cert: SignatureSpec = certified(ecdsaNistp384)
export const ecdsaNistp521Cert: SignatureSpec = certified(ecdsaNistp521)
export const rsaSha512Cert: SignatureSpec = certified(rsaSha512)
export const rsaSha256Cert: SignatureSpec = certified(rsaSha256)
export const skEd25519Cert: SignatureSpec = certified(skEd25519)
export const skEcdsaNistp256Cert: SignatureSpec = certified(skEcdsaNistp256)
