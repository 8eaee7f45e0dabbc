/**
 * RSA and finite-field Diffie-Hellman of `node:crypto`. Their known-answer tests cost milliseconds
 * and few connections use either, so they run when a primitive is first used.
 */
import { bytesOf, integer, shortBytesOf } from './big-integers.ts'
import { equalBytes } from './equal-bytes.ts'
import { fromHex } from './hex.ts'
import { isModpPrime, modpPrime, modpPrimeBytes } from './modp-groups.ts'
import { nobleCrypto } from './noble.ts'
import {
  abc,
  type Bytes,
  fromBase64Url,
  type Jwk,
  type NodeCrypto,
  type Override,
  padded,
  plain,
  succeeds,
  toBase64Url,
} from './node-crypto.ts'
import { RSA_BITS_MAX, RSA_BITS_MIN, rsaFromPrimes } from './portable-rsa.ts'
import type { CryptoProvider, RsaPublicKey } from './provider.ts'

/** RSA and modular powers in native code. */
export function finiteFieldOverrides(node: NodeCrypto): readonly Override[] {
  return [rsa(node), modPow(node)]
}

/** Chooses at first use: the native implementation if it works, else the portable one. */
function atFirstUse<T>(native: T, portable: T, works: () => boolean): () => T {
  let chosen: T | undefined
  return () => {
    chosen ??= succeeds(works) ? native : portable
    return chosen
  }
}

function rsa(node: NodeCrypto): Override {
  const publicKey = (key: RsaPublicKey): Jwk => ({
    kty: 'RSA',
    n: toBase64Url(key.modulus),
    e: toBase64Url(key.publicExponent),
  })
  const native: CryptoProvider['rsa'] = {
    generate(bits) {
      if (!(bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX)) {
        throw new RangeError(`bits: must be from ${RSA_BITS_MIN} to ${RSA_BITS_MAX}`)
      }
      const generated = node.generateKeyPairSync('rsa', {
        modulusLength: bits,
        publicExponent: 65537,
        privateKeyEncoding: { format: 'der', type: 'pkcs8' },
      })
      // By way of DER: Node 20 locks up if it collects the garbage of the generation while it
      // exports the very key that came out of it.
      const der = { key: generated.privateKey, format: 'der', type: 'pkcs8' } as const
      const { n, e, d, p, q, qi } = node.createPrivateKey(der).export({ format: 'jwk' })
      return {
        modulus: fromBase64Url(n),
        publicExponent: fromBase64Url(e),
        privateExponent: fromBase64Url(d),
        primeP: fromBase64Url(p),
        primeQ: fromBase64Url(q),
        coefficient: fromBase64Url(qi),
      }
    },
    sign(hash, key, data) {
      const d = integer(key.privateExponent)
      const remainder = (prime: Bytes): string =>
        toBase64Url(shortBytesOf(d % (integer(prime) - 1n)))
      const jwk: Jwk = {
        ...publicKey(key),
        d: toBase64Url(key.privateExponent),
        p: toBase64Url(key.primeP),
        q: toBase64Url(key.primeQ),
        dp: remainder(key.primeP),
        dq: remainder(key.primeQ),
        qi: toBase64Url(key.coefficient),
      }
      return plain(node.sign(hash, data, node.createPrivateKey({ key: jwk, format: 'jwk' })))
    },
    verify(hash, key, data, signature) {
      try {
        const imported = node.createPublicKey({ key: publicKey(key), format: 'jwk' })
        return node.verify(hash, data, imported, signature)
      } catch {
        return false
      }
    },
  }
  function works(): boolean {
    // A key out of two safe primes that everybody knows; these signatures have no randomness.
    const key = rsaFromPrimes(modpPrime(1536), modpPrime(1024), 65537n)
    const signature = native.sign('sha256', key, abc)
    const digest = plain(node.createHash('sha256').update(signature).digest())
    return (
      equalBytes(digest, fromHex(RSA_KNOWN_SIGNATURE_SHA256)) &&
      native.verify('sha256', key, abc, signature) &&
      !native.verify('sha512', key, abc, signature)
    )
  }
  const on = atFirstUse(native, nobleCrypto.rsa, works)
  return {
    primitive: 'rsa',
    override: {
      rsa: {
        generate: (bits) => on().generate(bits),
        sign: (hash, key, data) => on().sign(hash, key, data),
        verify: (hash, key, data, signature) => on().verify(hash, key, data, signature),
      },
    },
    works: () => typeof node.generateKeyPairSync === 'function',
  }
}

/** Of the signature over "abc" with SHA-256 by the key above; the portable code gives the same. */
const RSA_KNOWN_SIGNATURE_SHA256 =
  '1498ab5c922f72e214e54f1f137c797a46cc6b9ed9eea465990be2faa82b5ef4'

/** Portable code needs some milliseconds for what is tried out, native code less than one. */
const SLOW_MS = 100

/**
 * OpenSSL knows the groups of RFC 3526 and then skips its test for primes. Of any other prime, as
 * in group exchange, the test takes seconds, where the portable code takes some tens of
 * milliseconds.
 */
function modPow(node: NodeCrypto): Override {
  const native: CryptoProvider['modPow'] = (base, exponent, modulus) => {
    const own = node.createDiffieHellman(modulus, new Uint8Array([2]))
    own.setPrivateKey(exponent)
    return padded(own.computeSecret(base), modulus.length)
  }
  function works(): boolean {
    // 2^2048 in the group of 2048 bits is 2^2048 − p, because p has 2048 bits.
    const prime = modpPrime(2048)
    const exponent = new Uint8Array([8, 0])
    const started = performance.now()
    const power = native(new Uint8Array([2]), exponent, modpPrimeBytes(2048))
    // Bun tests the modulus for primality each time, for seconds if it is long: not worth having.
    if (performance.now() - started > SLOW_MS) return false
    const minusOne = bytesOf(prime - 1n, 256)
    return (
      integer(power) === (1n << 2048n) - prime &&
      !succeeds(() => native(minusOne, exponent, modpPrimeBytes(2048)).length > 0)
    )
  }
  const on = atFirstUse(native, nobleCrypto.modPow, works)
  return {
    primitive: 'modpow',
    override: {
      modPow: (base, exponent, modulus) =>
        (isModpPrime(modulus) ? on() : nobleCrypto.modPow)(base, exponent, modulus),
    },
    works: () => typeof node.createDiffieHellman === 'function',
  }
}
