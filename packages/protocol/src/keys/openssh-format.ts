/** The file format `openssh-key-v1`, plain and encrypted: OpenSSH PROTOCOL.key. */
import { cbc } from '@noble/ciphers/aes.js'
import { bcryptPbkdf } from '../crypto/bcrypt-pbkdf.ts'
import { equalBytes } from '../crypto/equal-bytes.ts'
import { RSA_BITS_MAX } from '../crypto/portable-rsa.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { Reader } from '../wire/reader.ts'
import { Writer } from '../wire/writer.ts'
import { encodeBase64 } from './base64.ts'
import { invalidKey, passphraseNeeded, passphraseWrong, unsupportedKey } from './key-errors.ts'
import { curveNamed, EC_BYTES, type KeyMaterial, publicKeyOf, unsigned } from './key-material.ts'
import type { PublicKey } from './public-key.ts'

const MAGIC = new TextEncoder().encode('openssh-key-v1\0')
const LABEL = 'OPENSSH PRIVATE KEY'
/** What an unencrypted private section is padded to. */
const PLAIN_BLOCK_BYTES = 8
const SALT_BYTES = 16
/** What ssh-keygen has used since 9.4; before, 16. */
const ROUNDS_DEFAULT = 24

/** How a private section is encrypted. Only reading needs more than `aes256-ctr`. */
interface FileCipher {
  readonly keyBytes: number
  readonly ivBytes: number
  readonly blockBytes: number
  readonly tagBytes: number
  /** Decrypts in place; false if there is a tag and it does not fit. */
  open(
    crypto: CryptoProvider,
    key: Uint8Array,
    iv: Uint8Array,
    data: Uint8Array,
    tag: Uint8Array,
  ): boolean
}

const nothing = new Uint8Array(0)

function ctrFile(keyBytes: number): FileCipher {
  return {
    ...{ keyBytes, ivBytes: 16, blockBytes: 16, tagBytes: 0 },
    open(crypto, key, iv, data) {
      crypto.aesCtr(key, iv).apply(data)
      return true
    },
  }
}

function cbcFile(keyBytes: number): FileCipher {
  return {
    ...{ keyBytes, ivBytes: 16, blockBytes: 16, tagBytes: 0 },
    open(_crypto, key, iv, data) {
      data.set(cbc(key, iv, { disablePadding: true }).decrypt(data))
      return true
    },
  }
}

function gcmFile(keyBytes: number): FileCipher {
  return {
    ...{ keyBytes, ivBytes: 12, blockBytes: 16, tagBytes: 16 },
    open(crypto, key, iv, data, tag) {
      const plaintext = crypto.aesGcm(key).open(iv, nothing, data, tag)
      if (plaintext === undefined) return false
      data.set(plaintext)
      return true
    },
  }
}

const fileCiphers: ReadonlyMap<string, FileCipher> = new Map([
  ['aes256-ctr', ctrFile(32)],
  ['aes192-ctr', ctrFile(24)],
  ['aes128-ctr', ctrFile(16)],
  ['aes256-cbc', cbcFile(32)],
  ['aes192-cbc', cbcFile(24)],
  ['aes128-cbc', cbcFile(16)],
  ['aes256-gcm@openssh.com', gcmFile(32)],
  ['aes128-gcm@openssh.com', gcmFile(16)],
  [
    'chacha20-poly1305@openssh.com',
    {
      ...{ keyBytes: 64, ivBytes: 0, blockBytes: 8, tagBytes: 16 },
      // As a packet with sequence number 0, without the length and so without the second key.
      open(crypto, key, _iv, data, tag) {
        const macKey = new Uint8Array(32)
        const dataKey = key.slice(0, 32)
        crypto.chacha20(dataKey, new Uint8Array(8), 0, macKey)
        if (!equalBytes(crypto.poly1305(macKey, data), tag)) return false
        crypto.chacha20(dataKey, new Uint8Array(8), 1, data)
        return true
      },
    },
  ],
])

