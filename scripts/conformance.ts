// Runs the conformance tests and writes their results into conformance/README.md.
//
//     npm run conformance

import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Result } from '../conformance/matrix.ts'
import { root, scratch } from './bundle.mjs'

const readmePath = join(root, 'conformance/README.md')
const begin = '<!-- results: written by npm run conformance -->'
const end = '<!-- end of results -->'

/** One Markdown table per area, a row per case, a column per server, or client where we serve. */
function tables(results: readonly Result[]): string {
  const areas = [...new Set(results.map(({ area }) => area))].sort()
  return areas
    .map((area) => {
      const ofArea = results.filter((result) => result.area === area)
      const all = [...new Set(ofArea.map(({ target }) => target))].sort()
      const targets = all.includes('msb') ? ['msb', 'sshd'] : all
      const rows = [...new Set(ofArea.map(({ name }) => name))].map((name) => {
        const cell = (target: string): string => {
          const found = ofArea.find((result) => result.name === name && result.target === target)
          return found === undefined ? '–' : found.passed ? '✓' : '✗'
        }
        return `| ${name.replaceAll('|', '\\|')} | ${targets.map(cell).join(' | ')} |`
      })
      const head = `| | ${targets.join(' | ')} |\n|---|${'---|'.repeat(targets.length)}`
      return `### ${area}\n\n${head}\n${rows.join('\n')}\n`
    })
    .join('\n')
}

/** What ran: the peers and the runtime, with versions. */
function versions(): string {
  const openssh = spawnSync('ssh', ['-V'], { encoding: 'utf8' }).stderr.split(',')[0] ?? ''
  const rsync = spawnSync('rsync', ['--version'], { encoding: 'utf8' }).stdout.split('\n')[0] ?? ''
  const ssh2 = JSON.parse(readFileSync(join(root, 'node_modules/ssh2/package.json'), 'utf8')) as {
    version: string
  }
  const date = new Date().toISOString().slice(0, 10)
  const rsyncVersion = /version (\S+)/.exec(rsync)?.[1]
  return `${date}, Node ${process.versions.node}; ${openssh}, rsync ${rsyncVersion}, ssh2 ${ssh2.version}.`
}

const folder = scratch('conformance')
const { status } = spawnSync(
  process.execPath,
  [join(root, 'scripts/run.mjs'), join(root, 'scripts/test.ts'), 'conformance/'],
  { cwd: root, stdio: 'inherit', env: { ...process.env, CONFORMANCE_RESULTS: folder } },
)
const results = readdirSync(folder)
  .sort()
  .flatMap((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as Result[])
const readme = readFileSync(readmePath, 'utf8')
const [before = '', rest = ''] = readme.split(begin)
const after = rest.split(end)[1] ?? ''
writeFileSync(
  readmePath,
  `${before}${begin}\n\n${versions()}\n\n${tables(results)}\n${end}${after}`,
)
process.exitCode = status ?? 1
