/** The default choice: what is sound today, in the order that is fast here. */
import type { CryptoProvider } from '../crypto/provider.ts'
import {
  ecdsaNistp256Cert,
  ecdsaNistp384Cert,
  ecdsaNistp521Cert,
  rsaSha256Cert,
  rsaSha512Cert,
  skEcdsaNistp256Cert,
  skEd25519Cert,
  sshEd25519Cert,
} from './certificates.ts'
import {
  aes128Ctr,
  aes128Gcm,
  aes192Ctr,
  aes256Ctr,
  aes256Gcm,
  chacha20Poly1305,
} from './ciphers.ts'
import { groupExchangeSha256 } from './group-exchange.ts'
import { group14Sha256, group16Sha512, group18Sha512 } from './group-kex.ts'
import {
  mlkem768nistp256Sha256,
  mlkem768x25519Sha256,
  mlkem1024nistp384Sha384,
  sntrup761x25519Sha512,
  sntrup761x25519Sha512OpenSsh,
} from './hybrid.ts'
import {
  curve25519Sha256,
  curve25519Sha256Libssh,
  ecdhNistp256,
  ecdhNistp384,
  ecdhNistp521,
} from './kex.ts'
import { hmacSha256, hmacSha256Etm, hmacSha512, hmacSha512Etm } from './macs.ts'
import { skEcdsaNistp256, skEd25519, webauthnEcdsaNistp256 } from './security-keys.ts'
import {
  ecdsaNistp256,
  ecdsaNistp384,
  ecdsaNistp521,
  rsaSha256,
  rsaSha512,
  sshEd25519,
} from './signatures.ts'
import type { Algorithms, SignatureSpec } from './spec.ts'

const plainSignatures: readonly SignatureSpec[] = [
  sshEd25519,
  ecdsaNistp256,
  ecdsaNistp384,
  ecdsaNistp521,
  rsaSha512,
  rsaSha256,
]

const securityKeySignatures: readonly SignatureSpec[] = [
  skEd25519,
  skEcdsaNistp256,
  webauthnEcdsaNistp256,
]

const certificateSignatures: readonly SignatureSpec[] = [
  sshEd25519Cert,
  ecdsaNistp256Cert,
  ecdsaNistp384Cert,
  ecdsaNistp521Cert,
  rsaSha512Cert,
  rsaSha256Cert,
  skEd25519Cert,
  skEcdsaNistp256Cert,
]

/**
 * Everything sound that is implemented, best first. AES-GCM leads where the provider has it in
 * native code; elsewhere ChaCha20-Poly1305 does, being several times faster in plain JavaScript.
 *
 * @example
 * import { modern, nobleCrypto } from '@sandbox-ssh/protocol'
 *
 * const { kex, ciphers } = modern(nobleCrypto)
 * console.log(kex[0]?.name) // mlkem768x25519-sha256
 * console.log(ciphers[0]?.name) // chacha20-poly1305@openssh.com
 *
 * // Only AES-GCM, on both sides of one connection.
 * const only = (all: ReturnType<typeof modern>) => ({
 *   ...all,
 *   ciphers: all.ciphers.filter(({ name }) => name.includes('gcm')),
 * })
 * const client = await pair({ algorithms: only }, { algorithms: only })
 */
export function modern(crypto: CryptoProvider): Algorithms {
  const gcm = [aes256Gcm, aes128Gcm]
  const chacha = [chacha20Poly1305]
  return {
    kex: [
      mlkem768x25519Sha256,
      sntrup761x25519Sha512,
      sntrup761x25519Sha512OpenSsh,
      mlkem768nistp256Sha256,
      mlkem1024nistp384Sha384,
      curve25519Sha256,
      curve25519Sha256Libssh,
      ecdhNistp256,
      ecdhNistp384,
      ecdhNistp521,
      group16Sha512,
      group18Sha512,
      group14Sha256,
      groupExchangeSha256,
    ],
    // Certificates last, and keys that few hosts have before them: a client that knows an authority of the host puts them first.
    hostKeys: [...plainSignatures, skEd25519, skEcdsaNistp256, ...certificateSignatures],
    ciphers: [
      ...(crypto.fast.has('aes-gcm') ? [...gcm, ...chacha] : [...chacha, ...gcm]),
      aes256Ctr,
      aes192Ctr,
      aes128Ctr,
    ],
    macs: [hmacSha256Etm, hmacSha512Etm, hmacSha256, hmacSha512],
    compression: [{ name: 'none' }],
    userKeys: [...plainSignatures, ...securityKeySignatures, ...certificateSignatures],
  }
}