/** Encryption of a file to be written. */
export interface FileEncryption {
  readonly passphrase: Uint8Array
  /** Default 24. More makes guessing, and every use, slower in proportion. */
  readonly rounds?: number
}

/** Writes a key, encrypted with aes256-ctr under bcrypt if asked to. */
export function encodeOpenSshKey(
  crypto: CryptoProvider,
  material: KeyMaterial,
  publicKey: PublicKey,
  comment: string,
  encryption?: FileEncryption,
): string {
  const writer = new Writer().bytes(MAGIC)
  const blockBytes = encryption === undefined ? PLAIN_BLOCK_BYTES : 16
  const secret = encodePrivateSection(crypto, material, publicKey, comment, blockBytes)
  if (encryption === undefined) {
    writer.string('none').string('none').string('')
  } else {
    const salt = crypto.random(SALT_BYTES)
    const rounds = encryption.rounds ?? ROUNDS_DEFAULT
    const derived = bcryptPbkdf(encryption.passphrase, salt, rounds, 32 + 16)
    crypto.aesCtr(derived.slice(0, 32), derived.slice(32)).apply(secret)
    const options = new Writer().string(salt).uint32(rounds).finish()
    writer.string('aes256-ctr').string('bcrypt').string(options)
  }
  writer.uint32(1).string(publicKey.blob).string(secret)
  const lines = encodeBase64(writer.finish()).match(/.{1,70}/g) ?? []
  return `-----BEGIN ${LABEL}-----\n${lines.join('\n')}\n-----END ${LABEL}-----\n`
}

/**
 * Reads the decoded contents of such a file.
 * Throws SshError `SSH_KEY_INVALID`, or `SSH_KEY_PASSPHRASE` if a passphrase is needed or wrong.
 */
export function decodeOpenSshKey(
  crypto: CryptoProvider,
  bytes: Uint8Array,
  passphrase: Uint8Array | undefined,
): { material: KeyMaterial; comment: string } {
  const reader = new Reader(bytes)
  if (bytes.length < MAGIC.length || !equalBytes(reader.bytes(MAGIC.length), MAGIC)) {
    throw invalidKey('the key file does not begin with "openssh-key-v1"')
  }
  const cipherName = reader.ascii()
  const kdfName = reader.ascii()
  const kdfOptions = reader.string()
  const keys = reader.uint32()
  if (keys !== 1) throw invalidKey(`the key file holds ${keys} keys instead of one`)
  const publicBlob = reader.string()
  const section = reader.string().slice()
  const tag = reader.rest()

  const encrypted = cipherName !== 'none'
  if (encrypted) {
    decrypt(crypto, { cipherName, kdfName, kdfOptions, section, tag, passphrase })
  } else if (tag.length > 0) {
    throw invalidKey(`the key file has ${tag.length} bytes after its end`)
  }
  const { material, comment } = decodePrivateSection(section, encrypted)
  section.fill(0)
  if (!equalBytes(publicKeyOf(crypto, material, '').blob, publicBlob)) {
    throw invalidKey('the private and the public half of the key file do not belong together')
  }
  return { material, comment }
}

function decrypt(
  crypto: CryptoProvider,
  file: {
    readonly cipherName: string
    readonly kdfName: string
    readonly kdfOptions: Uint8Array
    readonly section: Uint8Array
    readonly tag: Uint8Array
    readonly passphrase: Uint8Array | undefined
  },
): void {
  const { cipherName, kdfName, section, tag, passphrase } = file
  const cipher = fileCiphers.get(cipherName)
  if (cipher === undefined || kdfName !== 'bcrypt') {
    throw invalidKey(
      `the key file is encrypted with ${cipherName} and ${kdfName}, which is not supported; ` +
        'convert it with "ssh-keygen -p -Z aes256-ctr -f FILE"',
    )
  }
  if (section.length % cipher.blockBytes !== 0 || tag.length !== cipher.tagBytes) {
    throw invalidKey('the encrypted part of the key file has an impossible length')
  }
  if (passphrase === undefined || passphrase.length === 0) throw passphraseNeeded()
  const options = new Reader(file.kdfOptions)
  const salt = options.string(1024)
  const rounds = options.uint32()
  options.end()
  let derived: Uint8Array
  try {
    derived = bcryptPbkdf(passphrase, salt, rounds, cipher.keyBytes + cipher.ivBytes)
  } catch {
    throw invalidKey(
      `the key file wants ${rounds} rounds of bcrypt with ${salt.length} bytes of salt`,
    )
  }
  const key = derived.slice(0, cipher.keyBytes)
  const authentic = cipher.open(crypto, key, derived.slice(cipher.keyBytes), section, tag)
  derived.fill(0)
  key.fill(0)
  if (!authentic) throw passphraseWrong()
}

