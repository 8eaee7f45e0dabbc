/**
 * Key exchange methods of one round trip. Each gives K in its wire encoding: an mpint in the
 * classical ones (RFC 4253 §8), a string in the hybrid ones, where it is a hash.
 */
import type { CryptoProvider, CurveName, HashName } from '../crypto/provider.ts'
import { SshError } from '../errors.ts'
import { Writer } from '../wire/writer.ts'
import type { KexSpec } from './spec.ts'

/** RFC 8731. */
function curve25519(name: string): KexSpec {
  return {
    name,
    hash: 'sha256',
    postQuantum: false,
    initiate(crypto) {
      const pair = crypto.x25519.generate()
      return {
        init: pair.publicKey,
        finish: (reply) =>
          mpint(agreed(name, () => crypto.x25519.agree(pair.secretKey, sized(reply, 32)))),
      }
    },
    respond(crypto, init) {
      const pair = crypto.x25519.generate()
      const secret = agreed(name, () => crypto.x25519.agree(pair.secretKey, sized(init, 32)))
      return { reply: pair.publicKey, sharedSecret: mpint(secret) }
    },
  }
}

export const curve25519Sha256: KexSpec = curve25519('curve25519-sha256')
/** The same under the name it had before RFC 8731. */
export const curve25519Sha256Libssh: KexSpec = curve25519('curve25519-sha256@libssh.org')

/** RFC 5656 §4. */
function ecdh(curve: CurveName, hash: HashName): KexSpec {
  const name = `ecdh-sha2-${curve}`
  return {
    name,
    hash,
    postQuantum: false,
    initiate(crypto) {
      const pair = crypto.ecdh.generate(curve)
      return {
        init: pair.publicKey,
        finish: (reply) =>
          mpint(agreed(name, () => crypto.ecdh.agree(curve, pair.secretKey, reply))),
      }
    },
    respond(crypto, init) {
      const pair = crypto.ecdh.generate(curve)
      const secret = agreed(name, () => crypto.ecdh.agree(curve, pair.secretKey, init))
      return { reply: pair.publicKey, sharedSecret: mpint(secret) }
    },
  }
}

export const ecdhNistp256: KexSpec = ecdh('nistp256', 'sha256')
export const ecdhNistp384: KexSpec = ecdh('nistp384', 'sha384')
export const ecdhNistp521: KexSpec = ecdh('nistp521', 'sha512')

/** Sizes of FIPS 203 §8. */
const ML_KEM_768 = { publicKeyBytes: 1184, ciphertextBytes: 1088 } as const

/**
 * ML-KEM-768 with X25519, draft-ietf-sshm-mlkem-hybrid-kex: both public keys side by side, and
 * K = SHA-256(ML-KEM secret ‖ X25519 secret) as a string.
 */
export const mlkem768x25519Sha256: KexSpec = {
  name: 'mlkem768x25519-sha256',
  hash: 'sha256',
  postQuantum: true,
  initiate(crypto) {
    const kem = crypto.mlKem.generate(768)
    const pair = crypto.x25519.generate()
    return {
      init: joined(kem.publicKey, pair.publicKey),
      finish: (reply) =>
        agreed('mlkem768x25519-sha256', () => {
          const [ciphertext, point] = split(reply, ML_KEM_768.ciphertextBytes, 32)
          return hashed(
            crypto,
            crypto.mlKem.decapsulate(768, kem.secretKey, ciphertext),
            crypto.x25519.agree(pair.secretKey, point),
          )
        }),
    }
  },
  respond(crypto, init) {
    return agreed('mlkem768x25519-sha256', () => {
      const [publicKey, point] = split(init, ML_KEM_768.publicKeyBytes, 32)
      const { ciphertext, sharedSecret } = crypto.mlKem.encapsulate(768, publicKey)
      const pair = crypto.x25519.generate()
      return {
        reply: joined(ciphertext, pair.publicKey),
        sharedSecret: hashed(crypto, sharedSecret, crypto.x25519.agree(pair.secretKey, point)),
      }
    })
  },
}

/** Runs what a peer's value can make fail; whatever comes out of it is a failed key exchange. */
function agreed<T>(name: string, compute: () => T): T {
  try {
    return compute()
  } catch (cause) {
    throw new SshError('SSH_KEY_EXCHANGE', `the peer sent an invalid value for ${name}`, { cause })
  }
}

function hashed(crypto: CryptoProvider, ...secrets: readonly Uint8Array[]): Uint8Array {
  return new Writer().string(crypto.hash('sha256', ...secrets)).finish()
}

function mpint(magnitude: Uint8Array): Uint8Array {
  return new Writer(magnitude.length + 5).mpint(magnitude).finish()
}

function sized(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length !== length) throw new RangeError(`${bytes.length} bytes instead of ${length}`)
  return bytes
}

function split(bytes: Uint8Array, first: number, second: number): [Uint8Array, Uint8Array] {
  sized(bytes, first + second)
  return [bytes.subarray(0, first), bytes.subarray(first)]
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(first.length + second.length)
  bytes.set(first)
  bytes.set(second, first.length)
  return bytes
}
