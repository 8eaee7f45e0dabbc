// Other runtimes than Node: where their programs are, and how they run a TypeScript source of ours
// as it is.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { root, sourceCondition } from './bundle.mjs'

/** The programs and their arguments, before the source. */
export const runtimeCommands: Readonly<Record<string, readonly string[]>> = {
  bun: ['bun', `--conditions=${sourceCondition}`],
  deno: ['deno', 'run', '--quiet', '--allow-all', `--conditions=${sourceCondition}`],
  chromium: ['node', 'scripts/run.mjs', 'scripts/chromium.ts'],
}

/** Those that all runtime neutral suites run on; others run the suites that name them. */
export const wholeRuntimes: readonly string[] = ['bun', 'deno']

/** The program of a runtime: from `conformance/runtimes`, else from the path. */
export function findRuntime(name: string): string | undefined {
  const installed = join(root, 'conformance/runtimes/node_modules')
  const folders = [
    // Not `.bin/bun`, which works only after an install script; this is what that would copy.
    ...(name === 'bun' ? ['x64', 'aarch64'].map((cpu) => `@oven/bun-linux-${cpu}/bin`) : []).map(
      (folder) => join(installed, folder),
    ),
    ...(name === 'deno' ? [join(installed, '.bin')] : []),
    ...(process.env['PATH'] ?? '').split(':'),
  ]
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path))
}