/** Two equal check numbers, the key, its comment, and padding 1, 2, 3… */
function encodePrivateSection(
  crypto: CryptoProvider,
  material: KeyMaterial,
  publicKey: PublicKey,
  comment: string,
  blockBytes: number,
): Uint8Array {
  const check = crypto.random(4)
  const writer = new Writer().bytes(check).bytes(check)
  writePrivateKey(writer, material, publicKey)
  writer.string(comment)
  for (let pad = 1; writer.length % blockBytes !== 0; pad++) writer.uint8(pad)
  return writer.finish()
}

function decodePrivateSection(
  section: Uint8Array,
  encrypted: boolean,
): { material: KeyMaterial; comment: string } {
  const reader = new Reader(section)
  // The check numbers are all that tells a wrong passphrase under a cipher without a tag.
  const check = reader.uint32()
  if (reader.uint32() !== check) {
    if (encrypted) throw passphraseWrong()
    throw invalidKey('the check numbers of the key file differ: it is damaged')
  }
  const material = readPrivateKey(reader)
  const comment = reader.utf8()
  const padding = reader.rest()
  if (padding.some((byte, at) => byte !== ((at + 1) & 0xff))) {
    throw invalidKey('the padding of the key file is wrong: it is damaged')
  }
  return { material, comment }
}

/** Type and numbers of a private key, as key files and the agent protocol have them. */
export function writePrivateKey(writer: Writer, material: KeyMaterial, publicKey: PublicKey): void {
  const fields = new Reader(publicKey.blob)
  writer.string(fields.string())
  switch (material.kind) {
    case 'ed25519': {
      const point = fields.string()
      const both = new Uint8Array(64)
      both.set(material.seed)
      both.set(point, 32)
      writer.string(point).string(both)
      return
    }
    case 'ecdsa':
      writer.string(fields.string()).string(fields.string()).mpint(material.scalar)
      return
    case 'rsa': {
      const { modulus, publicExponent, privateExponent, coefficient, primeP, primeQ } =
        material.numbers
      writer.mpint(modulus).mpint(publicExponent).mpint(privateExponent)
      writer.mpint(coefficient).mpint(primeP).mpint(primeQ)
      return
    }
  }
}

/** The reverse of `writePrivateKey`. The public numbers in it are not looked at. */
export function readPrivateKey(reader: Reader): KeyMaterial {
  const type = reader.ascii()
  if (type === 'ssh-ed25519') {
    reader.string()
    const both = reader.string(64)
    if (both.length !== 64) throw invalidKey('the ed25519 secret has a wrong length')
    return { kind: 'ed25519', seed: both.slice(0, 32) }
  }
  if (type.startsWith('ecdsa-sha2-')) {
    const curve = curveNamed(reader.ascii())
    if (curve === undefined) throw unsupportedKey(type)
    reader.string()
    return { kind: 'ecdsa', curve, scalar: unsigned(reader.mpint(), EC_BYTES[curve]) }
  }
  if (type === 'ssh-rsa') {
    const number = (): Uint8Array => reader.mpint(RSA_BITS_MAX / 8 + 1).slice()
    const [modulus, publicExponent, privateExponent] = [number(), number(), number()]
    const [coefficient, primeP, primeQ] = [number(), number(), number()]
    return {
      kind: 'rsa',
      numbers: { modulus, publicExponent, privateExponent, coefficient, primeP, primeQ },
    }
  }
  throw unsupportedKey(type)
}
