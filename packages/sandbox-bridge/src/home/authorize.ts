/** Changing who may enter: keys are added to the files of MSB_HOME, and taken out again. */
import { dirname } from 'node:path'
import type { AuthorizedKey, PublicKey } from '@sandbox-ssh/protocol'
import { linesOf, parseGrants, readKeysText } from './authorized-keys.ts'
import { reasonOf, SandboxError } from './errors.ts'
import { makePrivateDirectory, replaceFile } from './files.ts'
import { sandboxKeysPath } from './grants.ts'
import type { Home } from './home.ts'
import { authorityLine, isKeylessLine, parseGrantLine, splitGrantLine } from './key-lines.ts'
import { withFileLock } from './lock.ts'

/** Largest input of `authorize`. */
export const AUTHORIZE_INPUT_BYTES_MAX: number = 1024 * 1024

/** How long one waits for another one. */
const LOCK_MS = 10_000

/** Where and for how long keys are authorized. */
export interface AuthorizeOptions {
  /** A sandbox, as a user writes it, that they may enter; default: all. */
  readonly sandbox?: string | undefined
  /** Milliseconds since 1970 after which they may not any more; default: they may until revoked. */
  readonly expiryMs?: number | undefined
  /**
   * The keys are those of authorities: whoever has a certificate of one may enter. Default: each key
   * itself, unless its line has the option `cert-authority`.
   */
  readonly authority?: AuthorityOptions | undefined
}

/** What certificates of an authority are good for. */
export interface AuthorityOptions {
  /** Principals of which a certificate must name one; default: the login name. */
  readonly principals?: readonly string[] | undefined
}

/** What became of one key given to `authorize`. */
export interface AuthorizeResult {
  readonly key: PublicKey
  /** False if it was in the file already. */
  readonly added: boolean
  /** True if it was, with another date of expiry, which was replaced. */
  readonly renewed: boolean
}

/**
 * Adds the public keys in `input`, one a line; blank lines and comments between them are left
 * out. Every line is checked before any is added, and lines go in as they are written, options
 * before the key included. A bare blob becomes `type blob`. A key in the file already is not added
 * again: it gets the date of expiry that is asked for, or, if it had expired, none. The directory
 * ends up at 0700, the file at 0600; concurrent callers wait for each other.
 * @throws SandboxError `AUTHORIZED_KEY_INVALID`, `SANDBOX_NAME_INVALID`, `HOME_UNUSABLE`,
 * `MODE_UNSAFE`, `LOCK_TIMEOUT`
 *
 * @example
 * import { mkdtempSync } from 'node:fs'
 * import { tmpdir } from 'node:os'
 * import { join } from 'node:path'
 * import { generateKey } from '@sandbox-ssh/protocol'
 * import {
 *   authorizeKeys,
 *   openHome,
 *   readAuthorizedKeys,
 *   requireAuthorizedKeys,
 *   revokeKey,
 * } from '@sandbox-ssh/sandbox-bridge'
 *
 * const home = openHome({ path: mkdtempSync(join(tmpdir(), 'home-')) })
 * const { publicKey } = generateKey('ed25519')
 * const expiryMs = Date.now() + 8 * 3600_000
 * const [result] = await authorizeKeys(home, `${publicKey} ada`, { sandbox: 'devbox', expiryMs })
 * console.log(result?.added) // true
 * console.log(requireAuthorizedKeys(home, 'devbox').keys.length) // 1
 * console.log(readAuthorizedKeys(home, 'another').keys.length) // 0
 *
 * const gone = await revokeKey(home, publicKey.fingerprint(), { sandbox: 'devbox' })
 * console.log(gone.length) // 1
 */
export async function authorizeKeys(
  home: Home,
  input: string,
  options: AuthorizeOptions = {},
): Promise<readonly AuthorizeResult[]> {
  const { expiryMs } = options
  const candidates = parseInput(input, options.authority)
  return edit(home, options.sandbox, (before) => {
    const lines = [...linesOf(before)]
    const known = parseGrants(before).keys.slice()
    const added: string[] = []
    const results = candidates.map(({ grant, line }): AuthorizeResult => {
      const { key } = grant
      const there = known.find(
        (other) => isAuthority(other) === isAuthority(grant) && other.key.equals(key),
      )
      if (there === undefined) {
        known.push({ ...grant, line: 0 })
        added.push(`${withExpiry(line, expiryMs)}\n`)
        return { key, added: true, renewed: false }
      }
      const asked = expiryMs ?? grant.options.expiryMs
      // Twice in this very input: the first one counts.
      if (there.line === 0 || !mustRenew(there, asked)) return { key, added: false, renewed: false }
      lines[there.line - 1] = withExpiry(lines[there.line - 1] ?? '', asked, true)
      return { key, added: false, renewed: true }
    })
    const renewed = results.some((result) => result.renewed) ? lines.join('\n') : before
    if (renewed === before && added.length === 0) return [undefined, results]
    const separator = renewed === '' || renewed.endsWith('\n') ? '' : '\n'
    return [renewed + separator + added.join(''), results]
  })
}

