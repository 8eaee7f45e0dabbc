/** Sandboxes by name: what is said of one that cannot be reached, starting it, stopping it again. */
// Also on: bun
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { countUsers } from '../../src/carriers/named.ts'
import { SandboxError } from '../../src/home/errors.ts'
import type { Home } from '../../src/home/home.ts'
import { relaySocketPaths } from '../../src/home/sockets.ts'
import { findPrograms } from '../../src/local/programs.ts'
import { sandbox } from '../../src/sandbox.ts'
import { changeCatalogue, hasSqlite, makeCatalogue } from '../home/catalogue-database.ts'
import { temporaryHome } from '../home/temporary.ts'
import { rejection } from '../rejection.ts'
import { within } from '../within.ts'

const withSqlite = hasSqlite() ? test : test.skip

/**
 * Puts a program in the place of microsandbox's that starts our guest as the sandbox's agent, and
 * stops it; what it is asked for it writes down.
 */
function installProgram(home: Home, name: string): { readonly log: () => string } {
  const { node, guest } = findPrograms()
  const [socket = ''] = relaySocketPaths(home, name)
  const bin = join(home.path, 'bin')
  mkdirSync(bin)
  mkdirSync(dirname(socket), { recursive: true })
  const script = `#!/bin/sh
echo "$1 $2 $MSB_HOME" >> '${bin}/log'
case "$1" in
start)
  if [ "$2" != '${name}' ]; then echo "no image of $2" >&2; exit 3; fi
  rm -f '${socket}'
  '${node}' '${guest}' --relay '${socket}' >/dev/null 2>&1 </dev/null &
  echo $! > '${bin}/pid' ;;
stop) kill "$(cat '${bin}/pid')" && rm -f '${bin}/pid' '${socket}' ;;
esac
`
  writeFileSync(join(bin, 'msb'), script)
  chmodSync(join(bin, 'msb'), 0o755)
  process.once('exit', () => {
    if (existsSync(join(bin, 'pid'))) process.kill(Number(readFileSync(join(bin, 'pid'), 'utf8')))
  })
  return { log: () => readFileSync(join(bin, 'log'), 'utf8').replaceAll(home.path, 'HOME') }
}

async function refusal(home: Home, name: string): Promise<string> {
  const error = await rejection(sandbox(name, { home }).connectAgent())
  return error instanceof SandboxError ? `${error.code}: ${error.message}` : String(error)
}

test('a stopped sandbox is started, used, and stopped again', async () => {
  const home = temporaryHome()
  const { log } = installProgram(home, 'box')
  mkdirSync(join(home.sandboxesPath, 'box'), { recursive: true })
  const box = sandbox('box', { home })
  assert.match(await refusal(home, 'box'), /^SANDBOX_NOT_RUNNING: sandbox is not running: box /)
  let told = 0
  const run = await within(60_000, () => box.run({ onStarting: () => told++ }))
  assert.is(run.started, true)
  assert.is(told, 1)
  const agent = await box.connectAgent()
  assert.is((await agent.fs('Stat', { path: '/', follow_symlink: true })).kind, 'dir')
  // Whoever comes now finds it running, and leaves it so.
  const second = await box.run({ onStarting: () => told++ })
  assert.is(second.started, false)
  assert.is(await second.end('stop'), 'left')
  assert.is(told, 1)
  await agent.close()
  assert.is(await run.end('leave'), 'stopped')
  assert.is(log(), 'start box HOME\nstop box HOME\n')
  assert.match(await refusal(home, 'box'), /^SANDBOX_NOT_RUNNING/)
})

test('a sandbox that others use is not stopped', async () => {
  const home = temporaryHome()
  const { log } = installProgram(home, 'box')
  mkdirSync(join(home.sandboxesPath, 'box'), { recursive: true })
  const box = sandbox('box', { home })
  const run = await within(60_000, () => box.run())
  const other = await box.connectAgent()
  assert.is(countUsers(relaySocketPaths(home, 'box')), 1)
  assert.is(await run.end('stop'), 'in-use')
  await other.ping()
  await other.close()
  assert.is(await run.end('stop'), 'stopped')
  assert.is(log(), 'start box HOME\nstop box HOME\n')
})

test('users of what does not listen cannot be counted', () => {
  assert.is(countUsers(['/no/such.sock']), undefined)
})

test('a program that fails leaves its last words, and without one it says what to install', async () => {
  const home = temporaryHome()
  mkdirSync(join(home.sandboxesPath, 'other'), { recursive: true })
  const without = await rejection(sandbox('other', { home }).run())
  assert.instance(without, SandboxError)
  assert.match(String(without), /not running: other .*install microsandbox/)
  installProgram(home, 'box')
  const failed = await rejection(sandbox('other', { home }).run())
  assert.is(failed instanceof SandboxError && failed.code, 'SANDBOX_START_FAILED')
  assert.match(String(failed), /msb start other failed: no image of other/)
  const unknown = await rejection(sandbox('nobody', { home }).run())
  assert.is(unknown instanceof SandboxError && unknown.code, 'SANDBOX_NOT_FOUND')
})

withSqlite('unknown, stopped, starting and dead are told apart', async () => {
  const home = temporaryHome()
  makeCatalogue(home, [
    { name: 'stopped' },
    { name: 'starting', status: 'Starting' },
    { name: 'paused', status: 'Paused' },
    { name: 'deaf', status: 'Running', runs: [[process.pid, 'Running']] },
    { name: 'dead', status: 'Running', runs: [[2 ** 30, 'Running']] },
  ])
  assert.is(await refusal(home, 'nobody'), 'SANDBOX_NOT_FOUND: sandbox not found: nobody')
  assert.match(await refusal(home, 'stopped'), /^SANDBOX_NOT_RUNNING: sandbox is stopped: stopped /)
  assert.match(await refusal(home, 'starting'), /^SANDBOX_STARTING: sandbox is starting: starting/)
  assert.match(await refusal(home, 'paused'), /^SANDBOX_NOT_RUNNING: sandbox is Paused and cannot/)
  assert.match(await refusal(home, 'deaf'), /^SANDBOX_UNREACHABLE: sandbox deaf runs \(process /)
  assert.match(await refusal(home, 'dead'), /^SANDBOX_DEAD: sandbox is dead: dead: its process /)
})

withSqlite('a dead sandbox is started, a paused one is not', async () => {
  const home = temporaryHome()
  const { log } = installProgram(home, 'dead')
  makeCatalogue(home, [
    { name: 'paused', status: 'Paused' },
    { name: 'dead', status: 'Running', runs: [[2 ** 30, 'Running']] },
  ])
  const paused = await rejection(sandbox('paused', { home }).run())
  assert.match(String(paused), /sandbox is Paused and cannot be started/)
  const run = await within(60_000, () => sandbox('dead', { home }).run())
  changeCatalogue(home, 'dead', 'Running', process.pid)
  assert.is(await run.end('stop'), 'stopped')
  assert.is(log(), 'start dead HOME\nstop dead HOME\n')
})

test.run()
