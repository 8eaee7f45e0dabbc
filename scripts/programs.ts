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
    banner: {
      js: [
        '#!/usr/bin/env node',
        // CommonJS dependencies load Node's modules with require.
        "import { createRequire as nodeCreateRequire } from 'node:module'",
        'const require = nodeCreateRequire(import.meta.url)',
      ].join('\n'),
    },
  })
  const [output] = result.outputFiles
  if (output === undefined) throw new Error(`${source} gave no output`)
  return output.contents
}
