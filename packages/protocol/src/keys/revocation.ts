/**
 * Keys and certificates that count no more: OpenSSH's key revocation lists (PROTOCOL.krl), as
 * `ssh-keygen -k` writes them, and plain texts. What cannot be understood is an error: a list of
 * which a part was skipped would let in whom that part names.
 */
import { defaultCrypto } from '../crypto/native.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { Reader } from '../wire/reader.ts'
import { encodeBase64 } from './base64.ts'
import { type Certificate, decodeCertificate, isCertificate } from './certificate.ts'
import { asKeyError, invalidKey } from './key-errors.ts'
import { PublicKey } from './public-key.ts'

const MAGIC = new TextEncoder().encode('SSHKRL\n\0')
const FORMAT_VERSION = 1
/** Longest bitmap of serial numbers that is read: eight million of them. */
const BITMAP_BYTES_MAX = 1 << 20

const SECTION = {
  CERTIFICATES: 1,
  KEYS: 2,
  SHA1: 3,
  SIGNATURE: 4,
  SHA256: 5,
  EXTENSION: 255,
} as const
const CERTIFICATES = {
  SERIALS: 0x20,
  RANGE: 0x21,
  BITMAP: 0x22,
  IDS: 0x23,
  EXTENSION: 0x39,
} as const

/** Certificates of one authority, or, without one, of any. */
interface RevokedCertificates {
  readonly authority: PublicKey | undefined
  readonly serials: Set<bigint>
  readonly ranges: [from: bigint, to: bigint][]
  readonly bitmaps: { readonly offset: bigint; readonly bits: Uint8Array }[]
  readonly keyIds: Set<string>
}

/**
 * A list of what is revoked.
 *
 * @example
 * import { generateKey, Revocations } from '@sandbox-ssh/protocol'
 *
 * const lost = generateKey('ed25519').publicKey
 * const list = Revocations.parse(new TextEncoder().encode(`${lost.fingerprint()}\n`))
 * console.log(list.reasonAgainst(lost)) // the key is revoked
 * console.log(list.reasonAgainst(generateKey('ed25519').publicKey)) // undefined
 */
export class Revocations {
  readonly #crypto: CryptoProvider
  /** Blobs in base64. */
  readonly #keys = new Set<string>()
  readonly #sha1 = new Set<string>()
  readonly #sha256 = new Set<string>()
  readonly #certificates: RevokedCertificates[] = []

  private constructor(crypto: CryptoProvider) {
    this.#crypto = crypto
  }

  /**
   * Reads a list: a KRL, or a text with a public key, a fingerprint `SHA256:…` or a line of
   * ssh-keygen's KRL specifications (`serial: N[-M]`, `id: NAME`, `key: …`, `hash: SHA256:…`) in each
   * line. Serial numbers and names in a text are of every authority. A KRL's own signatures are not
   * looked at: who can write the file decides.
   * Throws SshError `SSH_KEY_INVALID` for anything that is not understood.
   */
  static parse(bytes: Uint8Array, crypto: CryptoProvider = defaultCrypto()): Revocations {
    const list = new Revocations(crypto)
    try {
      if (MAGIC.every((byte, at) => bytes[at] === byte))
        list.#readKrl(new Reader(bytes, MAGIC.length))
      else list.#readText(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    } catch (error) {
      if (error instanceof TypeError) throw invalidKey('not a list of revoked keys', error)
      throw asKeyError(error)
    }
    return list
  }

  /** Why the key, or what certifies it, counts no more; undefined if nothing is against it. */
  reasonAgainst(key: PublicKey): string | undefined {
    if (!isCertificate(key)) return this.#has(key) ? 'the key is revoked' : undefined
    let certificate: Certificate
    try {
      certificate = decodeCertificate(key)
    } catch {
      return 'the certificate cannot be read'
    }
    if (this.#has(key) || this.#hasCertificate(certificate)) return 'the certificate is revoked'
    if (this.#has(certificate.key)) return 'the key of the certificate is revoked'
    if (this.#has(certificate.signatureKey)) return 'the authority of the certificate is revoked'
    return undefined
  }

  #has({ blob }: PublicKey): boolean {
    const hashed = (name: 'sha1' | 'sha256'): string => encodeBase64(this.#crypto.hash(name, blob))
    return (
      this.#keys.has(encodeBase64(blob)) ||
      (this.#sha256.size > 0 && this.#sha256.has(hashed('sha256'))) ||
      (this.#sha1.size > 0 && this.#sha1.has(hashed('sha1')))
    )
  }

  #hasCertificate({ serial, keyId, signatureKey }: Certificate): boolean {
    return this.#certificates.some(({ authority, serials, ranges, bitmaps, keyIds }) => {
      if (authority !== undefined && !authority.equals(signatureKey)) return false
      if (keyIds.has(keyId)) return true
      // Zero is what a certificate without a number has.
      if (serial === 0n) return false
      return (
        serials.has(serial) ||
        ranges.some(([from, to]) => from <= serial && serial <= to) ||
        bitmaps.some(({ offset, bits }) => isSet(bits, serial - offset))
      )
    })
  }

  #of(authority: PublicKey | undefined): RevokedCertificates {
    const known = this.#certificates.find((other) =>
      authority === undefined
        ? other.authority === undefined
        : other.authority?.equals(authority) === true,
    )
    if (known !== undefined) return known
    const certificates: RevokedCertificates = {
      authority,
      serials: new Set(),
      ranges: [],
      bitmaps: [],
      keyIds: new Set(),
    }
    this.#certificates.push(certificates)
    return certificates
  }

