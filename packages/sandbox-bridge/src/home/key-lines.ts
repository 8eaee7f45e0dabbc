/**
 * Lines of `authorized_keys`: a type word and a blob, or a blob alone, as microsandbox takes them;
 * before either of them options, as sshd does.
 */
import {
  type AuthorizedKey,
  PublicKey,
  parseAuthorizedKeys,
  Reader,
  type RestrictingOption,
} from '@sandbox-ssh/protocol'
import { SandboxError } from './errors.ts'

/** Restrictions that the server enforces; a line with any other lets nobody in. */
export const HONOURED_OPTIONS: readonly RestrictingOption[] = [
  'cert-authority',
  'command',
  'expiry-time',
  'from',
  'no-agent-forwarding',
  'no-port-forwarding',
  'no-pty',
  'no-user-rc',
  'no-x11-forwarding',
  'permitlisten',
  'permitopen',
  'principals',
  'restrict',
  'verify-required',
]

const CERTIFICATE_TYPE = /-cert-v01@openssh\.com$/

/**
 * Reads one key line with its options; `number` is its place in the file, from 1. An option that is
 * not enforced, or not understood, must not let anybody in.
 * @throws SandboxError `AUTHORIZED_KEY_INVALID`; the message never repeats the key
 */
export function parseGrantLine(line: string, number = 1): AuthorizedKey {
  const text = line.trim()
  // Every key's data begins with a length below 2^24. Words before it can only be options.
  const [first = '', second] = text.split(/\s+/)
  const isTyped = /^(ssh-|ecdsa-|sk-)/.test(first) && (second === undefined || /^AAAA/.test(second))
  const isBare = isTyped || first.startsWith('AAAA') || !/\sAAAA/.test(text)
  const canonical = isBare ? lineOf(parseKeyLine(text)) : text
  const { keys, errors } = parseAuthorizedKeys(canonical, { honours: HONOURED_OPTIONS })
  const [grant] = keys
  if (grant === undefined) throw invalid(`invalid line: ${printable(errors[0]?.message ?? '')}`)
  if (!isBare) checkedKey(grant.key.blob, grant.key.comment)
  // On a key that logs in by itself it would restrict nothing, whatever its author thought.
  if (grant.options.principals !== undefined && !grant.options.certAuthority) {
    throw invalid('invalid line: the option "principals" goes with "cert-authority"')
  }
  return { ...grant, line: number }
}

