/**
 * OpenSSH certificates: a public key, what it may be used for, and the signature of an authority
 * under both (OpenSSH PROTOCOL.certkeys). Reading, checking and issuing them.
 */
import { skEcdsaNistp256, skEd25519 } from '../algorithms/security-keys.ts'
import {
  ecdsaNistp256,
  ecdsaNistp384,
  ecdsaNistp521,
  rsaSha256,
  rsaSha512,
  sshEd25519,
} from '../algorithms/signatures.ts'
import type { SignatureSpec } from '../algorithms/spec.ts'
import { defaultCrypto } from '../crypto/native.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { SshError } from '../errors.ts'
import type { WaitOptions } from '../wait.ts'
import { Reader } from '../wire/reader.ts'
import { Writer } from '../wire/writer.ts'
import { addressMatches, isAddressBlock } from './address.ts'
import { asKeyError, invalidKey } from './key-errors.ts'
import { matchPatternList } from './pattern.ts'
import { PublicKey, type Signer } from './public-key.ts'

const SUFFIX = '-cert-v01@openssh.com'
/** Longest list of principals, options or extensions that is read. */
const ENTRIES_MAX = 1024
/** What an authority may sign with: no SHA-1. */
const authoritySignatures: readonly SignatureSpec[] = [
  sshEd25519,
  ecdsaNistp256,
  ecdsaNistp384,
  ecdsaNistp521,
  rsaSha512,
  rsaSha256,
  skEd25519,
  skEcdsaNistp256,
]
/** Stands for "for ever", in both directions. */
const FOREVER = 0xffffffffffffffffn

/** What a certificate says. Nothing of it is to be believed before `checkCertificate`. */
export interface Certificate {
  /** The key that is certified. */
  readonly key: PublicKey
  /** The certificate itself, as it travels in place of the key. */
  readonly certificate: PublicKey
  /** Whom it identifies. */
  readonly role: 'user' | 'host'
  readonly serial: bigint
  /** A name for logs. */
  readonly keyId: string
  /** User or host names it is good for. */
  readonly principals: readonly string[]
  /** Milliseconds since 1970; minus infinity if not limited. */
  readonly validAfterMs: number
  /** Milliseconds since 1970, the first moment when it is no longer valid. */
  readonly validBeforeMs: number
  /** Restrictions; a certificate with an unknown one must be refused. */
  readonly criticalOptions: ReadonlyMap<string, string>
  /** Permissions, such as `permit-pty`. */
  readonly extensions: ReadonlyMap<string, string>
  /** The authority. */
  readonly signatureKey: PublicKey
  /** Algorithm of its signature. */
  readonly signatureAlgorithm: string
}

/**
 * True if the key is in truth a certificate.
 *
 * @example
 * import { generateKey, isCertificate, issueCertificate } from '@sandbox-ssh/protocol'
 *
 * const request = { key: generateKey('ed25519').publicKey, keyId: 'ada', principals: ['ada'] }
 * const certificate = await issueCertificate(generateKey('ed25519'), {
 *   ...request,
 *   role: 'user',
 *   validBeforeMs: Date.now() + 60_000,
 * })
 * console.log(isCertificate(request.key), isCertificate(certificate)) // false true
 */
export function isCertificate(key: PublicKey): boolean {
  return key.type.endsWith(SUFFIX)
}

/**
 * The key that a certificate is for; the key itself if it is none or cannot be read.
 *
 * @example
 * import { generateKey, issueCertificate, plainKey } from '@sandbox-ssh/protocol'
 *
 * const { publicKey } = generateKey('ecdsa-nistp256')
 * const certificate = await issueCertificate(generateKey('ed25519'), {
 *   key: publicKey,
 *   role: 'host',
 *   keyId: 'box',
 *   principals: ['box'],
 *   validBeforeMs: Date.now() + 60_000,
 * })
 * // A list of revoked or known keys names keys, not certificates.
 * console.log(plainKey(certificate).fingerprint() === publicKey.fingerprint()) // true
 */
