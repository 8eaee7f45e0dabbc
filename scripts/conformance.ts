// Runs the conformance tests and writes their results into conformance/README.md.
//
//     npm run conformance [-- PATTERN…]
//
// With patterns only the test files whose path contains one of them run; of the others the results
// of the last run in this clone are kept, so that a table can be made in parts.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Result } from '../conformance/results.ts'
import { root } from './bundle.mjs'
import { tablesOf, versions } from './conformance-tables.ts'

const readmePath = join(root, 'conformance/README.md')
const begin = '<!-- results: written by npm run conformance -->'
const end = '<!-- end of results -->'
const folder = join(root, '.build/conformance')

const patterns = process.argv.slice(2)
if (patterns.length === 0) rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
const { status } = spawnSync(
  process.execPath,
  [
    ...[join(root, 'scripts/run.mjs'), join(root, 'scripts/test.ts')],
    ...(patterns.length === 0 ? ['conformance/'] : patterns),
  ],
  { cwd: root, stdio: 'inherit', env: { ...process.env, CONFORMANCE_RESULTS: folder } },
)
const results = readdirSync(folder)
  .sort()
  .flatMap((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as Result[])
const readme = readFileSync(readmePath, 'utf8')
const [before, rest] = readme.split(begin)
const after = rest?.split(end)[1]
if (before === undefined || after === undefined) {
  throw new Error(`${readmePath}: the lines between which the results belong are gone`)
}
const written = [before, begin, '\n\n', versions(), '\n', tablesOf(results), '\n', end, after]
writeFileSync(readmePath, written.join(''))
process.exitCode = status ?? 1
