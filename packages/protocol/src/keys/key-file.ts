/** Private key files: which format is it, and what is in it? */
import type { CryptoProvider } from '../crypto/provider.ts'
import { decodeBase64 } from './base64.ts'
import { asKeyError, invalidKey } from './key-errors.ts'
import type { KeyMaterial } from './key-material.ts'
import { decodeOpenSshKey } from './openssh-format.ts'

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
  const { label, body } = unarmored(text)
  try {
    if (label === 'OPENSSH PRIVATE KEY') {
      return decodeOpenSshKey(crypto, base64Body(body), passphrase)
    }
  } catch (error) {
    throw asKeyError(error)
  }
  throw invalidKey(`a file that says "BEGIN ${label}" is not a private key that can be read here`)
}

/** The label and the lines between BEGIN and END, RFC 7468 §2. */
function unarmored(text: string): { label: string; body: string } {
  const begin = /^-----BEGIN ([A-Z0-9 ]+)-----[ \t]*$/m.exec(text)
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
  return 'not a private key file: it has no "-----BEGIN … PRIVATE KEY-----" line'
}

function base64Body(body: string): Uint8Array {
  const bytes = decodeBase64(body.replace(/[\r\n\t ]+/g, ''))
  if (bytes === undefined) throw invalidKey('the key file is damaged: its body is not base64')
  return bytes
}
