/** The programs of the embedded sandbox, wherever this package was installed. */
import { existsSync, realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { basename, dirname, join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { SandboxError } from '../home/errors.ts'

/** Everything that runs, as paths on this host. */
export interface LocalPrograms {
  /** The guest program, one file. */
  readonly guest: string
  /** The program that runs the guest and serves its relay, one file. */
  readonly host: string
  /** The JavaScript runtime. */
  readonly node: string
  /** Packages the guest loads at run time, which hold native code: name and directory. */
  readonly packages: readonly { readonly name: string; readonly path: string }[]
}

/**
 * Finds them: beside the running bundle, or in `dist/` of this package.
 * @throws SandboxError `SANDBOX_START_FAILED` naming what is missing
 */
export function findPrograms(): LocalPrograms {
  return {
    guest: findProgram('msb-guest.mjs'),
    host: findProgram('msb-local.mjs'),
    node: realpathSync(process.execPath),
    packages: findPackages(),
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

function findProgram(name: string): string {
  const candidates = ['./', '../', '../../dist/'].map((base) =>
    fileURLToPath(new URL(base + name, import.meta.url)),
  )
  const found = candidates.find((path) => existsSync(path))
  if (found !== undefined) return realpathSync(found)
  throw new SandboxError(
    'SANDBOX_START_FAILED',
    `the embedded sandbox is not installed: ${name} is missing (build it with: npm run build)`,
  )
}

/**
 * `@lydell/node-pty` and its package for this platform. Without them there are no terminals in
 * the sandbox; everything else works.
 */
function findPackages(): readonly { name: string; path: string }[] {
  const require = createRequire(import.meta.url)
  const found: { name: string; path: string }[] = []
  let from = require
  for (const name of ['@lydell/node-pty', `@lydell/node-pty-${process.platform}-${process.arch}`]) {
    try {
      const manifest = realpathSync(from.resolve(`${name}/package.json`))
      found.push({ name, path: dirname(manifest) })
      // The platform's package is a dependency of the other, not of ours.
      from = createRequire(manifest)
    } catch {
      return found
    }
  }
  return found
}
