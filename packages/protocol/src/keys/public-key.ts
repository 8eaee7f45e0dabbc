/** Public keys as SSH carries them, and the seam behind which private ones sign. */
import { sha256 } from '@noble/hashes/sha2.js'
import { SshError } from '../errors.ts'
import type { WaitOptions } from '../wait.ts'
import { Reader } from '../wire/reader.ts'
import { decodeBase64, encodeBase64 } from './base64.ts'

/**
 * A public key: its wire blob and what follows from it. Immutable.
 *
 * @example
 * import { generateKey, PublicKey } from '@sandbox-ssh/protocol'
 *
 * const line = `${generateKey('ed25519').publicKey} ada@desk`
 * const key = PublicKey.parse(line)
 * console.log(key.type, key.comment) // ssh-ed25519 ada@desk
 * console.log(key.toString() === line) // true
 */
export class PublicKey {
  /** Type at the head of the blob, such as `ssh-ed25519`. */
  readonly type: string
  /** RFC 4253 §6.6 encoding; never modify it. */
  readonly blob: Uint8Array
  /** Free text after the key in a public key line, or empty. */
  readonly comment: string

  private constructor(type: string, blob: Uint8Array, comment: string) {
    this.type = type
    this.blob = blob
    this.comment = comment
  }

  /** Takes a copy of `blob`. Throws SshError `SSH_KEY_INVALID` if it does not begin with a name. */
  static fromBlob(blob: Uint8Array, comment = ''): PublicKey {
    try {
      const copy = blob.slice()
      return new PublicKey(new Reader(copy).ascii(128), copy, comment)
    } catch (cause) {
      throw new SshError('SSH_KEY_INVALID', 'not a public key: no type name at its head', { cause })
    }
  }

  /**
   * Reads one public key line, `type base64 [comment]`.
   * Throws SshError `SSH_KEY_INVALID` saying what was found.
   */
  static parse(line: string): PublicKey {
    const [type = '', data = '', ...comment] = line.trim().split(/\s+/)
    const blob = decodeBase64(data)
    if (blob === undefined || blob.length === 0) {
      throw new SshError(
        'SSH_KEY_INVALID',
        'not a public key line: expected "TYPE BASE64 [COMMENT]"',
      )
    }
    const key = PublicKey.fromBlob(blob, comment.join(' '))
    if (key.type !== type) {
      throw new SshError('SSH_KEY_INVALID', `public key line says ${type}, its data ${key.type}`)
    }
    return key
  }

  /** `SHA256:…` in unpadded base64, as OpenSSH prints it. */
  fingerprint(): string {
    return `SHA256:${encodeBase64(sha256(this.blob)).replace(/=+$/, '')}`
  }

  /** True if both are the same key, comments aside. Public keys need no constant time. */
  equals(other: PublicKey): boolean {
    if (this.blob.length !== other.blob.length) return false
    return this.blob.every((byte, index) => byte === other.blob[index])
  }

  /** A public key line. */
  toString(): string {
    const line = `${this.type} ${encodeBase64(this.blob)}`
    return this.comment === '' ? line : `${line} ${this.comment}`
  }
}

/**
 * Something that signs with a private key it need not show: a key file, an agent, hardware.
 *
 * @example
 * import { generateKey, PublicKey, type Signer } from '@sandbox-ssh/protocol'
 *
 * // A key that is somewhere else, and asks before it is used.
 * const hidden = generateKey('ed25519')
 * const careful: Signer = {
 *   publicKey: PublicKey.fromBlob(hidden.publicKey.blob, 'in a safe'),
 *   algorithms: hidden.algorithms,
 *   sign: async (data, algorithm) => hidden.sign(data, algorithm),
 * }
 * console.log((await careful.sign(new Uint8Array(8), 'ssh-ed25519')).length) // 83
 */
export interface Signer {
  readonly publicKey: PublicKey
  /** Signature algorithms it can use, best first, such as `rsa-sha2-512`. */
  readonly algorithms: readonly string[]
  /**
   * A whole signature blob (`string name, string data`) over `data`, RFC 4253 §6.6.
   * Rejects with SshError `SSH_SIGN`. The signal fires when nobody waits for it any more: the
   * connection is gone, or its login was given up. One that waits for somebody to touch a key or to
   * answer a question should stop then; others need not look at it.
   */
  sign(data: Uint8Array, algorithm: string, options?: WaitOptions): Promise<Uint8Array> | Uint8Array
}
