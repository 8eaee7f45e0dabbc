/** The programs of the embedded sandbox, wherever this package was installed. */
import { existsSync, realpathSync } from 'node:fs'
import { homedir } from 'node:os'
import { basename, dirname, join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findNodePty } from '../guest/node-pty.ts'
import { SandboxError } from '../home/errors.ts'

/** Everything that runs, as paths on this host. */
export interface LocalPrograms {
  /** The guest program, one file. */
  readonly guest: string
  /** The JavaScript runtime. */
  readonly node: string
  /** `pty.node` of node-pty, native code; without it the sandbox has no terminals. */
  readonly pty: string | undefined
}

/**
 * Finds them: the guest beside the running bundle, or in `dist/` of this package.
 * @throws SandboxError `SANDBOX_START_FAILED` naming what is missing
 */
export function findPrograms(): LocalPrograms {
  return {
    guest: findGuest(),
    node: realpathSync(process.execPath),
    pty: findNodePty(import.meta.url),
  }
}

/**
 * What of the runtime has to be shown to the sandbox besides `/usr`: its install prefix, so that
 * npm is there as well, unless that would show a home directory or everything; then the program
 * alone. `program` is its path below `path`, empty if `path` is the program.
 */
export function runtimeFiles(node: string): { readonly path: string; readonly program: string } {
  const bin = dirname(node)
  const prefix = dirname(bin)
  const isPrefix = basename(bin) === 'bin' && existsSync(join(prefix, 'lib'))
  if (!isPrefix || prefix === sep || isInside(realHome(), prefix))
    return { path: node, program: '' }
  return { path: prefix, program: join('bin', basename(node)) }
}

/** True if `path` is `directory` or below it. */
export function isInside(path: string, directory: string): boolean {
  return (
    path === directory || path.startsWith(directory.endsWith(sep) ? directory : directory + sep)
  )
}

function realHome(): string {
  try {
    return realpathSync(homedir())
  } catch {
    return '/nonexistent'
  }
}

function findGuest(): string {
  const candidates = ['./', '../', '../../dist/'].map((base) =>
    fileURLToPath(new URL(`${base}msb-guest.mjs`, import.meta.url)),
  )
  const found = candidates.find((path) => existsSync(path))
  if (found !== undefined) return realpathSync(found)
  throw new SandboxError(
    'SANDBOX_START_FAILED',
    'the embedded sandbox is not installed: msb-guest.mjs is missing (build it with: npm run build)',
  )
}
