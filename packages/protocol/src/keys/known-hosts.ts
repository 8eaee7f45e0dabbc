/** Which keys a client trusts for which hosts: the known_hosts file of sshd(8), and pinning. */
import { hmac } from '@noble/hashes/hmac.js'
import { sha1 } from '@noble/hashes/legacy.js'
import { equalBytes } from '../crypto/equal-bytes.ts'
import { defaultCrypto } from '../crypto/native.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { SshError } from '../errors.ts'
import { requireString } from '../validate.ts'
import { decodeBase64, encodeBase64 } from './base64.ts'
import { checkCertificate, decodeCertificate, isCertificate, plainKey } from './certificate.ts'
import { matchPatternList } from './pattern.ts'
import { PublicKey } from './public-key.ts'

/** Decides about a server's key: true, false, or an error that says why not. */
export interface HostKeyVerifier {
  (key: PublicKey): boolean
  /** Types of the keys that would be accepted; ask for these first in negotiation. */
  readonly keyTypes: readonly string[]
}

/** A key that would have been accepted, and where it is written. */
export interface ExpectedHostKey {
  readonly type: string
  /** `SHA256:…` */
  readonly fingerprint: string
  /** Line of the file, from 1; 0 for a pinned key. */
  readonly line: number
}

/**
 * Why a host key was refused.
 *
 * @example
 * import { generateKey, HostKeyError, pinned } from '@sandbox-ssh/protocol'
 *
 * const expected = generateKey('ed25519').publicKey
 * const attempt = pair({}, { hostKey: pinned(expected) })
 * const error = await attempt.catch((caught: unknown) => caught)
 * if (!(error instanceof HostKeyError)) throw error
 * console.log(error.code, error.reason) // SSH_HOST_KEY_REJECTED mismatch
 * console.log(error.expected[0]?.fingerprint === expected.fingerprint()) // true
 */
export class HostKeyError extends SshError {
  override readonly name = 'HostKeyError'
  /**
   * `unknown`: nothing is known of the host. `mismatch`: other keys are. `revoked`: this very key
   * is marked so, or a line that revokes something cannot be read.
   */
  readonly reason: 'unknown' | 'mismatch' | 'revoked'
  /** Type and fingerprint of the key that the server showed. */
  readonly found: { readonly type: string; readonly fingerprint: string }
  /** What was expected instead; empty for an unknown host. */
  readonly expected: readonly ExpectedHostKey[]

  constructor(
    reason: HostKeyError['reason'],
    message: string,
    key: PublicKey,
    expected: readonly ExpectedHostKey[],
  ) {
    super('SSH_HOST_KEY_REJECTED', message)
    this.reason = reason
    this.found = { type: key.type, fingerprint: key.fingerprint() }
    this.expected = expected
  }
}

/** One line of a known_hosts file. */
export interface KnownHost {
  readonly marker: 'none' | 'cert-authority' | 'revoked'
  readonly key: PublicKey
  /** From 1. */
  readonly line: number
  /** True if the line is about `name`, which is `host` or `[host]:port`, in lower case. */
  readonly covers: (name: string) => boolean
}

/** What a known_hosts file says. */
/** What a file says, and what of it could not be read. */
export interface KnownHostsFile {
  readonly hosts: readonly KnownHost[]
  /** Lines that could not be read and were skipped. */
  readonly errors: readonly {
    readonly line: number
    readonly message: string
    readonly revokes: boolean
  }[]
}

/**
 * Reads a known_hosts file. Never throws: a bad line is reported and grants nothing.
 *
 * @example
 * import { generateKey, hostName, knownHostLine, parseKnownHosts } from '@sandbox-ssh/protocol'
 *
 * const line = knownHostLine(generateKey('ed25519').publicKey, 'box', 22)
 * const { hosts, errors } = parseKnownHosts(`${line}\nnonsense\n`)
 * console.log(hosts[0]?.covers(hostName('BOX', 22)), errors.length) // true 1
 */
export function parseKnownHosts(text: string): KnownHostsFile {
  const hosts: KnownHost[] = []
  const errors: { line: number; message: string; revokes: boolean }[] = []
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const content = raw.trim()
    if (content === '' || content.startsWith('#')) continue
    const line = index + 1
    try {
      hosts.push(parseLine(content, line))
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      errors.push({ line, message, revokes: /^@revoked\b/i.test(content) })
    }
  }
  return { hosts, errors }
}

