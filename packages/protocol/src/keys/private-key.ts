/** Private keys held in memory: make, read, write and sign with them. */
import { defaultCrypto } from '../crypto/native.ts'
import type { CryptoProvider, HashName } from '../crypto/provider.ts'
import { SshError } from '../errors.ts'
import { Writer } from '../wire/writer.ts'
import { parseKeyMaterial } from './key-file.ts'
import { EC_BYTES, type KeyMaterial, publicKeyOf } from './key-material.ts'
import { encodeOpenSshKey } from './openssh-format.ts'
import { encodePkcs8 } from './pem.ts'
import type { PublicKey, Signer } from './public-key.ts'

/** Kinds of key that `generateKey` makes. */
export type KeyKind =
  | 'ed25519'
  | 'ecdsa-nistp256'
  | 'ecdsa-nistp384'
  | 'ecdsa-nistp521'
  | 'rsa-3072'
  | 'rsa-4096'

/** What a key is made or read with. */
export interface KeyOptions {
  /** Goes into public key lines and key files. */
  readonly comment?: string
  /** Default: `defaultCrypto()`. */
  readonly crypto?: CryptoProvider
}

/**
 * A private key that signs in this process. The secret is in a private field: it shows neither in
 * `toString`, JSON nor an inspector, and leaves only through the methods that say so.
 *
 * @example
 * import { generateKey, parsePrivateKey } from '@sandbox-ssh/protocol'
 *
 * const key = generateKey('ecdsa-nistp256')
 * const file = key.toOpenSsh('ada@desk')
 * console.log(file.split('\n')[0]) // -----BEGIN OPENSSH PRIVATE KEY-----
 * console.log((await parsePrivateKey(file)).publicKey.equals(key.publicKey)) // true
 */
export class PrivateKey implements Signer {
  readonly publicKey: PublicKey
  readonly algorithms: readonly string[]
  readonly #material: KeyMaterial
  readonly #crypto: CryptoProvider

