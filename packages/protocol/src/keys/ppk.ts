/** The key files of PuTTY, versions 2 and 3 (PuTTY manual, appendix C), read only. */
import { cbc } from '@noble/ciphers/aes.js'
import { argon2d, argon2i, argon2id } from '@noble/hashes/argon2.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha1 } from '@noble/hashes/legacy.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { equalBytes } from '../crypto/equal-bytes.ts'
import { fromHex } from '../crypto/hex.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { Reader } from '../wire/reader.ts'
import { Writer } from '../wire/writer.ts'
import { decodeBase64 } from './base64.ts'
import { invalidKey, passphraseNeeded, passphraseWrong, unsupportedKey } from './key-errors.ts'
import { curveNamed, EC_BYTES, type KeyMaterial, publicKeyOf, unsigned } from './key-material.ts'

/** Memory and work that a file may ask for; puttygen asks for 8 MiB and a tenth of a second. */
const ARGON2_KIB_MAX = 256 * 1024
const ARGON2_WORK_KIB_MAX = 16 * 1024 * 1024
const LINES_MAX = 1000

const ARGON2 = new Map([
  ['Argon2id', argon2id],
  ['Argon2i', argon2i],
  ['Argon2d', argon2d],
])

/** True if the text is such a file. */
export function isPpk(text: string): boolean {
  return /^PuTTY-User-Key-File-\d+:/.test(text)
}

/** Keys derived from the passphrase; all empty for an unencrypted file. */
interface Derived {
  readonly key: Uint8Array
  readonly iv: Uint8Array
  readonly mac: (data: Uint8Array) => Uint8Array
}

/** Throws SshError `SSH_KEY_INVALID` or `SSH_KEY_PASSPHRASE`. */
export function decodePpk(
  crypto: CryptoProvider,
  text: string,
  passphrase: Uint8Array | undefined,
): { material: KeyMaterial; comment: string } {
  const file = parseFields(text)
  const { version, type, encryption, comment, publicBlob, privateBlob } = file
  const encrypted = encryption !== 'none'
  if (encrypted && encryption !== 'aes256-cbc') {
    throw invalidKey(`the PuTTY key file is encrypted with ${encryption}, which is not supported`)
  }
  if (encrypted && passphrase === undefined) throw passphraseNeeded()
  const secret = encrypted && passphrase !== undefined ? passphrase : new Uint8Array(0)
  const derived =
    version === 2 ? deriveV2(crypto, secret) : deriveV3(file.fields, secret, encrypted)

  let plain = privateBlob
  if (encrypted) {
    if (privateBlob.length % 16 !== 0) throw invalidKey('the PuTTY key file is damaged')
    plain = cbc(derived.key, derived.iv, { disablePadding: true }).decrypt(privateBlob)
  }
  const signed = new Writer()
    .string(type)
    .string(encryption)
    .string(comment)
    .string(publicBlob)
    .string(plain)
    .finish()
  if (!equalBytes(derived.mac(signed), file.mac)) {
    if (encrypted) throw passphraseWrong()
    throw invalidKey('the PuTTY key file is damaged: its MAC does not fit')
  }
  const material = decodePrivate(type, publicBlob, plain)
  if (!equalBytes(publicKeyOf(crypto, material, '').blob, publicBlob)) {
    throw invalidKey('the private and the public half of the key file do not belong together')
  }
  return { material, comment }
}

function deriveV2(crypto: CryptoProvider, passphrase: Uint8Array): Derived {
  const key = new Uint8Array(40)
  for (const counter of [0, 1]) {
    const prefix = new Uint8Array([0, 0, 0, counter])
    key.set(crypto.hash('sha1', prefix, passphrase), 20 * counter)
  }
  const name = new TextEncoder().encode('putty-private-key-file-mac-key')
  const macKey = crypto.hash('sha1', name, passphrase)
  return {
    key: key.slice(0, 32),
    iv: new Uint8Array(16),
    mac: (data) => hmac(sha1, macKey, data),
  }
}

