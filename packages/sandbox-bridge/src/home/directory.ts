/** Which sandbox a name means to a gateway: some are listed, others found under MSB_HOME. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Sandbox, sandbox } from '../sandbox.ts'
import type { SandboxResolver } from '../server/gateway.ts'
import { nameFilter } from '../settings.ts'
import type { Home } from './home.ts'

/** What a directory has. */
export interface DirectoryOptions {
  readonly home: Home
  /** Sandboxes as a user writes them, by the names they shall have. */
  readonly entries?: ReadonlyMap<string, string> | undefined
  /**
   * Further ones, as they are there when asked for: names with `*` and `?` of microsandbox's, or,
   * after `local:`, of embedded ones, which lose that in their name.
   */
  readonly patterns?: readonly string[] | undefined
  readonly onWarning?: ((message: string) => void) | undefined
}

/**
 * A resolver for `prepareGateway`. Listed names come first. A name that could be either of two
 * sandboxes under MSB_HOME is neither: whoever makes the second one shall not get the users of the
 * first.
 * @throws SandboxError `SANDBOX_NAME_INVALID`
 *
 * @example
 * import { openHome, sandboxDirectory } from '@sandbox-ssh/sandbox-bridge'
 *
 * const entries = new Map([['db', 'unix:/run/db/agent.sock']])
 * const resolve = sandboxDirectory({ home: openHome(), entries, patterns: ['dev-*'] })
 * console.log((await resolve('db'))?.sandbox.label) // unix:/run/db/agent.sock
 * console.log(await resolve('prod')) // undefined
 */
export function sandboxDirectory(options: DirectoryOptions): SandboxResolver {
  const { home, onWarning, patterns = [] } = options
  const open = (source: string): Sandbox => sandbox(source, { home, onWarning })
  const listed = new Map([...(options.entries ?? [])].map(([name, source]) => [name, open(source)]))
  const isLocal = (pattern: string): boolean => pattern.startsWith('local:')
  const allowsNamed = nameFilter(patterns.filter((pattern) => !isLocal(pattern)))
  const allowsLocal = nameFilter(
    patterns.filter(isLocal).map((pattern) => pattern.slice('local:'.length)),
  )
  return (name) => {
    const known = listed.get(name)
    if (known !== undefined) return { sandbox: known }
    const found = [
      ...(allowsNamed(name) && existsSync(join(home.sandboxesPath, name)) ? [name] : []),
      ...(allowsLocal(name) && existsSync(join(home.path, 'local', name)) ? [`local:${name}`] : []),
    ]
    const [only, another] = found
    if (only === undefined) return undefined
    if (another === undefined) return { sandbox: open(only) }
    onWarning?.(`${name} is nobody's login: it could be ${found.join(' or ')}`)
    return undefined
  }
}