/**
 * Takes a key, given as such or by its fingerprint `SHA256:…`, out of the file for all sandboxes or
 * for one. Every line of it goes, those with options included. Resolves with the keys that went:
 * none if it was not there.
 * @throws SandboxError as `authorizeKeys`
 *
 * @example
 * import { mkdtempSync } from 'node:fs'
 * import { tmpdir } from 'node:os'
 * import { join } from 'node:path'
 * import { generateKey } from '@sandbox-ssh/protocol'
 * import { authorizeKeys, openHome, revokeKey } from '@sandbox-ssh/sandbox-bridge'
 *
 * const home = openHome({ path: mkdtempSync(join(tmpdir(), 'home-')) })
 * const { publicKey } = generateKey('ed25519')
 * await authorizeKeys(home, `${publicKey} of a lost laptop`)
 * const revoke = () => revokeKey(home, publicKey.fingerprint())
 * console.log((await revoke()).length, (await revoke()).length) // 1 0
 */
export async function revokeKey(
  home: Home,
  keyOrFingerprint: string,
  { sandbox }: Pick<AuthorizeOptions, 'sandbox'> = {},
): Promise<readonly PublicKey[]> {
  const wanted = keyOrFingerprint.trim()
  const isFingerprint = /^SHA256:[A-Za-z0-9+/]{43}=?$/.test(wanted)
  const key = isFingerprint ? undefined : parseGrantLine(wanted).key
  const fingerprint = wanted.replace(/=$/, '')
  const matches = (other: PublicKey): boolean =>
    key === undefined ? other.fingerprint() === fingerprint : other.equals(key)
  return edit(home, sandbox, (before) => {
    const gone = parseGrants(before).keys.filter((grant) => matches(grant.key))
    if (gone.length === 0) return [undefined, []]
    const numbers = new Set(gone.map(({ line }) => line))
    const kept = linesOf(before).filter((_, index) => !numbers.has(index + 1))
    return [kept.join('\n'), gone.map((grant) => grant.key)]
  })
}

/** Changes one file under its lock; undefined as its new text leaves it alone. */
async function edit<T>(
  home: Home,
  sandbox: string | undefined,
  change: (before: string) => readonly [text: string | undefined, result: T],
): Promise<T> {
  const path = sandbox === undefined ? home.authorizedKeysPath : sandboxKeysPath(home, sandbox)
  makePrivateDirectory(home.sshPath)
  if (dirname(path) !== home.sshPath) makePrivateDirectory(dirname(path))
  return withFileLock(`${path}.lock`, LOCK_MS, () => {
    const [text, result] = change(readKeysText(path) ?? '')
    if (text === undefined) return result
    try {
      replaceFile(path, text, 0o600)
    } catch (cause) {
      const message = `failed to write ${path}: ${reasonOf(cause)}`
      throw new SandboxError('HOME_UNUSABLE', message, { cause })
    }
    return result
  })
}

function parseInput(
  input: string,
  authority: AuthorityOptions | undefined,
): readonly { grant: AuthorizedKey; line: string }[] {
  if (Buffer.byteLength(input) > AUTHORIZE_INPUT_BYTES_MAX) {
    throw new SandboxError(
      'AUTHORIZED_KEY_INVALID',
      `public keys too large: more than ${AUTHORIZE_INPUT_BYTES_MAX} bytes`,
    )
  }
  const lines = linesOf(input.trim()).map((line) => line.trim())
  const candidates: { grant: AuthorizedKey; line: string }[] = []
  for (const [index, line] of lines.entries()) {
    if (isKeylessLine(line)) continue
    const number = lines.length === 1 ? undefined : index + 1
    const given = parseNumbered(line, number)
    const whole = /\s/.test(line) ? line : given.key.toString()
    if (authority === undefined || isAuthority(given)) {
      candidates.push({ grant: given, line: whole })
    } else {
      const ofAuthority = authorityLine(whole, authority.principals)
      candidates.push({ grant: parseNumbered(ofAuthority, number), line: ofAuthority })
    }
  }
  if (candidates.length === 0) {
    throw new SandboxError('AUTHORIZED_KEY_INVALID', 'public key cannot be empty')
  }
  return candidates
}

/** As `parseGrantLine`, with the number in the message if there is one. */
function parseNumbered(line: string, number: number | undefined): AuthorizedKey {
  try {
    return parseGrantLine(line, number)
  } catch (error) {
    if (!(error instanceof SandboxError) || number === undefined) throw error
    throw new SandboxError(error.code, `line ${number}: ${error.message}`, { cause: error })
  }
}

/** A key that signs certificates is another thing than the same key that logs in. */
function isAuthority({ options }: AuthorizedKey): boolean {
  return options.certAuthority
}

function mustRenew({ options }: AuthorizedKey, asked: number | undefined): boolean {
  if (asked !== undefined) return options.expiryMs !== toSeconds(asked)
  return options.expiryMs !== undefined && options.expiryMs <= Date.now()
}

/** The line with that date of expiry; `replace` also takes one away. */
function withExpiry(line: string, expiryMs: number | undefined, replace = false): string {
  if (expiryMs === undefined && !replace) return line
  const { options, rest } = splitGrantLine(line)
  const others = (options.match(/(?:[^,"]|"(?:[^"\\]|\\"|\\(?!"))*")+/g) ?? []).filter(
    (option) => !/^expiry-time=/i.test(option),
  )
  const all = expiryMs === undefined ? others : [`expiry-time="${formatTime(expiryMs)}"`, ...others]
  return all.length === 0 ? rest : `${all.join(',')} ${rest}`
}

/** `YYYYMMDDHHMMSSZ`, as `expiry-time` has it. */
function formatTime(ms: number): string {
  return `${new Date(toSeconds(ms)).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`
}

function toSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000
}
