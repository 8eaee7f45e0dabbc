/** `<MSB_HOME>/ssh/authorized_keys`: who may enter. */
import { dirname } from 'node:path'
import type { PublicKey } from '@sandbox-ssh/protocol'
import { errnoOf, reasonOf, SandboxError } from './errors.ts'
import { makePrivateDirectory, readBoundedFile, replaceFile, requireSafeMode } from './files.ts'
import type { Home } from './home.ts'
import { isKeylessLine, parseKeyLine } from './key-lines.ts'
import { withFileLock } from './lock.ts'

/** Larger files are refused: some ten thousand keys. */
export const AUTHORIZED_KEYS_BYTES_MAX: number = 4 * 1024 * 1024
/** Largest input of `authorize`. */
export const AUTHORIZE_INPUT_BYTES_MAX: number = 1024 * 1024

/** How long `authorize` waits for another one. */
const LOCK_MS = 10_000

/** What became of one key given to `authorize`. */
export interface AuthorizeResult {
  readonly key: PublicKey
  /** False if it was in the file already. */
  readonly added: boolean
}

/** The usable keys of a file, and what is wrong with its other lines. */
export interface AuthorizedKeys {
  readonly keys: readonly PublicKey[]
  /** One sentence per unusable line, with file and number; such lines let nobody in. */
  readonly warnings: readonly string[]
}

/**
 * Adds the public keys in `input`, one a line; blank lines and comments between them are left
 * out. Every line is checked before any is added, a key in the file already is not added again,
 * and lines go in as they are written. A bare blob becomes `type blob`. The directory ends up at
 * 0700, the file at 0600; concurrent callers wait for each other.
 * @throws SandboxError `AUTHORIZED_KEY_INVALID`, `HOME_UNUSABLE`, `MODE_UNSAFE`, `LOCK_TIMEOUT`
 */
export async function authorizeKeys(
  home: Home,
  input: string,
): Promise<readonly AuthorizeResult[]> {
  const candidates = parseInput(input)
  makePrivateDirectory(home.sshPath)
  const path = home.authorizedKeysPath
  return withFileLock(`${path}.lock`, LOCK_MS, () => {
    const before = readText(path) ?? ''
    const known = parseKeys(before).keys.slice()
    const added: string[] = []
    const results = candidates.map(({ key, line }): AuthorizeResult => {
      if (known.some((other) => other.equals(key))) return { key, added: false }
      known.push(key)
      added.push(`${line}\n`)
      return { key, added: true }
    })
    if (added.length > 0) {
      const separator = before === '' || before.endsWith('\n') ? '' : '\n'
      writeText(path, before + separator + added.join(''))
    }
    return results
  })
}

/**
 * Reads the file that decides who may enter; call it at each login. Unusable lines are skipped.
 * A missing file has no keys.
 * @throws SandboxError `MODE_UNSAFE` if others can write the file, its directory or MSB_HOME, so
 * that the keys may be theirs; `HOME_UNUSABLE`
 */
export function readAuthorizedKeys(home: Home): AuthorizedKeys {
  requireSafeMode(home.path)
  requireSafeMode(home.sshPath)
  return readAuthorizedKeysFile(home.authorizedKeysPath)
}

/**
 * The same for a file anywhere; only it and its directory are checked.
 * @throws SandboxError `MODE_UNSAFE`, `HOME_UNUSABLE`
 */
export function readAuthorizedKeysFile(path: string): AuthorizedKeys {
  requireSafeMode(dirname(path))
  const text = readText(path)
  if (text === undefined) return { keys: [], warnings: [] }
  const { keys, warnings } = parseKeys(text)
  return { keys, warnings: warnings.map((warning) => `${path} ${warning}`) }
}

/**
 * What is wrong if nobody at all could log in, as an error naming the file and the remedy; for
 * use before listening, when a person can still act on it.
 * @throws SandboxError `AUTHORIZED_KEY_INVALID`, or as `readAuthorizedKeys`
 */
export function requireAuthorizedKeys(home: Home): AuthorizedKeys {
  const read = readAuthorizedKeys(home)
  if (read.keys.length > 0) return read
  const [warning] = read.warnings
  const what = warning === undefined ? `no authorized keys in ${home.authorizedKeysPath}` : warning
  throw new SandboxError(
    'AUTHORIZED_KEY_INVALID',
    `${what}; add a key with: msb ssh authorize --file ~/.ssh/id_ed25519.pub`,
  )
}

function parseInput(input: string): readonly { key: PublicKey; line: string }[] {
  if (Buffer.byteLength(input) > AUTHORIZE_INPUT_BYTES_MAX) {
    throw new SandboxError(
      'AUTHORIZED_KEY_INVALID',
      `public keys too large: more than ${AUTHORIZE_INPUT_BYTES_MAX} bytes`,
    )
  }
  const lines = input.split(/\r\n|\r|\n/).map((line) => line.trim())
  const candidates: { key: PublicKey; line: string }[] = []
  for (const [index, line] of lines.entries()) {
    if (isKeylessLine(line)) continue
    const key = lines.length === 1 ? parseKeyLine(line) : parseNumberedLine(line, index + 1)
    const bare = !/\s/.test(line)
    candidates.push({ key, line: bare ? key.toString() : line })
  }
  if (candidates.length === 0) {
    throw new SandboxError('AUTHORIZED_KEY_INVALID', 'public key cannot be empty')
  }
  return candidates
}

function parseNumberedLine(line: string, number: number): PublicKey {
  try {
    return parseKeyLine(line)
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error
    throw new SandboxError(error.code, `line ${number}: ${error.message}`, { cause: error })
  }
}

function parseKeys(text: string): { keys: PublicKey[]; warnings: string[] } {
  const keys: PublicKey[] = []
  const warnings: string[] = []
  for (const [index, line] of text.split(/\r\n|\r|\n/).entries()) {
    if (isKeylessLine(line)) continue
    try {
      keys.push(parseNumberedLine(line, index + 1))
    } catch (error) {
      if (!(error instanceof SandboxError)) throw error
      warnings.push(error.message)
    }
  }
  return { keys, warnings }
}

function readText(path: string): string | undefined {
  try {
    const { text, stats } = readBoundedFile(path, AUTHORIZED_KEYS_BYTES_MAX)
    requireSafeMode(path, stats)
    return text
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return undefined
    if (cause instanceof SandboxError) throw cause
    throw new SandboxError('HOME_UNUSABLE', `failed to read ${path}: ${reasonOf(cause)}`, { cause })
  }
}

function writeText(path: string, text: string): void {
  try {
    replaceFile(path, text, 0o600)
  } catch (cause) {
    throw new SandboxError('HOME_UNUSABLE', `failed to write ${path}: ${reasonOf(cause)}`, {
      cause,
    })
  }
}
