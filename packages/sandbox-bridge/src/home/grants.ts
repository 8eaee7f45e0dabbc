/** Which files of MSB_HOME say who may enter: one for all sandboxes, and one for each. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Home } from './home.ts'
import { formatSandboxTarget, parseSandboxTarget, type SandboxTarget } from './names.ts'
import { nameHash } from './sockets.ts'

/**
 * The file of the keys that may enter one sandbox only, beside the one for all. Its name tells a
 * person which sandbox that is; the hash in it keeps apart names that a file system takes for one.
 * @throws SandboxError `SANDBOX_NAME_INVALID`
 *
 * @example
 * import {
 *   authorizedKeysPaths,
 *   listGrantFiles,
 *   openHome,
 *   sandboxKeysPath,
 * } from '@sandbox-ssh/sandbox-bridge'
 *
 * const home = openHome()
 * const own = sandboxKeysPath(home, 'devbox')
 * console.log(own.slice(home.path.length)) // /ssh/authorized_keys.d/devbox.…
 * console.log(authorizedKeysPaths(home, 'devbox').indexOf(own)) // 1
 * console.log(listGrantFiles(home).length > 0) // true
 */
export function sandboxKeysPath(home: Home, sandbox: string): string {
  const target = parseSandboxTarget(sandbox)
  return join(home.sshPath, 'authorized_keys.d', fileNameOf(target))
}

/**
 * The files that count for a sandbox, the common one first; for none in particular only that.
 * @throws SandboxError `SANDBOX_NAME_INVALID`
 *
 * @example
 * import { basename } from 'node:path'
 * import { authorizedKeysPaths, openHome } from '@sandbox-ssh/sandbox-bridge'
 *
 * const [common, own] = authorizedKeysPaths(openHome(), 'devbox').map((path) => basename(path))
 * console.log(common, own) // authorized_keys devbox.…
 */
export function authorizedKeysPaths(home: Home, sandbox?: string): readonly string[] {
  const common = home.authorizedKeysPath
  return sandbox === undefined ? [common] : [common, sandboxKeysPath(home, sandbox)]
}

function fileNameOf(target: SandboxTarget): string {
  const hash = (text: string): string => nameHash(text, 6)
  switch (target.kind) {
    case 'name':
      return `${target.name}.${hash(`name:${target.name}`)}`
    case 'local':
      // On whichever network an embedded sandbox is, it has the same files.
      return `local+${target.name}.${hash(`local:${target.name}`)}`
    default:
      return `${target.kind}.${hash(formatSandboxTarget(target))}`
  }
}

/** A file of keys, and what it is for. */
export interface GrantFile {
  readonly path: string
  /** The sandbox as a user writes it, as far as the file's name tells; undefined for all. */
  readonly sandbox: string | undefined
}

/**
 * Every file of keys under MSB_HOME, the common one first, whether it is there or not.
 *
 * @example
 * import { mkdtempSync } from 'node:fs'
 * import { tmpdir } from 'node:os'
 * import { join } from 'node:path'
 * import { generateKey } from '@sandbox-ssh/protocol'
 * import { authorizeKeys, listGrantFiles, openHome } from '@sandbox-ssh/sandbox-bridge'
 *
 * const home = openHome({ path: mkdtempSync(join(tmpdir(), 'home-')) })
 * await authorizeKeys(home, `${generateKey('ed25519').publicKey}`, { sandbox: 'devbox' })
 * console.log(listGrantFiles(home).map(({ sandbox }) => sandbox ?? 'all').join(' ')) // all devbox
 */
export function listGrantFiles(home: Home): readonly GrantFile[] {
  const directory = join(home.sshPath, 'authorized_keys.d')
  const names = readNames(directory).flatMap((name) => {
    const [, shown] = /^(.+)\.[0-9a-f]{12}$/.exec(name) ?? []
    if (shown === undefined) return []
    return [{ path: join(directory, name), sandbox: shown.replace('+', ':') }]
  })
  return [{ path: home.authorizedKeysPath, sandbox: undefined }, ...names]
}

function readNames(directory: string): readonly string[] {
  try {
    return readdirSync(directory).sort()
  } catch {
    // There is none yet, or it cannot be read: then its files cannot either, which is told then.
    return []
  }
}
