// Runs a TypeScript program of this repository on plain Node:
//
//     node scripts/run.mjs scripts/test.ts [arguments…]
//
// The one script that must work in a fresh clone, hence JavaScript without dependencies: it
// installs what package-lock.json names if node_modules does not hold it yet, bundles the program
// with esbuild and runs it in this very process, so that arguments, exit code and signals are the
// program's own.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/** @param {string} message @returns {never} */
function fail(message) {
  process.stderr.write(`error: ${message}\n`)
  process.exit(1)
}

/**
 * What is missing from node_modules: everything, something, or nothing. The content of the two
 * lock files is compared rather than their dates, which a fresh checkout makes meaningless.
 * @returns {'all' | 'some' | 'none'}
 */
function missing() {
  const installedPath = join(root, 'node_modules', '.package-lock.json')
  if (!existsSync(installedPath)) return 'all'
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
  const installed = JSON.parse(readFileSync(installedPath, 'utf8')).packages
  for (const [path, entry] of Object.entries(wanted)) {
    if (!path.includes('node_modules/')) continue
    const found = installed[path]
    if (found === undefined ? entry.optional : found.version === entry.version) continue
    return 'some'
  }
  return 'none'
}

function install() {
  const what = missing()
  if (what === 'none') return
  process.stderr.write('Installing the packages that package-lock.json names…\n')
  // `ci` empties node_modules first, which would pull the floor from under another run.
  const command = what === 'all' ? 'ci' : 'install'
  const result = spawnSync('npm', [command, '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  if (result.error) fail(`npm could not be started: ${result.error.message}`)
  if (result.status !== 0) {
    process.stderr.write(result.stdout + result.stderr)
    fail(`npm ${command} failed with ${result.signal ?? `exit code ${result.status}`}`)
  }
}

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  fail(`Node 20.19 or newer is needed; this is ${process.versions.node}`)
}
const [program, ...args] = process.argv.slice(2)
if (program === undefined) fail('usage: node scripts/run.mjs PROGRAM.ts [ARGUMENT…]')
const source = resolve(program)
if (!existsSync(source)) fail(`no such program: ${program}`)

install()
// Imported only now: it needs the packages.
const { bundle, scratch } = await import('./bundle.mjs')
const outputs = await bundle({ entries: [source], outdir: scratch('run') }).catch((error) =>
  fail(error instanceof Error ? error.message : String(error)),
)
const output = outputs.get(source)?.output
if (output === undefined) fail(`${program} was not bundled`)
process.argv = [process.execPath, source, ...args]
process.setSourceMapsEnabled(true)
await import(pathToFileURL(output).href)