  #readKrl(reader: Reader): void {
    const version = reader.uint32()
    if (version !== FORMAT_VERSION) throw invalidKey(`a revocation list of format ${version}`)
    // Its own version, when it was made, flags.
    for (let field = 0; field < 3; field++) reader.uint64()
    // Reserved, and a comment.
    for (let field = 0; field < 2; field++) reader.string()
    while (reader.remaining > 0) {
      const type = reader.uint8()
      const section = new Reader(reader.string())
      switch (type) {
        case SECTION.CERTIFICATES:
          this.#readCertificates(section)
          break
        case SECTION.KEYS:
          while (section.remaining > 0) this.#keys.add(encodeBase64(section.string()))
          break
        case SECTION.SHA1:
          while (section.remaining > 0) this.#sha1.add(encodeBase64(section.string()))
          break
        case SECTION.SHA256:
          while (section.remaining > 0) this.#sha256.add(encodeBase64(section.string()))
          break
        case SECTION.SIGNATURE:
          // The section holds the key; the signature follows it.
          reader.string()
          break
        case SECTION.EXTENSION:
          skipExtension(section)
          break
        default:
          throw invalidKey(`a revocation list with an unknown section ${type}`)
      }
    }
  }

  #readCertificates(reader: Reader): void {
    const blob = reader.string()
    const certificates = this.#of(blob.length === 0 ? undefined : PublicKey.fromBlob(blob))
    reader.string()
    while (reader.remaining > 0) {
      const type = reader.uint8()
      const section = new Reader(reader.string())
      switch (type) {
        case CERTIFICATES.SERIALS:
          while (section.remaining > 0) certificates.serials.add(section.uint64())
          break
        case CERTIFICATES.RANGE:
          certificates.ranges.push([section.uint64(), section.uint64()])
          break
        case CERTIFICATES.BITMAP:
          certificates.bitmaps.push({
            offset: section.uint64(),
            bits: section.mpint(BITMAP_BYTES_MAX),
          })
          break
        case CERTIFICATES.IDS:
          while (section.remaining > 0) certificates.keyIds.add(section.utf8())
          break
        case CERTIFICATES.EXTENSION:
          skipExtension(section)
          break
        default:
          throw invalidKey(`a revocation list with an unknown section ${type} of certificates`)
      }
      section.end()
    }
  }

  #readText(text: string): void {
    for (const [index, raw] of text.split(/\r\n|\r|\n/).entries()) {
      const line = raw.trim()
      if (line === '' || line.startsWith('#')) continue
      if (!this.#readLine(line)) {
        throw invalidKey(`line ${index + 1} is neither a public key, a fingerprint nor "serial: N"`)
      }
    }
  }

  #readLine(line: string): boolean {
    // Before the keywords, one of which is like its beginning.
    if (this.#readFingerprint(line)) return true
    const [, keyword, value = ''] = /^(serial|id|key|hash|sha1|sha256): *(\S.*)$/i.exec(line) ?? []
    switch (keyword?.toLowerCase()) {
      case 'serial':
        return this.#readSerials(value)
      case 'id':
        this.#of(undefined).keyIds.add(value)
        return true
      case 'hash':
        return this.#readFingerprint(value)
      case undefined:
        return this.#readKey(line)
      default:
        // Both hashes are of a key that is given whole.
        return this.#readKey(value)
    }
  }

  #readSerials(value: string): boolean {
    const [, from, to] =
      /^(0x[0-9a-f]{1,16}|\d{1,20})(?: *- *(0x[0-9a-f]{1,16}|\d{1,20}))?$/i.exec(value) ?? []
    if (from === undefined) return false
    const [first, last] = [BigInt(from), BigInt(to ?? from)]
    if (first === 0n || last < first) return false
    this.#of(undefined).ranges.push([first, last])
    return true
  }

  #readFingerprint(value: string): boolean {
    const [, hash] = /^SHA256:([A-Za-z0-9+/]{43})=?(?:\s.*)?$/.exec(value) ?? []
    if (hash !== undefined) this.#sha256.add(`${hash}=`)
    return hash !== undefined
  }

  #readKey(line: string): boolean {
    try {
      this.#keys.add(encodeBase64(PublicKey.parse(line).blob))
      return true
    } catch {
      return false
    }
  }
}

/** One that is critical is none that this reader could know. */
function skipExtension(reader: Reader): void {
  const name = reader.ascii()
  if (reader.boolean()) throw invalidKey(`a revocation list with an unknown extension ${name}`)
  reader.string()
}

/** Bit `at` of a big-endian number. */
function isSet(bits: Uint8Array, at: bigint): boolean {
  if (at < 0n || at >= BigInt(8 * bits.length)) return false
  const bit = Number(at)
  return ((bits[bits.length - 1 - (bit >> 3)] ?? 0) & (1 << (bit & 7))) !== 0
}
