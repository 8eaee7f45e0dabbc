/**
 * Key exchange over elliptic curves, in one round trip. K is an mpint (RFC 4253 §8). Those that
 * withstand quantum computers are in `hybrid.ts`, those over finite fields in `group-kex.ts`.
 */
import type { CurveName, HashName } from '../crypto/provider.ts'
import { Writer } from '../wire/writer.ts'
import { agreed } from './agreed.ts'
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

function mpint(magnitude: Uint8Array): Uint8Array {
  return new Writer(magnitude.length + 5).mpint(magnitude).finish()
}

function sized(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length !== length) throw new RangeError(`${bytes.length} bytes instead of ${length}`)
  return bytes
}