export function plainKey(key: PublicKey): PublicKey {
  if (!isCertificate(key)) return key
  try {
    return decodeCertificate(key).key
  } catch {
    return key
  }
}

/**
 * Reads a certificate without checking anything but its form.
 * Throws SshError `SSH_KEY_INVALID`.
 *
 * @example
 * import {
 *   decodeCertificate,
 *   generateKey,
 *   isCertificate,
 *   issueCertificate,
 *   plainKey,
 * } from '@sandbox-ssh/protocol'
 *
 * const host = generateKey('ed25519').publicKey
 * const certificate = await issueCertificate(generateKey('ed25519'), {
 *   key: host,
 *   role: 'host',
 *   principals: ['box.example'],
 *   keyId: 'box',
 *   validBeforeMs: Date.now() + 86_400_000,
 * })
 * console.log(isCertificate(certificate), isCertificate(host)) // true false
 * console.log(decodeCertificate(certificate).principals) // [ 'box.example' ]
 * console.log(plainKey(certificate).equals(host)) // true
 */
export function decodeCertificate(certificate: PublicKey): Certificate {
  try {
    return decode(certificate).content
  } catch (error) {
    throw asKeyError(error)
  }
}

/** What a certificate is asked for. */
export interface CertificateUse {
  readonly role: 'user' | 'host'
  /** The user name or host name, one of which must be among the principals. */
  readonly principals: readonly string[]
  /** Keys trusted to sign certificates for this use. */
  readonly authorities: readonly PublicKey[]
  /** Default: now. */
  readonly nowMs?: number
  /** Address of the client, for `source-address`. */
  readonly address?: string | undefined
  /**
   * Critical options that the caller enforces himself, such as `force-command`. `source-address` is
   * enforced here, and refused if no address is given; any other not listed is refused.
   */
  readonly honours?: readonly string[]
  readonly crypto?: CryptoProvider
}

/**
 * Checks a certificate: authority and its signature, role, principals, time, critical options.
 * Returns its contents. Throws SshError `SSH_KEY_INVALID` saying which of these it was.
 *
 * @example
 * import { checkCertificate, generateKey, issueCertificate } from '@sandbox-ssh/protocol'
 *
 * const authority = generateKey('ed25519')
 * const certificate = await issueCertificate(authority, {
 *   key: generateKey('ed25519').publicKey,
 *   role: 'user',
 *   keyId: 'deploy 17',
 *   principals: ['deploy'],
 *   validBeforeMs: Date.now() + 60_000,
 * })
 * const check = (principal: string) =>
 *   checkCertificate(certificate, {
 *     role: 'user',
 *     principals: [principal],
 *     authorities: [authority.publicKey],
 *   })
 * console.log(check('deploy').keyId) // deploy 17
 * try {
 *   check('root')
 * } catch (error) {
 *   console.log(String(error)) // SshError: …
 * }
 */
export function checkCertificate(certificate: PublicKey, use: CertificateUse): Certificate {
  const { content, signed, signature } = (() => {
    try {
      return decode(certificate)
    } catch (error) {
      throw asKeyError(error)
    }
  })()
  const crypto = use.crypto ?? defaultCrypto()
  const nowMs = use.nowMs ?? Date.now()
  const { signatureKey, role, principals } = content
  if (!use.authorities.some((authority) => authority.equals(signatureKey))) {
    throw invalidKey(
      `the authority of the certificate is not trusted: ${signatureKey.fingerprint()}`,
    )
  }
  const spec = authoritySignatures.find(
    ({ name, keyType }) => name === content.signatureAlgorithm && keyType === signatureKey.type,
  )
  if (spec?.verify(crypto, signatureKey, signed, signature) !== true) {
    throw invalidKey('the signature under the certificate is not valid')
  }
  if (role !== use.role)
    throw invalidKey(`a ${role} certificate where one of a ${use.role} is needed`)
  if (!principalMatches(content, use.principals)) {
    const allowed = principals.length === 0 ? 'nobody' : principals.join(', ')
    throw invalidKey(`the certificate is for ${allowed}, not for ${use.principals.join(' or ')}`)
  }
  if (nowMs < content.validAfterMs) throw invalidKey('the certificate is not valid yet')
  if (nowMs >= content.validBeforeMs) throw invalidKey('the certificate has expired')
  for (const [name, value] of content.criticalOptions) {
    if (name === 'source-address') checkSource(value, use.address)
    else if (use.honours?.includes(name) !== true) {
      throw invalidKey(`the certificate has a critical option that is not supported here: ${name}`)
    }
  }
  return content
}