/**
 * Trusts what a known_hosts file says about `host`. Reads hashed names, wildcards, negation,
 * `[host]:port`, `@cert-authority` and `@revoked`, which always wins. The verifier returns true or throws a
 * `HostKeyError` (code `SSH_HOST_KEY_REJECTED`) that carries both fingerprints and the line.
 *
 * @example
 * import { generateKey, HostKeyError, knownHostLine, knownHosts } from '@sandbox-ssh/protocol'
 *
 * const { publicKey } = generateKey('ed25519')
 * const file = knownHostLine(publicKey, 'box.example', 2222)
 * const verify = knownHosts(file, 'box.example', 2222)
 * console.log(await verify(publicKey)) // true
 * try {
 *   await verify(generateKey('ed25519').publicKey)
 * } catch (error) {
 *   console.log(error instanceof HostKeyError && error.reason) // mismatch
 * }
 */
export function knownHosts(text: string, host: string, port = 22): HostKeyVerifier {
  requireString(text, 'text')
  requireString(host, 'host')
  const name = hostName(host, port)
  const file = parseKnownHosts(text)
  const own = file.hosts.filter((known) => known.covers(name))
  const trusted = own.filter((known) => known.marker === 'none')
  const authorities = own.filter((known) => known.marker === 'cert-authority')
  const revoked = own.filter((known) => known.marker === 'revoked')
  const unreadable = file.errors.find((error) => error.revokes)
  const expected = trusted.map((known) => expectation(known.key, known.line))

  function verify(key: PublicKey): boolean {
    const fingerprint = key.fingerprint()
    const keys = keysWithin(key)
    const refusal = revoked.find((known) => keys.some((own) => known.key.equals(own)))
    if (refusal !== undefined) {
      const text = `host key ${fingerprint} of ${name} is revoked (known_hosts line ${refusal.line})`
      throw new HostKeyError('revoked', text, key, expected)
    }
    if (unreadable !== undefined) {
      // It may well revoke this key: not knowing is no reason to trust.
      const text = `cannot read the @revoked entry in known_hosts line ${unreadable.line}`
      throw new HostKeyError('revoked', text, key, expected)
    }
    const doubt = isCertificate(key) ? doubtAbout(key, host, authorities) : undefined
    if (isCertificate(key) && doubt === undefined) return true
    const plain = plainKey(key)
    if (trusted.some((known) => known.key.equals(plain))) return true
    if (expected.length === 0) {
      const why = doubt === undefined ? '' : ` (${doubt})`
      const text = `no host key is known for ${name}; its is ${key.type} ${fingerprint}${why}`
      throw new HostKeyError('unknown', text, key, expected)
    }
    throw mismatch(name, key, expected)
  }
  const plainTypes = expected.map(({ type }) => type)
  // Without an authority a certificate is worth no more than its key: do not ask for one.
  const keyTypes = authorities.length === 0 ? plainTypes : [...CERTIFICATE_TYPES, ...plainTypes]
  return Object.assign(verify, { keyTypes: [...new Set(keyTypes)] })
}

const CERTIFICATE_TYPES = [
  'ssh-ed25519-cert-v01@openssh.com',
  'ecdsa-sha2-nistp256-cert-v01@openssh.com',
  'ecdsa-sha2-nistp384-cert-v01@openssh.com',
  'ecdsa-sha2-nistp521-cert-v01@openssh.com',
  'ssh-rsa-cert-v01@openssh.com',
] as const

/** Why a certificate is not good for the host now; undefined if it is. */
function doubtAbout(
  key: PublicKey,
  host: string,
  authorities: readonly KnownHost[],
): string | undefined {
  try {
    checkCertificate(key, {
      role: 'host',
      principals: [host.toLowerCase()],
      authorities: authorities.map((known) => known.key),
    })
    return undefined
  } catch (error) {
    return error instanceof SshError ? error.message : 'the certificate cannot be checked'
  }
}

/** Everything that could have been revoked: what was shown, the key in it, and its authority. */
function keysWithin(key: PublicKey): readonly PublicKey[] {
  if (!isCertificate(key)) return [key]
  try {
    const certificate = decodeCertificate(key)
    return [key, certificate.key, certificate.signatureKey]
  } catch {
    return [key]
  }
}

/**
 * Trusts exactly the keys given, also when the host shows one of them within a certificate. The
 * verifier throws a `HostKeyError` for any other.
 *
 * @example
 * import { generateKey, pinned } from '@sandbox-ssh/protocol'
 *
 * const { publicKey } = generateKey('ed25519')
 * console.log(await pinned(publicKey)(publicKey)) // true
 */
