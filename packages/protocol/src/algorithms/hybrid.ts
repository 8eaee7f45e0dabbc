/**
 * Key exchange that withstands quantum computers as long as either half does: a key encapsulation
 * and an elliptic curve side by side. INIT is `encapsulation key ‖ curve point`, REPLY is
 * `ciphertext ‖ curve point`, and K = HASH(encapsulated secret ‖ curve secret) as a string.
 */
import type { CryptoProvider, HashName, KeyPair } from '../crypto/provider.ts'
import {
  SNTRUP761_CIPHERTEXT_BYTES,
  SNTRUP761_PUBLIC_KEY_BYTES,
  sntrup761Decapsulate,
  sntrup761Encapsulate,
  sntrup761Generate,
} from '../crypto/sntrup761.ts'
import { Writer } from '../wire/writer.ts'
import { agreed } from './agreed.ts'
import type { KexSpec } from './spec.ts'

/** A key encapsulation mechanism. All but `generate` throw on values of a wrong form. */
interface Encapsulation {
  readonly publicKeyBytes: number
  readonly ciphertextBytes: number
  generate(crypto: CryptoProvider): KeyPair
  encapsulate(
    crypto: CryptoProvider,
    publicKey: Uint8Array,
  ): { readonly ciphertext: Uint8Array; readonly sharedSecret: Uint8Array }
  decapsulate(crypto: CryptoProvider, secretKey: Uint8Array, ciphertext: Uint8Array): Uint8Array
}

/** Diffie-Hellman on a curve; the secret has a fixed width. */
interface Curve {
  readonly pointBytes: number
  generate(crypto: CryptoProvider): KeyPair
  agree(crypto: CryptoProvider, secretKey: Uint8Array, point: Uint8Array): Uint8Array
}

/** Sizes of FIPS 203 §8. */
function mlKem(parameters: 768 | 1024, publicKeyBytes: number, ciphertextBytes: number) {
  const kem: Encapsulation = {
    publicKeyBytes,
    ciphertextBytes,
    generate: (crypto) => crypto.mlKem.generate(parameters),
    encapsulate: (crypto, publicKey) => crypto.mlKem.encapsulate(parameters, publicKey),
    decapsulate: (crypto, secretKey, ciphertext) =>
      crypto.mlKem.decapsulate(parameters, secretKey, ciphertext),
  }
  return kem
}

const sntrup761: Encapsulation = {
  publicKeyBytes: SNTRUP761_PUBLIC_KEY_BYTES,
  ciphertextBytes: SNTRUP761_CIPHERTEXT_BYTES,
  generate: sntrup761Generate,
  encapsulate: sntrup761Encapsulate,
  decapsulate: sntrup761Decapsulate,
}

const x25519: Curve = {
  pointBytes: 32,
  generate: (crypto) => crypto.x25519.generate(),
  agree: (crypto, secretKey, point) => crypto.x25519.agree(secretKey, point),
}

function nist(curve: 'nistp256' | 'nistp384', pointBytes: number): Curve {
  return {
    pointBytes,
    generate: (crypto) => crypto.ecdh.generate(curve),
    agree: (crypto, secretKey, point) => crypto.ecdh.agree(curve, secretKey, point),
  }
}

function hybrid(name: string, hash: HashName, kem: Encapsulation, curve: Curve): KexSpec {
  const secretOf = (crypto: CryptoProvider, first: Uint8Array, second: Uint8Array): Uint8Array =>
    new Writer().string(crypto.hash(hash, first, second)).finish()
  return {
    name,
    hash,
    postQuantum: true,
    initiate(crypto) {
      const own = kem.generate(crypto)
      const pair = curve.generate(crypto)
      return {
        init: joined(own.publicKey, pair.publicKey),
        finish: (reply) =>
          agreed(name, () => {
            const [ciphertext, point] = split(reply, kem.ciphertextBytes, curve.pointBytes)
            return secretOf(
              crypto,
              kem.decapsulate(crypto, own.secretKey, ciphertext),
              curve.agree(crypto, pair.secretKey, point),
            )
          }),
      }
    },
    respond(crypto, init) {
      return agreed(name, () => {
        const [publicKey, point] = split(init, kem.publicKeyBytes, curve.pointBytes)
        const { ciphertext, sharedSecret } = kem.encapsulate(crypto, publicKey)
        const pair = curve.generate(crypto)
        return {
          reply: joined(ciphertext, pair.publicKey),
          sharedSecret: secretOf(crypto, sharedSecret, curve.agree(crypto, pair.secretKey, point)),
        }
      })
    },
  }
}

const mlKem768 = mlKem(768, 1184, 1088)
const mlKem1024 = mlKem(1024, 1568, 1568)

/** RFC 10042; what OpenSSH prefers since 10.0. */
export const mlkem768x25519Sha256: KexSpec = hybrid(
  'mlkem768x25519-sha256',
  'sha256',
  mlKem768,
  x25519,
)
/** RFC 10042. */
export const mlkem768nistp256Sha256: KexSpec = hybrid(
  'mlkem768nistp256-sha256',
  'sha256',
  mlKem768,
  nist('nistp256', 65),
)
/** RFC 10042. */
export const mlkem1024nistp384Sha384: KexSpec = hybrid(
  'mlkem1024nistp384-sha384',
  'sha384',
  mlKem1024,
  nist('nistp384', 97),
)
/** RFC 9941; the only one of OpenSSH 8.5 to 9.8. */
export const sntrup761x25519Sha512: KexSpec = hybrid(
  'sntrup761x25519-sha512',
  'sha512',
  sntrup761,
  x25519,
)
/** The same under the name it had before RFC 9941. */
export const sntrup761x25519Sha512OpenSsh: KexSpec = hybrid(
  'sntrup761x25519-sha512@openssh.com',
  'sha512',
  sntrup761,
  x25519,
)

function split(bytes: Uint8Array, first: number, second: number): [Uint8Array, Uint8Array] {
  if (bytes.length !== first + second) {
    throw new RangeError(`${bytes.length} bytes instead of ${first + second}`)
  }
  return [bytes.subarray(0, first), bytes.subarray(first)]
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(first.length + second.length)
  bytes.set(first)
  bytes.set(second, first.length)
  return bytes
}