  /**
   * Takes `material` over; it must not be changed afterwards.
   * Throws SshError `SSH_KEY_INVALID` if a secret is out of range.
   */
  constructor(material: KeyMaterial, options: KeyOptions = {}) {
    this.#material = material
    this.#crypto = options.crypto ?? defaultCrypto()
    this.publicKey = publicKeyOf(this.#crypto, material, options.comment ?? '')
    this.algorithms = material.kind === 'rsa' ? Object.keys(RSA_HASHES) : [this.publicKey.type]
  }

  /** A signature blob, RFC 4253 §6.6. Throws SshError `SSH_SIGN` for an algorithm not its own. */
  sign(data: Uint8Array, algorithm: string): Uint8Array {
    if (!this.algorithms.includes(algorithm)) {
      throw new SshError('SSH_SIGN', `a ${this.publicKey.type} key cannot sign with ${algorithm}`)
    }
    return new Writer(600).string(algorithm).string(this.#signatureOf(data, algorithm)).finish()
  }

  /** An unencrypted openssh-key-v1 file, as `ssh-keygen -N ''` writes it. Guard it. */
  toOpenSsh(comment: string = this.publicKey.comment): string {
    return encodeOpenSshKey(this.#crypto, this.#material, this.publicKey, comment)
  }

  /**
   * An openssh-key-v1 file encrypted with aes256-ctr under bcrypt_pbkdf, as `ssh-keygen` writes it.
   * `rounds` (default 24) makes guessing, and every use, slower in proportion.
   */
  toEncryptedOpenSsh(
    passphrase: string | Uint8Array,
    options: { readonly comment?: string; readonly rounds?: number } = {},
  ): string {
    const secret = passphraseBytes(passphrase)
    if (secret === undefined) throw new TypeError('passphrase: must not be empty')
    const encryption = { passphrase: secret, ...(options.rounds && { rounds: options.rounds }) }
    const comment = options.comment ?? this.publicKey.comment
    return encodeOpenSshKey(this.#crypto, this.#material, this.publicKey, comment, encryption)
  }

  /**
   * An unencrypted PKCS #8 file in PEM, for OpenSSL and WebCrypto. Guard it.
   *
   * @example
   * import { createPrivateKey } from 'node:crypto'
   * import { generateKey } from '@sandbox-ssh/protocol'
   *
   * const key = generateKey('ecdsa-nistp256')
   * console.log(createPrivateKey(key.toPkcs8()).asymmetricKeyType) // ec
   * // What shows in logs is no secret.
   * console.log(String(key), JSON.stringify({ key }).includes('PRIVATE KEY')) // PrivateKey … false
   * console.log(key.toString() === key.toJSON()) // true
   */
  toPkcs8(): string {
    return encodePkcs8(this.#material, this.publicKey)
  }

  /** Says which key it is, never the secret. */
  toString(): string {
    return `PrivateKey ${this.publicKey.type} ${this.publicKey.fingerprint()}`
  }

  toJSON(): string {
    return this.toString()
  }

  #signatureOf(data: Uint8Array, algorithm: string): Uint8Array {
    const material = this.#material
    switch (material.kind) {
      case 'ed25519':
        return this.#crypto.ed25519.sign(material.seed, data)
      case 'ecdsa': {
        const fixed = this.#crypto.ecdsa.sign(material.curve, material.scalar, data)
        const width = EC_BYTES[material.curve]
        return new Writer(160).mpint(fixed.subarray(0, width)).mpint(fixed.subarray(width)).finish()
      }
      case 'rsa':
        try {
          return this.#crypto.rsa.sign(RSA_HASHES[algorithm] ?? 'sha256', material.numbers, data)
        } catch {
          // The cause could quote the key.
          throw new SshError('SSH_SIGN', 'the RSA key cannot sign')
        }
    }
  }
}

/** RFC 8332 §3, best first. */
const RSA_HASHES: Readonly<Record<string, HashName>> = {
  'rsa-sha2-512': 'sha512',
  'rsa-sha2-256': 'sha256',
}

/**
 * Makes a new key pair. RSA takes a second or so, and many in portable code.
 *
 * @example
 * import { generateKey } from '@sandbox-ssh/protocol'
 *
 * const key = generateKey('ed25519')
 * console.log(key.publicKey.type, key.publicKey.fingerprint()) // ssh-ed25519 SHA256:…
 */
export function generateKey(kind: KeyKind, options: KeyOptions = {}): PrivateKey {
  const crypto = options.crypto ?? defaultCrypto()
  return new PrivateKey(generateMaterial(kind, crypto), { ...options, crypto })
}

function generateMaterial(kind: KeyKind, crypto: CryptoProvider): KeyMaterial {
  switch (kind) {
    case 'ed25519':
      return { kind: 'ed25519', seed: crypto.ed25519.generate().secretKey }
    case 'ecdsa-nistp256':
      return {
        kind: 'ecdsa',
        curve: 'nistp256',
        scalar: crypto.ecdsa.generate('nistp256').secretKey,
      }
    case 'ecdsa-nistp384':
      return {
        kind: 'ecdsa',
        curve: 'nistp384',
        scalar: crypto.ecdsa.generate('nistp384').secretKey,
      }
    case 'ecdsa-nistp521':
      return {
        kind: 'ecdsa',
        curve: 'nistp521',
        scalar: crypto.ecdsa.generate('nistp521').secretKey,
      }
    case 'rsa-3072':
      return { kind: 'rsa', numbers: crypto.rsa.generate(3072) }
    case 'rsa-4096':
      return { kind: 'rsa', numbers: crypto.rsa.generate(4096) }
    default:
      throw new TypeError(`kind: unknown kind of key ${String(kind)}`)
  }
}

/**
 * Reads a private key file, encrypted or not: of OpenSSH, PKCS #8, PKCS #1, SEC 1 or PuTTY (2 and 3).
 * An empty passphrase counts as none.
 * Rejects with SshError `SSH_KEY_INVALID`, saying what was found, or `SSH_KEY_PASSPHRASE` if a
 * passphrase is needed or wrong.
 *
 * @example
 * import { generateKey, parsePrivateKey } from '@sandbox-ssh/protocol'
 *
 * const file = generateKey('ed25519').toEncryptedOpenSsh('open sesame')
 * const key = await parsePrivateKey(file, 'open sesame')
 * console.log(key.publicKey.type) // ssh-ed25519
 * const wrong = await parsePrivateKey(file).catch(({ code }) => code)
 * console.log(wrong) // SSH_KEY_PASSPHRASE
 */
export async function parsePrivateKey(
  text: string,
  passphrase?: string | Uint8Array,
  options: KeyOptions = {},
): Promise<PrivateKey> {
  const crypto = options.crypto ?? defaultCrypto()
  const secret = passphraseBytes(passphrase)
  const { material, comment } = await parseKeyMaterial(crypto, text, secret)
  return new PrivateKey(material, { comment, ...options, crypto })
}

function passphraseBytes(passphrase: string | Uint8Array | undefined): Uint8Array | undefined {
  const bytes = typeof passphrase === 'string' ? new TextEncoder().encode(passphrase) : passphrase
  return bytes?.length === 0 ? undefined : bytes
}