/** The options at the head of a line as they are written, and the rest. */
export function splitGrantLine(line: string): { readonly options: string; readonly rest: string } {
  const text = line.trim()
  const { options = '', rest = text } =
    /^(?<options>(?:[^\s"]|"(?:[^"\\]|\\"|\\(?!"))*")+)\s+(?<rest>\S.*)$/s.exec(text)?.groups ?? {}
  const isKey = /^(ssh-|ecdsa-|sk-|AAAA)/.test(options) && !options.includes('"')
  return isKey ? { options: '', rest: text } : { options, rest }
}

/**
 * The line of a key that signs certificates, with the options of an authority before its own.
 * `principals` are those of which a certificate must name one.
 * @throws SandboxError `AUTHORIZED_KEY_INVALID`
 */
export function authorityLine(line: string, principals: readonly string[] = []): string {
  for (const principal of principals) {
    if (principal !== '' && !/[\s",\\\p{Cc}]/u.test(principal)) continue
    throw invalid(`invalid principal ${JSON.stringify(principal)}`)
  }
  const { options, rest } = splitGrantLine(line)
  const list = principals.length === 0 ? [] : [`principals="${principals.join(',')}"`]
  return `${['cert-authority', ...list, ...(options === '' ? [] : [options])].join(',')} ${rest}`
}

/**
 * Reads one key without options. If its first word begins with `ssh-`, `ecdsa-` or `sk-` the second
 * is the key's data, else the first is; what follows is a comment.
 * @throws SandboxError `AUTHORIZED_KEY_INVALID`; the message never repeats the line
 */
export function parseKeyLine(line: string): PublicKey {
  const words = line.trim().split(/\s+/)
  const [first = '', second] = words
  if (first === '' || first.startsWith('#')) throw invalid('public key cannot be empty')
  if (CERTIFICATE_TYPE.test(first)) throw certificateGiven()
  const typed = /^(ssh|ecdsa|sk)-/.test(first)
  if (typed && second === undefined) throw invalid('public key is missing key data')
  const blob = decodeBase64(typed ? (second ?? '') : first)
  if (blob === undefined) throw invalid('invalid public key')
  return checkedKey(blob, words.slice(typed ? 2 : 1).join(' '))
}

/** True for lines without a key: blank ones and comments. */
export function isKeylessLine(line: string): boolean {
  return /^\s*(#|$)/.test(line)
}

/** Strict base64: Node's own decoder skips what it does not understand. */
function decodeBase64(text: string): Uint8Array | undefined {
  if (text === '' || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined
  return Buffer.from(text, 'base64')
}

/** A blob that is a whole key of a type the server can check signatures of. */
function checkedKey(blob: Uint8Array, comment: string): PublicKey {
  try {
    const reader = new Reader(blob)
    const type = reader.ascii(128)
    if (CERTIFICATE_TYPE.test(type)) throw certificateGiven()
    if (!readFields(reader, type)) {
      throw invalid(`invalid public key: keys of type ${printable(type)} are not supported`)
    }
    reader.end()
    return PublicKey.fromBlob(blob, comment)
  } catch (cause) {
    if (cause instanceof SandboxError) throw cause
    throw invalid('invalid public key', cause)
  }
}

/** Reads what follows the type; false for an unknown type. Throws on malformed fields. */
function readFields(reader: Reader, type: string): boolean {
  switch (type) {
    case 'ssh-ed25519':
      expectLength(reader.string(), 32)
      return true
    case 'ecdsa-sha2-nistp256':
    case 'ecdsa-sha2-nistp384':
    case 'ecdsa-sha2-nistp521': {
      const curve = type.slice('ecdsa-sha2-'.length)
      if (reader.ascii(16) !== curve) throw invalid('invalid public key')
      const coordinate = Math.ceil(Number(curve.slice(-3)) / 8)
      expectLength(reader.string(), 1 + 2 * coordinate)
      return true
    }
    case 'ssh-rsa':
      reader.mpint()
      // 1024 bits were the least that anybody ever used; 16384 are OpenSSH's most.
      if (!between(reader.mpint().length, 128, 2048)) throw invalid('invalid public key')
      return true
    case 'sk-ssh-ed25519@openssh.com':
      expectLength(reader.string(), 32)
      reader.string(1024)
      return true
    case 'sk-ecdsa-sha2-nistp256@openssh.com':
      if (reader.ascii(16) !== 'nistp256') throw invalid('invalid public key')
      expectLength(reader.string(), 65)
      reader.string(1024)
      return true
    default:
      return false
  }
}

/** What has to be said once where it is given: sshd never takes one for a key that may enter. */
function certificateGiven(): SandboxError {
  return invalid(
    'this is a certificate: give the key that it is for, or the key of its authority with the ' +
      'option cert-authority before it',
  )
}

function expectLength(bytes: Uint8Array, length: number): void {
  if (bytes.length !== length) throw invalid('invalid public key')
}

function between(value: number, least: number, most: number): boolean {
  return value >= least && value <= most
}

/** One line, whatever the comment is. */
function lineOf(key: PublicKey): string {
  return key.toString().replace(/[\r\n]/g, ' ')
}

/** A word from a key, fit for a terminal. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 100)
}

function invalid(message: string, cause?: unknown): SandboxError {
  return new SandboxError('AUTHORIZED_KEY_INVALID', message, { cause })
}
