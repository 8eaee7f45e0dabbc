// Builds what is published into each package's `dist/`: one `.js` and `.d.ts` per source file, and
// the `msb` command and the guest program as one file each; and checks that the protocol fits its
// budget in a browser.
//
//     npm run build

import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { browserBudgetKiB, browserSizeKiB } from './browser.ts'
import { root, scratch } from './bundle.mjs'
import { buildPrograms } from './programs.ts'

/** In the order in which they need each other. */
const packages = ['protocol', 'sftp', 'sandbox-bridge', 'cli']

/** Compiles a package against what the others publish: without the condition for our sources. */
function compile(name: string): void {
  const folder = join(root, 'packages', name)
  const dist = join(folder, 'dist')
  const fresh = join(scratch('build'), name)
  const result = spawnSync(
    join(root, 'node_modules/.bin/tsc'),
    [
      ...['--project', folder, '--customConditions', 'null', '--noEmit', 'false'],
      ...['--rootDir', join(folder, 'src'), '--outDir', fresh],
    ],
    { cwd: folder, encoding: 'utf8' },
  )
  if (result.status !== 0) throw new Error(`${name} does not compile\n${result.stdout}`)
  // What an earlier build left goes, except programs: somebody may be running them.
  mkdirSync(dist, { recursive: true })
  for (const entry of readdirSync(dist)) {
    if (!entry.endsWith('.mjs')) rmSync(join(dist, entry), { recursive: true, force: true })
  }
  for (const entry of readdirSync(fresh)) renameSync(join(fresh, entry), join(dist, entry))
}

try {
  for (const name of packages) {
    compile(name)
    process.stdout.write(`packages/${name}/dist\n`)
  }
  await buildPrograms()
  process.stdout.write('packages/cli/dist/msb.mjs\n')
  const size = await browserSizeKiB()
  process.stdout.write(`a client in a browser: ${size.toFixed(1)} of ${browserBudgetKiB} KiB\n`)
  if (size > browserBudgetKiB) throw new Error('the browser bundle is over its budget')
} catch (error) {
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