function deriveV3(
  fields: ReadonlyMap<string, string>,
  passphrase: Uint8Array,
  encrypted: boolean,
): Derived {
  const none = new Uint8Array(0)
  if (!encrypted) return { key: none, iv: none, mac: (data) => hmac(sha256, none, data) }
  const argon2 = ARGON2.get(fields.get('Key-Derivation') ?? '')
  const [m, t, p] = ['Memory', 'Passes', 'Parallelism'].map((name) =>
    Number(fields.get(`Argon2-${name}`)),
  ) as [number, number, number]
  const salt = fields.get('Argon2-Salt') ?? ''
  const sane = m >= 8 * p && m <= ARGON2_KIB_MAX && m * t <= ARGON2_WORK_KIB_MAX && t >= 1 && p >= 1
  if (argon2 === undefined || !sane || !/^([0-9a-f]{2}){8,64}$/i.test(salt)) {
    throw invalidKey('the PuTTY key file asks for a key derivation that is unknown or too costly')
  }
  const bytes = argon2(passphrase, fromHex(salt), { m, t, p, dkLen: 80 })
  const macKey = bytes.slice(48)
  return {
    key: bytes.slice(0, 32),
    iv: bytes.slice(32, 48),
    mac: (data) => hmac(sha256, macKey, data),
  }
}

function decodePrivate(type: string, publicBlob: Uint8Array, secret: Uint8Array): KeyMaterial {
  const open = new Reader(publicBlob)
  open.string()
  // Padding may follow what is read here; the MAC has covered it.
  const reader = new Reader(secret)
  if (type === 'ssh-ed25519') {
    const seed = reader.string(32)
    if (seed.length !== 32) throw invalidKey('the ed25519 secret has a wrong length')
    return { kind: 'ed25519', seed: seed.slice() }
  }
  if (type === 'ssh-rsa') {
    const [publicExponent, modulus] = [open.mpint().slice(), open.mpint().slice()]
    const [privateExponent, primeP] = [reader.mpint().slice(), reader.mpint().slice()]
    const [primeQ, coefficient] = [reader.mpint().slice(), reader.mpint().slice()]
    return {
      kind: 'rsa',
      numbers: { modulus, publicExponent, privateExponent, primeP, primeQ, coefficient },
    }
  }
  const curve = curveNamed(type.replace(/^ecdsa-sha2-/, ''))
  if (curve === undefined) throw unsupportedKey(type)
  return { kind: 'ecdsa', curve, scalar: unsigned(reader.mpint(), EC_BYTES[curve]) }
}

function parseFields(text: string): {
  version: 2 | 3
  type: string
  encryption: string
  comment: string
  publicBlob: Uint8Array
  privateBlob: Uint8Array
  mac: Uint8Array
  fields: ReadonlyMap<string, string>
} {
  const lines = text.split(/\r\n|\n|\r/)
  const fields = new Map<string, string>()
  const blobs = new Map<string, Uint8Array>()
  for (let at = 0; at < lines.length; at++) {
    const [, name, value] = /^([A-Za-z0-9-]+): ?(.*)$/.exec(lines[at] ?? '') ?? []
    if (name === undefined || value === undefined) continue
    if (!name.endsWith('-Lines')) {
      fields.set(name, value)
      continue
    }
    const count = /^\d{1,4}$/.test(value) ? Number(value) : Number.NaN
    if (!(count >= 0 && count <= LINES_MAX)) throw invalidKey('the PuTTY key file is damaged')
    const blob = decodeBase64(lines.slice(at + 1, at + 1 + count).join(''))
    if (blob === undefined) throw invalidKey('the PuTTY key file is damaged: not base64')
    blobs.set(name, blob)
    at += count
  }
  const version = fields.has('PuTTY-User-Key-File-3') ? 3 : 2
  const type = fields.get(`PuTTY-User-Key-File-${version}`)
  const publicBlob = blobs.get('Public-Lines')
  const privateBlob = blobs.get('Private-Lines')
  const mac = fields.get('Private-MAC') ?? ''
  if (type === undefined) {
    throw invalidKey('a PuTTY key file of version 1 or unknown; save it anew with puttygen')
  }
  if (publicBlob === undefined || privateBlob === undefined || !/^([0-9a-f]{2})+$/i.test(mac)) {
    throw invalidKey('the PuTTY key file is incomplete')
  }
  return {
    version,
    type,
    encryption: fields.get('Encryption') ?? '',
    comment: fields.get('Comment') ?? '',
    publicBlob,
    privateBlob,
    mac: fromHex(mac),
    fields,
  }
}
