/** Signatures over files and messages, as `ssh-keygen -Y` makes them: OpenSSH PROTOCOL.sshsig. */
import { modern } from '../algorithms/modern.ts'
import type { SignaturePolicy } from '../algorithms/spec.ts'
import { equalBytes } from '../crypto/equal-bytes.ts'
import { defaultCrypto } from '../crypto/native.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import type { WaitOptions } from '../wait.ts'
import { Reader } from '../wire/reader.ts'
import { Writer } from '../wire/writer.ts'
import { decodeBase64, encodeBase64 } from './base64.ts'
import { asKeyError, invalidKey } from './key-errors.ts'
import { PublicKey, type Signer } from './public-key.ts'

const MAGIC = new TextEncoder().encode('SSHSIG')
const VERSION = 1
const LABEL = 'SSH SIGNATURE'
const TEXT_CHARACTERS_MAX = 64 * 1024

/** Hashes of the message that PROTOCOL.sshsig allows. */
export type MessageHash = 'sha256' | 'sha512'

/** How to sign. */
export interface MessageOptions extends WaitOptions {
  /** Default: sha512. */
  readonly hash?: MessageHash
  readonly crypto?: CryptoProvider
}

/**
 * Signs a message for a purpose. The namespace, such as `file` or `git`, is part of what is signed,
 * so that a signature for one purpose cannot be passed off for another.
 * Rejects with TypeError for an empty namespace, or with what the signer rejects with.
 *
 * @example
 * import {
 *   allowedSigner,
 *   generateKey,
 *   parseAllowedSigners,
 *   signMessage,
 *   verifyMessage,
 * } from '@sandbox-ssh/protocol'
 *
 * const ada = generateKey('ed25519')
 * const release = new TextEncoder().encode('version 1')
 * const signature = await signMessage(ada, release, 'file')
 *
 * const key = verifyMessage(signature, release, 'file')
 * const { signers } = parseAllowedSigners(`ada@example.com ${ada.publicKey}`)
 * const principal = 'ada@example.com'
 * console.log(allowedSigner(signers, { principal, namespace: 'file', key })) // true
 */
export async function signMessage(
  signer: Signer,
  message: Uint8Array,
  namespace: string,
  options: MessageOptions = {},
): Promise<string> {
  if (namespace === '') throw new TypeError('namespace: must not be empty')
  const [algorithm] = signer.algorithms
  if (algorithm === undefined) throw new TypeError('signer: cannot sign')
  const crypto = options.crypto ?? defaultCrypto()
  const hash = options.hash ?? 'sha512'
  const { signal } = options
  const data = signedBytes(crypto, message, namespace, hash)
  const signature = await signer.sign(data, algorithm, { signal })
  const bytes = new Writer()
    .bytes(MAGIC)
    .uint32(VERSION)
    .string(signer.publicKey.blob)
    .string(namespace)
    .string('')
    .string(hash)
    .string(signature)
    .finish()
  const lines = encodeBase64(bytes).match(/.{1,70}/g) ?? []
  return `-----BEGIN ${LABEL}-----\n${lines.join('\n')}\n-----END ${LABEL}-----\n`
}

/** How to verify one. */
/** How to verify. */
export interface MessageVerification {
  /** Default: a security key must have been touched. */
  readonly policy?: SignaturePolicy
  readonly crypto?: CryptoProvider
}

/**
 * Verifies a signature over a message and gives the key that made it. Whether that key is anybody's
 * that counts is the next question: see `allowedSigner`.
 * Throws SshError `SSH_KEY_INVALID` if the signature is not good for message and namespace.
 *
 * @example
 * import { generateKey, signMessage, verifyMessage } from '@sandbox-ssh/protocol'
 *
 * const key = generateKey('ed25519')
 * const bytes = (text: string) => new TextEncoder().encode(text)
 * const signature = await signMessage(key, bytes('pay 1'), 'order')
 * console.log(verifyMessage(signature, bytes('pay 1'), 'order').equals(key.publicKey)) // true
 * try {
 *   verifyMessage(signature, bytes('pay 1000'), 'order')
 * } catch (error) {
 *   console.log((error as { code: string }).code) // SSH_KEY_INVALID
 * }
 */
export function verifyMessage(
  signature: string,
  message: Uint8Array,
  namespace: string,
  options: MessageVerification = {},
): PublicKey {
  const crypto = options.crypto ?? defaultCrypto()
  try {
    const reader = new Reader(unarmored(signature))
    if (!equalBytes(reader.bytes(MAGIC.length), MAGIC)) throw invalidKey('not a signature')
    const version = reader.uint32()
    if (version !== VERSION) throw invalidKey(`a signature of version ${version}`)
    const key = PublicKey.fromBlob(reader.string())
    const signedFor = reader.utf8(1024)
    reader.string()
    const hash = hashNamed(reader.ascii())
    const value = reader.string()
    reader.end()
    if (signedFor !== namespace) {
      throw invalidKey(`the signature is for "${signedFor}", not for "${namespace}"`)
    }
    const algorithm = new Reader(value).ascii()
    const spec = modern(crypto).userKeys.find(
      // A certificate's signature bears the plain name.
      ({ name, keyType }) =>
        keyType === key.type &&
        (name === algorithm || name === `${algorithm.replace(/@openssh\.com$/, '')}${CERTIFICATE}`),
    )
    const signed = signedBytes(crypto, message, namespace, hash)
    if (spec?.verify(crypto, key, signed, value, options.policy) !== true) {
      throw invalidKey('the signature does not fit the message')
    }
    return key
  } catch (error) {
    throw asKeyError(error)
  }
}

const CERTIFICATE = '-cert-v01@openssh.com'

function signedBytes(
  crypto: CryptoProvider,
  message: Uint8Array,
  namespace: string,
  hash: MessageHash,
): Uint8Array {
  return new Writer()
    .bytes(MAGIC)
    .string(namespace)
    .string('')
    .string(hash)
    .string(crypto.hash(hash, message))
    .finish()
}

function hashNamed(name: string): MessageHash {
  if (name === 'sha256' || name === 'sha512') return name
  throw invalidKey(`a signature with the hash ${name}`)
}

function unarmored(text: string): Uint8Array {
  const pattern = new RegExp(
    `^\\s*-----BEGIN ${LABEL}-----([A-Za-z0-9+/=\\s]*)-----END ${LABEL}-----`,
  )
  const body = text.length > TEXT_CHARACTERS_MAX ? undefined : pattern.exec(text)?.[1]
  const bytes = body === undefined ? undefined : decodeBase64(body.replace(/\s+/g, ''))
  if (bytes === undefined) throw invalidKey(`not a signature: no "BEGIN ${LABEL}" block`)
  return bytes
}
