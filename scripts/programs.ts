// Builds the single-file programs: the `msb` command, the guest program it starts, and our
// sftp-server.

import { chmodSync, existsSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import * as esbuild from 'esbuild'
import { root, sourceCondition } from './bundle.mjs'

/** The `msb` command, once built. */
export const msbPath: string = join(root, 'packages/cli/dist/msb.mjs')

/** Our sftp-server(8), once built. */
export const sftpServerPath: string = join(root, 'packages/cli/dist/sftp-server.mjs')

/** Sources of the programs, and where each is needed: `msb` looks for its guest beside itself. */
const programs: readonly { readonly source: string; readonly targets: readonly string[] }[] = [
  {
    source: 'packages/sandbox-bridge/src/guest/program.ts',
    targets: ['packages/sandbox-bridge/dist/msb-guest.mjs', 'packages/cli/dist/msb-guest.mjs'],
  },
  { source: 'packages/cli/src/main.ts', targets: ['packages/cli/dist/msb.mjs'] },
  { source: 'packages/cli/src/sftp-server.ts', targets: ['packages/cli/dist/sftp-server.mjs'] },
]

/**
 * What each program begins with. V8 counts the buffers that Node makes for what a socket or a cipher
 * gives as if they were heap, and starts a whole collection each time a few megabytes of them have
 * passed, on a heap that hardly changes: more than a third of the CPU time of a transfer. Letting the
 * heap grow to four times its size, V8's own largest step, leaves them to the cheap collector of the
 * young. For a program only: a library does not set flags of its host.
 */
const prologue = [
  '#!/usr/bin/env node',
  // CommonJS dependencies load Node's modules with require.
  "import { createRequire as nodeCreateRequire } from 'node:module'",
  "import { setFlagsFromString } from 'node:v8'",
  // In pieces, as this program's own bundler replaces the name of its source wherever it finds it.
  `const require = nodeCreateRequire(import.${'meta'}.url)`,
  "if (!process.versions.bun && !process.versions.deno) setFlagsFromString('--heap-growing-percent=300')",
].join('\n')

/** Where `npx msb` looks. */
const link = join(root, 'node_modules/.bin/msb')

/** Builds all programs, and lets `npx msb` find ours. Rejects with the compiler's messages. */
export async function buildPrograms(): Promise<void> {
  for (const { source, targets } of programs) {
    const contents = await single(source)
    for (const target of targets) {
      const path = join(root, target)
      mkdirSync(dirname(path), { recursive: true })
      // Renamed into place, as another run may be starting the previous one right now.
      const fresh = `${path}.${process.pid}`
      writeFileSync(fresh, contents)
      chmodSync(fresh, 0o755)
      renameSync(fresh, path)
    }
  }
  // npm makes this link when it installs, but only if the file is there by then.
  if (!existsSync(link)) symlinkSync(relative(dirname(link), msbPath), link)
}

async function single(source: string): Promise<Uint8Array> {
  const result = await esbuild.build({
    entryPoints: [join(root, source)],
    absWorkingDir: root,
    bundle: true,
    write: false,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    conditions: [sourceCondition],
    // The only dependency with native code; found in node_modules, where it is installed.
    external: ['@lydell/node-pty'],
    minifySyntax: true,
    legalComments: 'none',
    logLevel: 'silent',
    banner: { js: prologue },
  })
  const [output] = result.outputFiles
  if (output === undefined) throw new Error(`${source} gave no output`)
  return output.contents
}