/** Names of hosts may be patterns, those of users are exact. None at all is good for nobody. */
function principalMatches(content: Certificate, names: readonly string[]): boolean {
  return names.some((name) =>
    content.role === 'host'
      ? matchPatternList(name.toLowerCase(), content.principals.map(lowerCase)) === 'allowed'
      : content.principals.includes(name),
  )
}

const lowerCase = (text: string): string => text.toLowerCase()

function checkSource(value: string, address: string | undefined): void {
  const blocks = value.split(',')
  if (!blocks.every(isAddressBlock))
    throw invalidKey('the certificate has a malformed source-address')
  if (address === undefined || !blocks.some((block) => addressMatches(address, block))) {
    throw invalidKey('the certificate may not be used from this address')
  }
}

/** What a new certificate shall say. */
export interface CertificateRequest extends WaitOptions {
  /** The key to certify, not itself a certificate. */
  readonly key: PublicKey
  readonly role: 'user' | 'host'
  /** At least one: a certificate for everybody is not to be had by leaving something out. */
  readonly principals: readonly string[]
  /** A name for logs. */
  readonly keyId: string
  /** Milliseconds since 1970; default five minutes ago, for clocks that differ. */
  readonly validAfterMs?: number
  /** Milliseconds since 1970. */
  readonly validBeforeMs: number
  readonly serial?: bigint
  readonly criticalOptions?: Readonly<Record<string, string>>
  /** Default for users: those of ssh-keygen (`permit-pty` and so on); for hosts none. */
  readonly extensions?: Readonly<Record<string, string>>
  readonly crypto?: CryptoProvider
}

const USER_EXTENSIONS = [
  'permit-X11-forwarding',
  'permit-agent-forwarding',
  'permit-port-forwarding',
  'permit-pty',
  'permit-user-rc',
] as const
const CLOCK_SKEW_MS = 300_000

/**
 * Issues a certificate, signed by `authority`: short-lived access without touching the server.
 * Rejects with a TypeError for a senseless request, or with what the signer rejects with.
 *
 * @example
 * import {
 *   certified,
 *   checkCertificate,
 *   generateKey,
 *   issueCertificate,
 * } from '@sandbox-ssh/protocol'
 *
 * const authority = generateKey('ed25519')
 * const user = generateKey('ed25519')
 * const certificate = await issueCertificate(authority, {
 *   key: user.publicKey,
 *   role: 'user',
 *   principals: ['ada'],
 *   keyId: 'ada, ticket 12',
 *   validBeforeMs: Date.now() + 600_000,
 * })
 * // What goes into `publickey(…)`: the certificate is shown, the key signs.
 * const signer = certified(user, certificate)
 * console.log(signer.publicKey.type) // ssh-ed25519-cert-v01@openssh.com
 *
 * const authorities = [authority.publicKey]
 * const use = { role: 'user', principals: ['ada'], authorities } as const
 * console.log(checkCertificate(certificate, use).keyId) // ada, ticket 12
 */
