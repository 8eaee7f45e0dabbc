/** Private key files: which format is it, and what is in it? */
import type { CryptoProvider } from '../crypto/provider.ts'
import { decodeBase64 } from './base64.ts'
import { asKeyError, invalidKey, passphraseWrong } from './key-errors.ts'
import type { KeyMaterial } from './key-material.ts'
import { decodeOpenSshKey } from './openssh-format.ts'
import { decodePkcs1, decodePkcs8, decodeSec1, decryptPem, decryptPkcs8 } from './pem.ts'
import { decodePpk, isPpk } from './ppk.ts'

/** Longest key file looked at. An RSA key of 16384 bits has some 13 KiB. */
const FILE_CHARACTERS_MAX = 256 * 1024

/**
 * Reads a private key file of any known format.
 * Rejects with SshError `SSH_KEY_INVALID` or `SSH_KEY_PASSPHRASE`.
 */
export async function parseKeyMaterial(
  crypto: CryptoProvider,
  text: string,
  passphrase: Uint8Array | undefined,
): Promise<{ readonly material: KeyMaterial; readonly comment: string }> {
  if (text.length > FILE_CHARACTERS_MAX) throw invalidKey('the file is too large for a key')
  try {
    // Editors put marks of the byte order, and users empty lines, in front.
    const trimmed = text.trimStart()
    if (isPpk(trimmed)) return decodePpk(crypto, trimmed, passphrase)
    const { label, body } = unarmored(trimmed)
    return await decodeArmored(crypto, label, body, passphrase)
  } catch (error) {
    throw asKeyError(error)
  }
}

async function decodeArmored(
  crypto: CryptoProvider,
  label: string,
  body: string,
  passphrase: Uint8Array | undefined,
): Promise<{ readonly material: KeyMaterial; readonly comment: string }> {
  const bytes = (): Uint8Array => base64Body(body)
  switch (label) {
    case 'OPENSSH PRIVATE KEY':
      return decodeOpenSshKey(crypto, bytes(), passphrase)
    case 'PRIVATE KEY':
      return { material: decodePkcs8(bytes()), comment: '' }
    case 'ENCRYPTED PRIVATE KEY':
      return { material: await decryptPkcs8(bytes(), passphrase), comment: '' }
    case 'RSA PRIVATE KEY':
      return { material: old(crypto, body, passphrase, decodePkcs1), comment: '' }
    case 'EC PRIVATE KEY':
      return { material: old(crypto, body, passphrase, decodeSec1), comment: '' }
    case 'DSA PRIVATE KEY':
      throw invalidKey('DSA keys are too weak to be used; make a new one with "ssh-keygen"')
    case 'PGP PRIVATE KEY BLOCK':
      throw invalidKey('this is a PGP key; export one for SSH with "gpg --export-ssh-key"')
    default:
      throw invalidKey(`a file that says "BEGIN ${label}" is not a private key`)
  }
}

/** PEM with headers, RFC 1421: perhaps encrypted in the old way. */
function old(
  crypto: CryptoProvider,
  body: string,
  passphrase: Uint8Array | undefined,
  decode: (bytes: Uint8Array) => KeyMaterial,
): KeyMaterial {
  const [, headers, rest] = /^\s*((?:[A-Za-z-]+: .*\r?\n)+)\s*([\s\S]*)$/.exec(body) ?? []
  if (headers === undefined || rest === undefined) return decode(base64Body(body))
  const info = /^DEK-Info: (.*)$/m.exec(headers)?.[1] ?? ''
  const plain = decryptPem(crypto, info, base64Body(rest), passphrase)
  try {
    return decode(plain)
  } catch {
    // A wrong passphrase gives a right-looking padding once in 256 times, but never a whole key.
    throw passphraseWrong()
  }
}

/** The label and the lines between BEGIN and END, RFC 7468 §2. */
function unarmored(text: string): { label: string; body: string } {
  // OpenSSL puts "EC PARAMETERS" in front of keys; a private key is taken wherever it stands.
  const begin =
    /^-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----[ \t]*$/m.exec(text) ??
    /^-----BEGIN ([A-Z0-9 ]+)-----[ \t]*$/m.exec(text)
  const label = begin?.[1]
  if (begin === null || label === undefined) throw invalidKey(whatItIs(text))
  const start = begin.index + begin[0].length
  const end = text.indexOf(`-----END ${label}-----`, start)
  if (end === -1) throw invalidKey(`the key file has no "END ${label}" line: it is cut off`)
  return { label, body: text.slice(start, end) }
}

function whatItIs(text: string): string {
  if (/^\s*$/.test(text)) return 'the key file is empty'
  if (/^\s*(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ AAAA/.test(text)) {
    return 'this is a public key; the private one is in the file without ".pub"'
  }
  if (text.includes('---- BEGIN SSH2 PUBLIC KEY ----')) {
    return 'this is a public key (RFC 4716); the private one is in another file'
  }
  if (text.includes('---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----')) {
    return 'this is a private key of SSH Tectia; convert it with "ssh-keygen -i -f FILE"'
  }
  if (text.startsWith('SSH PRIVATE KEY FILE FORMAT 1.1')) {
    return 'this is a key for SSH 1, which nothing speaks any more; make a new one with "ssh-keygen"'
  }
  if (/^\s*\{[\s\S]*"kty"/.test(text)) {
    return 'this is a JSON Web Key; convert it to PKCS #8 (PEM) first'
  }
  if (/^0[\x80-\x84\uFFFD]/.test(text)) {
    return 'this is binary (DER); convert it with "openssl pkey -inform DER -in FILE -out FILE.pem"'
  }
  return 'not a private key file: it has no "-----BEGIN … PRIVATE KEY-----" line'
}

function base64Body(body: string): Uint8Array {
  const bytes = decodeBase64(body.replace(/[\r\n\t ]+/g, ''))
  if (bytes === undefined) throw invalidKey('the key file is damaged: its body is not base64')
  return bytes
}
