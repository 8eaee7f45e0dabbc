/** What a private key consists of, as plain data between the file formats and `PrivateKey`. */
import { integer } from '../crypto/big-integers.ts'
import { faultOfRsaKey, isSoundRsaKey } from '../crypto/portable-rsa.ts'
import type { CryptoProvider, CurveName, RsaPrivateKey, RsaPublicKey } from '../crypto/provider.ts'
import { Writer } from '../wire/writer.ts'
import { invalidKey } from './key-errors.ts'
import { PublicKey } from './public-key.ts'

/** Secret numbers of one key. Handle with care: nothing hides them here. */
export type KeyMaterial =
  | {
      readonly kind: 'ed25519'
      /** The 32 bytes of RFC 8032 §5.1.5. */
      readonly seed: Uint8Array
    }
  | {
      readonly kind: 'ecdsa'
      readonly curve: CurveName
      /** Big-endian, as long as a coordinate. */
      readonly scalar: Uint8Array
    }
  | {
      readonly kind: 'rsa'
      readonly numbers: RsaPrivateKey
    }

/** Bytes of a coordinate and of a scalar. */
export const EC_BYTES: Readonly<Record<CurveName, number>> = {
  nistp256: 32,
  nistp384: 48,
  nistp521: 66,
}

/** The curve of that name in a key blob, or undefined. */
export function curveNamed(name: string): CurveName | undefined {
  return name === 'nistp256' || name === 'nistp384' || name === 'nistp521' ? name : undefined
}

/** An ed25519 key blob, RFC 8709 §4. */
export function ed25519Blob(point: Uint8Array): Uint8Array {
  return new Writer().string('ssh-ed25519').string(point).finish()
}

/** An ECDSA key blob, RFC 5656 §3.1. */
export function ecdsaBlob(curve: CurveName, point: Uint8Array): Uint8Array {
  return new Writer().string(`ecdsa-sha2-${curve}`).string(curve).string(point).finish()
}

/** An RSA key blob, RFC 4253 §6.6. */
export function rsaBlob({ publicExponent, modulus }: RsaPublicKey): Uint8Array {
  return new Writer().string('ssh-rsa').mpint(publicExponent).mpint(modulus).finish()
}

/**
 * The public key computed from the secret, which is the only one to be trusted: a file whose two
 * halves do not belong together would make an Ed25519 signer leak its secret.
 * Throws SshError `SSH_KEY_INVALID` if the secret is out of range.
 */
export function publicKeyOf(
  crypto: CryptoProvider,
  material: KeyMaterial,
  comment: string,
): PublicKey {
  return PublicKey.fromBlob(publicBlobOf(crypto, material), comment)
}

function publicBlobOf(crypto: CryptoProvider, material: KeyMaterial): Uint8Array {
  if (material.kind === 'rsa') {
    checkRsa(material.numbers)
    return rsaBlob(material.numbers)
  }
  try {
    return material.kind === 'ed25519'
      ? ed25519Blob(crypto.ed25519.publicKey(material.seed))
      : ecdsaBlob(material.curve, crypto.ecdsa.publicKey(material.curve, material.scalar))
  } catch {
    // The cause is left out: libraries like to quote the number they refuse.
    throw invalidKey(`the ${material.kind} secret is out of range`)
  }
}

/** That the numbers belong together, which no later use would notice in time. */
function checkRsa(numbers: RsaPrivateKey): void {
  if (!isSoundRsaKey(numbers)) {
    throw invalidKey(faultOfRsaKey(numbers))
  }
  const p = integer(numbers.primeP)
  const q = integer(numbers.primeQ)
  const d = integer(numbers.privateExponent)
  const e = integer(numbers.publicExponent)
  const together =
    p > 2n &&
    q > 2n &&
    p * q === integer(numbers.modulus) &&
    (d * e) % (p - 1n) === 1n &&
    (d * e) % (q - 1n) === 1n &&
    (q * integer(numbers.coefficient)) % p === 1n
  if (!together) throw invalidKey('the numbers of the RSA key do not belong together')
}

/** A magnitude with leading zeros up to `length`. Throws SshError `SSH_KEY_INVALID` if longer. */
export function unsigned(magnitude: Uint8Array, length: number): Uint8Array {
  let start = 0
  while (start < magnitude.length && magnitude[start] === 0) start++
  const digits = magnitude.subarray(start)
  if (digits.length > length) throw invalidKey('a number of the key is too large')
  const full = new Uint8Array(length)
  full.set(digits, length - digits.length)
  return full
}
