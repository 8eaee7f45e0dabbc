/** MSB_HOME: where everything lives, resolved as microsandbox does. */
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { type HomeConfig, readConfig } from './config.ts'

/** The resolved directories. Nothing needs to exist yet. */
export interface Home {
  /** Absolute path of MSB_HOME. */
  readonly path: string
  /** Directory with one entry per microsandbox sandbox. */
  readonly sandboxesPath: string
  /** `<home>/ssh`, kept at mode 0700. */
  readonly sshPath: string
  /** `<home>/ssh/authorized_keys`, kept at mode 0600. */
  readonly authorizedKeysPath: string
  /** What `config.json` says. */
  readonly config: HomeConfig
}

/** Where to look; the process's environment unless told otherwise. */
export interface HomeOptions {
  /** Wins over `$MSB_HOME` and over the `home` key of `config.json`. */
  readonly path?: string
  /** Default `process.env`. */
  readonly env?: Readonly<Record<string, string | undefined>>
}

/**
 * Finds the home: `path`, else `$MSB_HOME`, else `~/.microsandbox`, else `./.microsandbox`; then
 * reads `$MSB_CONFIG_PATH` or `<home>/config.json`, whose `home` key moves the home (unless `path`
 * was given) and whose `paths.sandboxes` moves the sandboxes.
 * @throws SandboxError `CONFIG_INVALID`
 *
 * @example
 * import { mkdtempSync } from 'node:fs'
 * import { tmpdir } from 'node:os'
 * import { join } from 'node:path'
 * import { listSandboxes, openHome } from '@sandbox-ssh/sandbox-bridge'
 *
 * const home = openHome({ path: mkdtempSync(join(tmpdir(), 'home-')) })
 * console.log(home.path, listSandboxes(home)) // …home-… []
 */
export function openHome(options: HomeOptions = {}): Home {
  const env = options.env ?? process.env
  const first = resolve(
    options.path ?? blankAsUnset(env['MSB_HOME']) ?? join(userHome(env), '.microsandbox'),
  )
  const config = readConfig(blankAsUnset(env['MSB_CONFIG_PATH']) ?? join(first, 'config.json'))
  const path =
    options.path === undefined && config.home !== undefined ? resolve(config.home) : first
  const sshPath = join(path, 'ssh')
  return {
    path,
    sandboxesPath: resolve(path, config.sandboxesPath ?? 'sandboxes'),
    sshPath,
    authorizedKeysPath: join(sshPath, 'authorized_keys'),
    config,
  }
}

function userHome(env: Readonly<Record<string, string | undefined>>): string {
  const home = blankAsUnset(env['HOME'])
  if (home !== undefined) return home
  try {
    return homedir()
  } catch {
    // No passwd entry and no HOME, as in some containers.
    return '.'
  }
}

function blankAsUnset(value: string | undefined): string | undefined {
  return value === undefined || value === '' ? undefined : value
}