export async function issueCertificate(
  authority: Signer,
  request: CertificateRequest,
): Promise<PublicKey> {
  const { key, role, principals, validBeforeMs } = request
  if (isCertificate(key)) throw new TypeError('key: is itself a certificate')
  if (!Object.hasOwn(KEY_FIELDS, key.type))
    throw new TypeError(`key: no certificates for ${key.type}`)
  if (principals.length === 0) throw new TypeError('principals: at least one is needed')
  const validAfterMs = request.validAfterMs ?? Date.now() - CLOCK_SKEW_MS
  if (!(validBeforeMs > validAfterMs)) throw new TypeError('validBeforeMs: before validAfterMs')
  const [algorithm] = authority.algorithms
  if (algorithm === undefined) throw new TypeError('authority: cannot sign')

  const crypto = request.crypto ?? defaultCrypto()
  const fields = new Reader(key.blob)
  fields.string()
  const standard = role === 'user' ? USER_EXTENSIONS.map((name) => [name, ''] as const) : []
  const extensions = request.extensions ? Object.entries(request.extensions) : standard
  const body = new Writer()
    .string(key.type.replace(/@openssh\.com$/, '') + SUFFIX)
    .string(crypto.random(32))
    .bytes(fields.rest())
    .uint64(request.serial ?? 0n)
    .uint32(role === 'user' ? 1 : 2)
    .string(request.keyId)
    .string(packed(principals.map((name) => [name])))
    .uint64(seconds(validAfterMs))
    .uint64(seconds(validBeforeMs))
    .string(options(Object.entries(request.criticalOptions ?? {})))
    .string(options(extensions))
    .string('')
    .string(authority.publicKey.blob)
    .finish()
  const signature = await authority.sign(body, algorithm, { signal: request.signal })
  return PublicKey.fromBlob(new Writer().bytes(body).string(signature).finish(), key.comment)
}

/**
 * A signer that shows a certificate in place of its key.
 * Throws SshError `SSH_KEY_INVALID` if the certificate is for another key.
 *
 * @example
 * import { authorize, certified, generateKey, issueCertificate } from '@sandbox-ssh/protocol'
 * import { parseAuthorizedKeys, publickey } from '@sandbox-ssh/protocol'
 *
 * const [authority, key] = [generateKey('ed25519'), generateKey('ed25519')]
 * const certificate = await issueCertificate(authority, {
 *   key: key.publicKey,
 *   role: 'user',
 *   keyId: 'one hour',
 *   principals: ['ada'],
 *   validBeforeMs: Date.now() + 3_600_000,
 * })
 * const honours = ['cert-authority'] as const
 * const { keys } = parseAuthorizedKeys(`cert-authority ${authority.publicKey}`, { honours })
 * const client = await pair(
 *   { auth: { publickey: ({ key, username }) => authorize(keys, { key, username }) ?? false } },
 *   { auth: [publickey(certified(key, certificate))] },
 * )
 * console.log((await client.run('echo vouched for')).text().trim()) // vouched for
 */
export function certified(signer: Signer, certificate: PublicKey): Signer {
  if (!decodeCertificate(certificate).key.equals(signer.publicKey)) {
    throw invalidKey('the certificate is for another key')
  }
  const names = new Map(signer.algorithms.map((name) => [certificateName(name), name]))
  return {
    publicKey: certificate,
    algorithms: [...names.keys()],
    sign(data, algorithm, options) {
      const plain = names.get(algorithm)
      if (plain === undefined) {
        throw new SshError('SSH_SIGN', `this certificate cannot sign with ${algorithm}`)
      }
      return signer.sign(data, plain, options)
    },
  }
}

/** `ssh-ed25519` → `ssh-ed25519-cert-v01@openssh.com`, and so on. */
function certificateName(name: string): string {
  return name.replace(/@openssh\.com$/, '') + SUFFIX
}

/** How many strings or numbers make up each key, behind its type. */
const KEY_FIELDS: Readonly<Record<string, number>> = {
  'ssh-ed25519': 1,
  'ecdsa-sha2-nistp256': 2,
  'ecdsa-sha2-nistp384': 2,
  'ecdsa-sha2-nistp521': 2,
  'ssh-rsa': 2,
  'sk-ssh-ed25519@openssh.com': 2,
  'sk-ecdsa-sha2-nistp256@openssh.com': 3,
}

