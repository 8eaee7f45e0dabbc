/** Public key files: a line as in authorized_keys, or RFC 4716, read and written. */
import { decodeBase64, encodeBase64 } from './base64.ts'
import { invalidKey } from './key-errors.ts'
import { PublicKey } from './public-key.ts'

const BEGIN = '---- BEGIN SSH2 PUBLIC KEY ----'
const END = '---- END SSH2 PUBLIC KEY ----'
const FILE_CHARACTERS_MAX = 64 * 1024

/**
 * Reads either form. Throws SshError `SSH_KEY_INVALID`.
 *
 * @example
 * import { generateKey, parsePublicKey, toRfc4716 } from '@sandbox-ssh/protocol'
 *
 * const { publicKey } = generateKey('ed25519')
 * const fromLine = parsePublicKey(publicKey.toString())
 * const fromFile = parsePublicKey(toRfc4716(publicKey))
 * console.log(fromLine.equals(fromFile)) // true
 */
export function parsePublicKey(text: string): PublicKey {
  if (text.length > FILE_CHARACTERS_MAX) throw invalidKey('the file is too large for a public key')
  const trimmed = text.trim()
  if (!trimmed.startsWith(BEGIN)) {
    const [line = '', ...more] = trimmed.split(/\r?\n/).filter((one) => !/^\s*(#|$)/.test(one))
    if (more.length > 0) throw invalidKey('a public key file has one line, this has several')
    return PublicKey.parse(line)
  }
  const end = trimmed.indexOf(END)
  if (end === -1) throw invalidKey('the public key file has no END line: it is cut off')
  // RFC 4716 §3.3: a header line that ends in a backslash goes on in the next.
  const lines = trimmed
    .slice(BEGIN.length, end)
    .replace(/\\\r?\n/g, '')
    .split(/\r?\n/)
  const headers = lines.filter((line) => line.includes(':'))
  const comment = headers
    .map((line) => /^Comment:\s*(.*?)\s*$/i.exec(line)?.[1])
    .find((value) => value !== undefined)
  const blob = decodeBase64(
    lines
      .filter((line) => !line.includes(':'))
      .join('')
      .replace(/\s+/g, ''),
  )
  if (blob === undefined) throw invalidKey('the public key file is damaged: it is not base64')
  return PublicKey.fromBlob(blob, comment?.replace(/^"(.*)"$/, '$1') ?? '')
}

/**
 * Writes RFC 4716. Control characters of the comment are left out.
 *
 * @example
 * import { generateKey, toRfc4716 } from '@sandbox-ssh/protocol'
 *
 * const [first] = toRfc4716(generateKey('ed25519').publicKey).split('\n')
 * console.log(first) // ---- BEGIN SSH2 PUBLIC KEY ----
 */
export function toRfc4716(key: PublicKey): string {
  const printable = Array.from(key.comment).filter((character) => character >= ' ')
  // §3.3.2 wants quotes around it and 1024 bytes at most in a value.
  const comment = printable.join('').replaceAll('"', "'").replaceAll('\\', '/').slice(0, 200)
  const header = comment === '' ? [] : (`Comment: "${comment}"`.match(/.{1,70}/gu) ?? [])
  const body = encodeBase64(key.blob).match(/.{1,70}/g) ?? []
  return `${[BEGIN, header.join('\\\n'), ...body, END].filter((line) => line !== '').join('\n')}\n`
}
