/** The authorized_keys files of MSB_HOME, as a server reads them: who may enter, and how. */
import { dirname } from 'node:path'
import type { AuthorizedKey } from '@sandbox-ssh/protocol'
import { errnoOf, reasonOf, SandboxError } from './errors.ts'
import { readBoundedFile, requireSafeMode } from './files.ts'
import { authorizedKeysPaths } from './grants.ts'
import type { Home } from './home.ts'
import { isKeylessLine, parseGrantLine } from './key-lines.ts'

/** Larger files are refused: some ten thousand keys. */
export const AUTHORIZED_KEYS_BYTES_MAX: number = 4 * 1024 * 1024

/** The usable keys of a file, and what is wrong with its other lines. */
export interface AuthorizedKeys {
  /** With the options of their lines, which the server enforces. */
  readonly keys: readonly AuthorizedKey[]
  /** One sentence per unusable line, with file and number; such lines let nobody in. */
  readonly warnings: readonly string[]
}

/**
 * Reads the files that decide who may enter a sandbox (without one: any sandbox); call it at each
 * login. Unusable lines are skipped. A missing file has no keys.
 * @throws SandboxError `MODE_UNSAFE` if others can write a file, its directory or MSB_HOME, so that
 * the keys may be theirs; `HOME_UNUSABLE`, `SANDBOX_NAME_INVALID`
 *
 * @example
 * import { readFileSync } from 'node:fs'
 * import { generateKey } from '@sandbox-ssh/protocol'
 * import { authorizeKeys, openHome, readAuthorizedKeys } from '@sandbox-ssh/sandbox-bridge'
 *
 * const home = openHome()
 * const before = readAuthorizedKeys(home, 'readme-box').keys.length
 * await authorizeKeys(home, `${generateKey('ed25519').publicKey}`, { sandbox: 'readme-box' })
 * console.log(readAuthorizedKeys(home, 'readme-box').keys.length - before) // 1
 */
export function readAuthorizedKeys(home: Home, sandbox?: string): AuthorizedKeys {
  requireSafeMode(home.path)
  requireSafeMode(home.sshPath)
  const read = authorizedKeysPaths(home, sandbox).map(readAuthorizedKeysFile)
  return {
    keys: read.flatMap(({ keys }) => keys),
    warnings: read.flatMap(({ warnings }) => warnings),
  }
}

/**
 * The same for a file anywhere; only it and its directory are checked.
 * @throws SandboxError `MODE_UNSAFE`, `HOME_UNUSABLE`
 *
 * @example
 * import { readAuthorizedKeysFile } from '@sandbox-ssh/sandbox-bridge'
 *
 * console.log(readAuthorizedKeysFile('/nowhere/authorized_keys').keys) // []
 */
export function readAuthorizedKeysFile(path: string): AuthorizedKeys {
  requireSafeMode(dirname(path))
  const text = readKeysText(path)
  if (text === undefined) return { keys: [], warnings: [] }
  const { keys, warnings } = parseGrants(text)
  return { keys, warnings: warnings.map((warning) => `${path} ${warning}`) }
}

/**
 * What is wrong if nobody at all could log in, as an error naming the file and the remedy; for
 * use before listening, when a person can still act on it.
 * @throws SandboxError `AUTHORIZED_KEY_INVALID`, or as `readAuthorizedKeys`
 *
 * @example
 * import { mkdtempSync } from 'node:fs'
 * import { tmpdir } from 'node:os'
 * import { join } from 'node:path'
 * import { openHome, requireAuthorizedKeys, SandboxError } from '@sandbox-ssh/sandbox-bridge'
 *
 * const home = openHome({ path: mkdtempSync(join(tmpdir(), 'home-')) })
 * try {
 *   requireAuthorizedKeys(home, 'devbox')
 * } catch (error) {
 *   console.log(error instanceof SandboxError && error.code) // AUTHORIZED_KEY_INVALID
 * }
 */
export function requireAuthorizedKeys(home: Home, sandbox?: string): AuthorizedKeys {
  const read = readAuthorizedKeys(home, sandbox)
  if (read.keys.length > 0) return read
  const [warning] = read.warnings
  const what = warning === undefined ? `no authorized keys in ${home.authorizedKeysPath}` : warning
  throw new SandboxError(
    'AUTHORIZED_KEY_INVALID',
    `${what}; add a key with: msb ssh authorize --file ~/.ssh/id_ed25519.pub`,
  )
}

/** All usable lines of a text, and what is wrong with the others. */
export function parseGrants(text: string): AuthorizedKeys {
  const keys: AuthorizedKey[] = []
  const warnings: string[] = []
  for (const [index, line] of linesOf(text).entries()) {
    if (isKeylessLine(line)) continue
    try {
      keys.push(parseGrantLine(line, index + 1))
    } catch (error) {
      if (!(error instanceof SandboxError)) throw error
      warnings.push(`line ${index + 1}: ${error.message}`)
    }
  }
  return { keys, warnings }
}

/** The lines of a text, whichever system it was written on. */
export function linesOf(text: string): readonly string[] {
  return text.split(/\r\n|\r|\n/)
}

/**
 * A file of keys as text, undefined if there is none.
 * @throws SandboxError `MODE_UNSAFE`, `HOME_UNUSABLE`
 */
export function readKeysText(path: string): string | undefined {
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
