/**
 * Diffie-Hellman over the groups of RFC 3526, RFC 4253 §8 and RFC 8268: for peers without elliptic
 * curves. e and f are mpints, whose bodies stand here for the strings of other methods.
 */
import { bytesOf, integer } from '../crypto/big-integers.ts'
import { type ModpBits, modpPrime, modpPrimeBytes } from '../crypto/modp-groups.ts'
import type { CryptoProvider, HashName } from '../crypto/provider.ts'
import { Writer } from '../wire/writer.ts'
import { agreed } from './agreed.ts'
import type { KexSpec } from './spec.ts'

/** Twice the strength of the strongest cipher, as RFC 4253 §8 and OpenSSH choose it. */
const EXPONENT_BYTES = 64
const GENERATOR = new Uint8Array([2])

function group(name: string, bits: ModpBits, hash: HashName): KexSpec {
  /** Our exponent and, as the body of an mpint, what it makes of the generator. */
  function generate(crypto: CryptoProvider): { exponent: Uint8Array; value: Uint8Array } {
    const exponent = crypto.random(EXPONENT_BYTES)
    return { exponent, value: body(crypto.modPow(GENERATOR, exponent, modpPrimeBytes(bits))) }
  }
  function finish(crypto: CryptoProvider, exponent: Uint8Array, peer: Uint8Array): Uint8Array {
    return agreed(name, () => {
      const value = integer(peer)
      checkForm(peer)
      // RFC 4253 §8 and RFC 8268 §4: 1 and p − 1 would make the secret known to everybody.
      if (value <= 1n || value >= modpPrime(bits) - 1n) throw new RangeError('out of range')
      const base = bytesOf(value, bits / 8)
      const secret = crypto.modPow(base, exponent, modpPrimeBytes(bits))
      exponent.fill(0)
      return new Writer(secret.length + 5).mpint(secret).finish()
    })
  }
  return {
    name,
    hash,
    postQuantum: false,
    initiate(crypto) {
      const { exponent, value } = generate(crypto)
      return { init: value, finish: (reply) => finish(crypto, exponent, reply) }
    },
    respond(crypto, init) {
      const { exponent, value } = generate(crypto)
      return { reply: value, sharedSecret: finish(crypto, exponent, init) }
    },
  }
}

/** Not negative and without needless zeros, RFC 4251 §5. */
function checkForm(body: Uint8Array): void {
  const [first = 0, second = 0] = body
  if (first & 0x80) throw new RangeError('negative')
  if (body.length > 1 && first === 0 && !(second & 0x80)) throw new RangeError('not minimal')
}

/** What an mpint holds behind its length. */
function body(magnitude: Uint8Array): Uint8Array {
  return new Writer(magnitude.length + 5).mpint(magnitude).finish().subarray(4)
}

/** 2048 bits; RFC 8268. */
export const group14Sha256: KexSpec = group('diffie-hellman-group14-sha256', 2048, 'sha256')
/** 4096 bits; RFC 8268. */
export const group16Sha512: KexSpec = group('diffie-hellman-group16-sha512', 4096, 'sha512')
/** 8192 bits; RFC 8268. */
export const group18Sha512: KexSpec = group('diffie-hellman-group18-sha512', 8192, 'sha512')