function decode(certificate: PublicKey): {
  content: Certificate
  signed: Uint8Array
  signature: Uint8Array
} {
  const reader = new Reader(certificate.blob)
  const name = reader.ascii()
  if (!name.endsWith(SUFFIX)) throw invalidKey(`${name} is not a certificate`)
  const stem = name.slice(0, -SUFFIX.length)
  const type = Object.hasOwn(KEY_FIELDS, stem) ? stem : `${stem}@openssh.com`
  const count = Object.hasOwn(KEY_FIELDS, type) ? KEY_FIELDS[type] : undefined
  if (count === undefined) throw invalidKey(`certificates of type ${name} are not supported`)
  reader.string()
  const key = new Writer().string(type)
  for (let field = 0; field < count; field++) key.string(reader.string())
  const serial = reader.uint64()
  const role = roleOf(reader.uint32())
  const keyId = reader.utf8(4096)
  const principals = strings(reader.string())
  const validAfter = reader.uint64()
  const validBefore = reader.uint64()
  const criticalOptions = optionsIn(reader.string())
  const extensions = optionsIn(reader.string())
  reader.string()
  const signatureKey = PublicKey.fromBlob(reader.string())
  if (isCertificate(signatureKey)) throw invalidKey('a certificate signed by another one')
  const signed = certificate.blob.subarray(0, reader.offset)
  const signature = reader.string()
  reader.end()
  return {
    content: {
      key: PublicKey.fromBlob(key.finish(), certificate.comment),
      certificate,
      role,
      serial,
      keyId,
      principals,
      validAfterMs: validAfter === 0n ? Number.NEGATIVE_INFINITY : Number(validAfter) * 1000,
      validBeforeMs:
        validBefore === FOREVER ? Number.POSITIVE_INFINITY : Number(validBefore) * 1000,
      criticalOptions,
      extensions,
      signatureKey,
      signatureAlgorithm: new Reader(signature).ascii(),
    },
    signed,
    signature,
  }
}

function roleOf(number: number): 'user' | 'host' {
  if (number === 1) return 'user'
  if (number === 2) return 'host'
  throw invalidKey(`unknown type of certificate: ${number}`)
}

function strings(bytes: Uint8Array): readonly string[] {
  const reader = new Reader(bytes)
  const list: string[] = []
  while (reader.remaining > 0) {
    if (list.length >= ENTRIES_MAX) throw invalidKey('too many entries in the certificate')
    list.push(reader.utf8(4096))
  }
  return list
}

/** Names and data, in order and each once; the data is a string within a string, or nothing. */
function optionsIn(bytes: Uint8Array): ReadonlyMap<string, string> {
  const reader = new Reader(bytes)
  const map = new Map<string, string>()
  while (reader.remaining > 0) {
    if (map.size >= ENTRIES_MAX) throw invalidKey('too many options in the certificate')
    const name = reader.ascii()
    const data = new Reader(reader.string())
    if (map.has(name)) throw invalidKey(`the option ${name} occurs twice in the certificate`)
    map.set(name, data.remaining === 0 ? '' : data.utf8(16 * 1024))
    data.end()
  }
  return map
}

function packed(entries: readonly (readonly (string | Uint8Array)[])[]): Uint8Array {
  const writer = new Writer()
  for (const entry of entries) for (const value of entry) writer.string(value)
  return writer.finish()
}

/** In the order of their names, as the format demands. */
function options(entries: readonly (readonly [string, string])[]): Uint8Array {
  const sorted = [...entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return packed(
    sorted.map(([name, value]) => [name, value === '' ? '' : new Writer().string(value).finish()]),
  )
}

function seconds(ms: number): bigint {
  if (ms === Number.POSITIVE_INFINITY) return FOREVER
  return ms <= 0 ? 0n : BigInt(Math.floor(ms / 1000))
}
