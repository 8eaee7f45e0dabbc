/**
 * Signing with keys of WebCrypto, which need not be extractable: a page or a worker can keep one in
 * IndexedDB, and no script can read it.
 */
import { faultOfRsaKey, isSoundRsaKey } from '../crypto/portable-rsa.ts'
import type { CurveName } from '../crypto/provider.ts'
import { SshError } from '../errors.ts'
import { Writer } from '../wire/writer.ts'
import { decodeBase64 } from './base64.ts'
import { invalidKey } from './key-errors.ts'
import { EC_BYTES, ecdsaBlob, ed25519Blob, rsaBlob } from './key-material.ts'
import { PublicKey, type Signer } from './public-key.ts'

/** As the runtime in force declares it: Node's own types have it under another name than browsers'. */
type CryptoKey = Parameters<typeof crypto.subtle.sign>[1]

/** A `CryptoKeyPair`. The private half must be allowed to `sign`; the public one is exported. */
export interface WebCryptoPair {
  readonly privateKey: object
  readonly publicKey: object
}

/** What tells one kind of key from another in WebCrypto. */
interface KeyAlgorithm {
  readonly name: string
  readonly hash?: { readonly name: string }
  readonly namedCurve?: string
}

/** WebCrypto ties an RSA key to one hash, RFC 8332 §3 a name to each. */
const RSA_NAMES: ReadonlyMap<string, string> = new Map([
  ['SHA-256', 'rsa-sha2-256'],
  ['SHA-512', 'rsa-sha2-512'],
])

/** RFC 5656 §6.2.1 ties a hash to the size of the curve. */
const CURVES: ReadonlyMap<string, { readonly curve: CurveName; readonly hash: string }> = new Map([
  ['P-256', { curve: 'nistp256', hash: 'SHA-256' }],
  ['P-384', { curve: 'nistp384', hash: 'SHA-384' }],
  ['P-521', { curve: 'nistp521', hash: 'SHA-512' }],
])

/**
 * A signer for users and hosts whose signatures WebCrypto makes: `RSASSA-PKCS1-v1_5` with SHA-256 or
 * SHA-512 (the key signs with that hash alone), `ECDSA`, and `Ed25519` where the runtime has it.
 * Throws TypeError for another kind of key, SshError `SSH_KEY_INVALID` for an RSA key under 2048
 * bits. Its `sign` throws SshError `SSH_SIGN` if the runtime refuses to sign.
 *
 * @example
 * import { webCryptoSigner } from '@sandbox-ssh/protocol'
 *
 * const algorithm = {
 *   name: 'RSASSA-PKCS1-v1_5',
 *   hash: 'SHA-512',
 *   modulusLength: 3072,
 *   publicExponent: new Uint8Array([1, 0, 1]),
 * }
 * const pairOfKeys = await crypto.subtle.generateKey(algorithm, false, ['sign', 'verify'])
 * const signer = await webCryptoSigner(pairOfKeys, 'ada in a browser')
 * console.log(signer.publicKey.type, signer.algorithms) // ssh-rsa [ 'rsa-sha2-512' ]
 */
export async function webCryptoSigner(pair: WebCryptoPair, comment = ''): Promise<Signer> {
  const privateKey = cryptoKey(pair?.privateKey, 'privateKey', 'private')
  const publicKey = cryptoKey(pair?.publicKey, 'publicKey', 'public')
  const { name, hash, namedCurve = '' } = privateKey.algorithm as KeyAlgorithm
  const exported = async (): Promise<Uint8Array> =>
    new Uint8Array(await crypto.subtle.exportKey('raw', publicKey))
  if (!publicKey.extractable) throw new TypeError('publicKey: must be extractable')
  switch (name) {
    case 'RSASSA-PKCS1-v1_5': {
      const algorithm = RSA_NAMES.get(hash?.name ?? '')
      if (algorithm === undefined) {
        throw new TypeError(`privateKey: is for ${hash?.name}, SSH wants SHA-256 or SHA-512`)
      }
      const { n, e } = await crypto.subtle.exportKey('jwk', publicKey)
      const numbers = { modulus: magnitude(n), publicExponent: magnitude(e) }
      if (!isSoundRsaKey(numbers)) {
        throw invalidKey(faultOfRsaKey(numbers))
      }
      return signer(privateKey, { name }, rsaBlob(numbers), comment, algorithm)
    }
    case 'ECDSA': {
      const known = CURVES.get(namedCurve)
      if (known === undefined) throw new TypeError(`privateKey: SSH has no curve ${namedCurve}`)
      const { curve } = known
      const width = EC_BYTES[curve]
      const integers = (fixed: Uint8Array): Uint8Array =>
        new Writer(160).mpint(fixed.subarray(0, width)).mpint(fixed.subarray(width)).finish()
      const blob = ecdsaBlob(curve, await exported())
      const parameters = { name, hash: known.hash }
      return signer(privateKey, parameters, blob, comment, `ecdsa-sha2-${curve}`, integers)
    }
    case 'Ed25519':
      return signer(privateKey, { name }, ed25519Blob(await exported()), comment, 'ssh-ed25519')
    default:
      throw new TypeError(`privateKey: is for ${name}, with which SSH does not sign`)
  }
}

/** `encode` makes of what WebCrypto gives what goes behind the name of the signature. */
function signer(
  key: CryptoKey,
  parameters: { readonly name: string; readonly hash?: string },
  blob: Uint8Array,
  comment: string,
  algorithm: string,
  encode: (signature: Uint8Array) => Uint8Array = (signature) => signature,
): Signer {
  const publicKey = PublicKey.fromBlob(blob, comment)
  return {
    publicKey,
    algorithms: [algorithm],
    async sign(data, asked) {
      if (asked !== algorithm) {
        throw new SshError('SSH_SIGN', `this ${publicKey.type} key cannot sign with ${asked}`)
      }
      let signature: ArrayBuffer
      try {
        signature = await crypto.subtle.sign(parameters, key, Uint8Array.from(data))
      } catch (cause) {
        throw new SshError('SSH_SIGN', 'WebCrypto refuses to sign with the key', { cause })
      }
      const value = encode(new Uint8Array(signature))
      return new Writer(600).string(algorithm).string(value).finish()
    },
  }
}

function cryptoKey(value: unknown, name: string, type: string): CryptoKey {
  if ((value as CryptoKey | undefined)?.type !== type) {
    throw new TypeError(`${name}: must be the ${type} half of a pair of keys of WebCrypto`)
  }
  const key = value as CryptoKey
  if (type === 'private' && !key.usages.includes('sign')) {
    throw new TypeError(`${name}: may not sign`)
  }
  return key
}

/** A number of a JSON Web Key, RFC 7518 §2: base64 for URLs, without padding. */
function magnitude(text = ''): Uint8Array {
  const padded = text.replaceAll('-', '+').replaceAll('_', '/').replace(/=+$/, '')
  const digits = decodeBase64(padded.padEnd(Math.ceil(padded.length / 4) * 4, '='))
  if (digits === undefined) throw invalidKey('the RSA key has no numbers')
  return digits
}