export function pinned(...keys: readonly PublicKey[]): HostKeyVerifier {
  const expected = keys.map((key) => expectation(key, 0))
  function verify(key: PublicKey): boolean {
    const plain = plainKey(key)
    if (keys.some((known) => known.equals(plain) || known.equals(key))) return true
    throw mismatch('the server', key, expected)
  }
  return Object.assign(verify, { keyTypes: [...new Set(expected.map(({ type }) => type))] })
}

/** How a line is written. */
export interface KnownHostLineOptions {
  /** Default: true. */
  readonly hashed?: boolean
  readonly crypto?: CryptoProvider
}

/**
 * A line for known_hosts. Hashed by default, so that a stolen file does not tell where its owner
 * connects to. Throws TypeError for what cannot be a host name.
 *
 * @example
 * import { generateKey, knownHostLine } from '@sandbox-ssh/protocol'
 *
 * const line = knownHostLine(generateKey('ed25519').publicKey, 'box', 2222, { hashed: false })
 * console.log(line) // [box]:2222 ssh-ed25519 …
 */
export function knownHostLine(
  key: PublicKey,
  host: string,
  port = 22,
  options: KnownHostLineOptions = {},
): string {
  const name = hostName(host, port)
  // A name is one field of one line; anything else could smuggle in a line of its own.
  if (!/^[\x21-\x7e]+$/.test(name) || /[,*?!|#@]/.test(name)) {
    throw new TypeError('host: not a host name or address')
  }
  const keyText = `${key.type} ${encodeBase64(key.blob)}`
  if (options.hashed === false) return `${name} ${keyText}`
  const salt = (options.crypto ?? defaultCrypto()).random(20)
  const hash = hmac(sha1, salt, new TextEncoder().encode(name))
  return `|1|${encodeBase64(salt)}|${encodeBase64(hash)} ${keyText}`
}

/**
 * How known_hosts names a host: bare on port 22, `[host]:port` elsewhere, in lower case.
 *
 * @example
 * import { hostName } from '@sandbox-ssh/protocol'
 *
 * console.log(hostName('Box.Example', 22), hostName('box', 2222)) // box.example [box]:2222
 */
export function hostName(host: string, port: number): string {
  const name = host.toLowerCase()
  return port === 22 ? name : `[${name}]:${port}`
}

function expectation(key: PublicKey, line: number): ExpectedHostKey {
  return { type: key.type, fingerprint: key.fingerprint(), line }
}

function mismatch(
  name: string,
  key: PublicKey,
  expected: readonly ExpectedHostKey[],
): HostKeyError {
  const known = expected
    .map(({ type, fingerprint, line }) =>
      line === 0 ? `${type} ${fingerprint}` : `${type} ${fingerprint} (known_hosts line ${line})`,
    )
    .join(', ')
  const text =
    `host key mismatch: ${name} showed ${key.type} ${key.fingerprint()}, expected ${known}; ` +
    'somebody may be listening in, or the host was given a new key'
  return new HostKeyError('mismatch', text, key, expected)
}

function parseLine(content: string, line: number): KnownHost {
  const fields = content.split(/\s+/)
  const marker = fields[0]?.startsWith('@') === true ? fields.shift() : undefined
  const [names = '', ...key] = fields
  return {
    marker: markerNamed(marker),
    key: PublicKey.parse(key.join(' ')),
    line,
    covers: names.startsWith('|') ? hashedName(names) : plainNames(names),
  }
}

function markerNamed(marker: string | undefined): KnownHost['marker'] {
  switch (marker) {
    case undefined:
      return 'none'
    case '@cert-authority':
      return 'cert-authority'
    case '@revoked':
      return 'revoked'
    default:
      throw new TypeError(`unknown marker ${marker}`)
  }
}

function plainNames(names: string): (name: string) => boolean {
  const patterns = names.toLowerCase().split(',')
  return (name) => matchPatternList(name, patterns) === 'allowed'
}

/** `|1|salt|HMAC-SHA1(salt, name)`, which hides the names from whoever steals the file. */
function hashedName(text: string): (name: string) => boolean {
  const [, version, saltText = '', hashText = ''] = text.split('|')
  const salt = decodeBase64(saltText)
  const hash = decodeBase64(hashText)
  if (version !== '1' || salt === undefined || hash?.length !== 20) {
    throw new TypeError('unreadable hashed host name')
  }
  return (name) => equalBytes(hmac(sha1, salt, new TextEncoder().encode(name)), hash)
}
