/** May this key in, and what may it do then? authorized_keys and certificates put together. */
import { defaultCrypto } from '../crypto/native.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { addressMatches } from './address.ts'
import type { AuthorizedKey, AuthorizedKeyOptions } from './authorized-keys.ts'
import {
  type Certificate,
  checkCertificate,
  decodeCertificate,
  isCertificate,
} from './certificate.ts'
import { matchesPattern, matchPatternList } from './pattern.ts'
import type { PublicKey } from './public-key.ts'

/** Who wants in. */
export interface AuthorizationRequest {
  readonly key: PublicKey
  readonly username: string
  /** Address of the client; without it, keys that are limited to addresses are refused. */
  readonly address?: string | undefined
  /** Default: now. */
  readonly nowMs?: number
  readonly crypto?: CryptoProvider
}

/**
 * How a key got in. To be returned by the `publickey` handler of a server, which then demands of a
 * security key what the line and the certificate demand.
 */
export interface Authorization {
  readonly accept: true
  /** Line and certificate do not both say `no-touch-required`. */
  readonly touchRequired: boolean
  /** Line or certificate says `verify-required`. */
  readonly verifyRequired: boolean
  /** What it may do: the options of its line, narrowed by those of its certificate. */
  readonly options: AuthorizedKeyOptions
  /** Line of the file, from 1. */
  readonly line: number
  readonly certificate: Certificate | undefined
}

/**
 * Looks for a line that lets the key in. The caller must enforce the `options` of the answer, those
 * that he named as `honours` when he parsed the file. Undefined if there is none; never throws.
 *
 * @example
 * import { authorize, generateKey, parseAuthorizedKeys } from '@sandbox-ssh/protocol'
 *
 * const ada = generateKey('ed25519').publicKey
 * const { keys } = parseAuthorizedKeys(`from="10.0.0.0/8" ${ada}\n`, { honours: ['from'] })
 * const allows = (address: string) =>
 *   authorize(keys, { key: ada, username: 'ada', address }) !== undefined
 * console.log(allows('10.1.2.3'), allows('192.0.2.1')) // true false
 */
export function authorize(
  keys: readonly AuthorizedKey[],
  request: AuthorizationRequest,
): Authorization | undefined {
  for (const entry of keys) {
    const { options, line } = entry
    if (!isOpenNow(options, request)) continue
    if (!options.certAuthority) {
      if (!isCertificate(request.key) && entry.key.equals(request.key)) {
        return granted(options, line, undefined)
      }
      continue
    }
    const certificate = certificateUnder(entry, request)
    if (certificate !== undefined && !commandsClash(options, certificate)) {
      return granted(narrowed(options, certificate), line, certificate)
    }
  }
  return undefined
}

function granted(
  options: AuthorizedKeyOptions,
  line: number,
  certificate: Certificate | undefined,
): Authorization {
  const { touchRequired, verifyRequired } = options
  return { accept: true, touchRequired, verifyRequired, options, line, certificate }
}

function isOpenNow(options: AuthorizedKeyOptions, request: AuthorizationRequest): boolean {
  const { expiryMs, from } = options
  if (expiryMs !== undefined && (request.nowMs ?? Date.now()) >= expiryMs) return false
  if (from === undefined) return true
  const { address } = request
  if (address === undefined) return false
  const matches = (text: string, pattern: string): boolean =>
    addressMatches(text, pattern) || matchesPattern(text.toLowerCase(), pattern.toLowerCase())
  return matchPatternList(address, from, matches) === 'allowed'
}

function certificateUnder(
  { key, options }: AuthorizedKey,
  request: AuthorizationRequest,
): Certificate | undefined {
  if (!isCertificate(request.key)) return undefined
  try {
    // Most lines are of other authorities; do not spend a signature on those.
    if (!decodeCertificate(request.key).signatureKey.equals(key)) return undefined
    return checkCertificate(request.key, {
      role: 'user',
      authorities: [key],
      principals: options.principals ?? [request.username],
      nowMs: request.nowMs ?? Date.now(),
      address: request.address,
      honours: ['force-command', 'verify-required'],
      crypto: request.crypto ?? defaultCrypto(),
    })
  } catch {
    return undefined
  }
}

/** Where line and certificate both force a command they must agree, or sshd refuses the key. */
function commandsClash(
  { command }: AuthorizedKeyOptions,
  { criticalOptions }: Certificate,
): boolean {
  const forced = criticalOptions.get('force-command')
  return forced !== undefined && command !== undefined && forced !== command
}

/** Both must permit a thing for it to be permitted. */
function narrowed(options: AuthorizedKeyOptions, certificate: Certificate): AuthorizedKeyOptions {
  const { criticalOptions, extensions } = certificate
  return {
    ...options,
    command: criticalOptions.get('force-command') ?? options.command,
    touchRequired: options.touchRequired || !extensions.has('no-touch-required'),
    verifyRequired: options.verifyRequired || criticalOptions.has('verify-required'),
    agentForwarding: options.agentForwarding && extensions.has('permit-agent-forwarding'),
    portForwarding: options.portForwarding && extensions.has('permit-port-forwarding'),
    pty: options.pty && extensions.has('permit-pty'),
    userRc: options.userRc && extensions.has('permit-user-rc'),
    x11Forwarding: options.x11Forwarding && extensions.has('permit-X11-forwarding'),
  }
}
