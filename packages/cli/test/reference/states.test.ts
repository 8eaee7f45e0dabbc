/**
 * §2.2 of the reference: what becomes of a name in each state of microsandbox's catalogue. Node 20 has
 * no SQLite to read it with, Bun has: the program runs there, unless this Node can.
 */
// Time limit: 240 s
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { findRuntime } from '../../../../scripts/runtimes.ts'
import { finished, msbEnv, msbPath, temporaryDirectory } from '../msb.ts'
import { agentWorld, relaySocket } from './world.ts'

const { getBuiltinModule } = process as { getBuiltinModule?: (name: string) => unknown }
const runtime =
  getBuiltinModule?.call(process, 'node:sqlite') !== undefined
    ? process.execPath
    : findRuntime('bun')
const withCatalogue = runtime === undefined ? test.skip : test

const children: ChildProcess[] = []
test.after(() => {
  for (const child of children) child.kill('SIGKILL')
})

/** A row of the catalogue: its status, and the process of its newest run. */
interface State {
  readonly status: string
  readonly pid?: number
  readonly run?: string
}

/** Writes a catalogue as microsandbox has it. */
function writeCatalogue(home: string, states: Readonly<Record<string, State>>): void {
  const script = `import json, os, sqlite3, sys
home, rows = sys.argv[1], json.loads(sys.argv[2])
os.makedirs(home + '/db', exist_ok=True)
db = sqlite3.connect(home + '/db/msb.db')
db.execute('PRAGMA journal_mode = WAL')
db.execute('CREATE TABLE sandbox (id INTEGER PRIMARY KEY, name TEXT UNIQUE, config TEXT, status TEXT)')
db.execute('CREATE TABLE run (id INTEGER PRIMARY KEY, sandbox_id INTEGER, pid INTEGER, status TEXT)')
for id, (name, row) in enumerate(rows.items(), 1):
    db.execute('INSERT INTO sandbox VALUES (?,?,?,?)', (id, name, '{}', row['status']))
    if 'pid' in row:
        db.execute('INSERT INTO run (sandbox_id, pid, status) VALUES (?,?,?)', (id, row['pid'], row['run']))
db.commit()
db.close()`
  const { status, stderr } = spawnSync('python3', ['-c', script, home, JSON.stringify(states)])
  assert.is(status, 0, String(stderr))
  for (const name of Object.keys(states)) {
    mkdirSync(join(home, 'sandboxes', name), { recursive: true })
    mkdirSync(dirname(relaySocket(home, name)), { recursive: true })
  }
}

function run(home: string, args: readonly string[]): ReturnType<typeof finished> {
  const child = spawn(runtime ?? '', [msbPath, ...args], { env: msbEnv(home) })
  children.push(child)
  child.stdin.end()
  return finished(child)
}

withCatalogue('each state has its words, whichever command asks, and status 1', async () => {
  const home = temporaryDirectory()
  const gone = spawnSync('true').pid
  writeCatalogue(home, {
    stopped: { status: 'Stopped' },
    crashed: { status: 'Crashed', pid: gone, run: 'Terminated' },
    created: { status: 'Created' },
    starting: { status: 'Starting' },
    paused: { status: 'Paused' },
    dead: { status: 'Running', pid: gone, run: 'Running' },
    deaf: { status: 'Running', pid: process.pid, run: 'Running' },
  })
  const words: readonly (readonly [string, RegExp])[] = [
    ['nobody', /^error: sandbox not found: nobody\n$/],
    ['stopped', /^error: sandbox is stopped: stopped \(start it with: msb start stopped\).*\n$/],
    ['crashed', /^error: sandbox is stopped: crashed .*msb start crashed.*\n$/],
    ['created', /^error: sandbox is Created and cannot be started: created\n$/],
    ['starting', /^error: sandbox is starting: starting; try again soon\n$/],
    ['paused', /^error: sandbox is Paused and cannot be started: paused\n$/],
    ['dead', /^error: sandbox is dead: dead: its process \d+ is gone .*msb start dead.*\n$/],
    ['deaf', /^error: sandbox deaf runs \(process \d+\), but nothing listens on its socket\n$/],
  ]
  const wrong: string[] = []
  for (const [name, message] of words) {
    const forms = [
      ['ssh', name],
      ['ssh', name, '--', 'true'],
      ['ssh', 'serve', name],
      ['ssh', 'serve', name, '--stdio'],
      ['ssh', 'cp', `${name}:x`, home],
    ]
    const results = await Promise.all(forms.map((args) => run(home, args)))
    results.forEach(({ code, stdout, stderr }, index) => {
      if (code === 1 && stdout.length === 0 && message.test(stderr)) return
      wrong.push(`msb ${forms[index]?.join(' ')}: ${code} ${stderr}`)
    })
  }
  assert.is(wrong.length, 0, wrong.join('\n'))
})

withCatalogue(
  'one that runs is entered, draining or not, and is not stopped afterwards',
  async () => {
    const world = await agentWorld('up')
    for (const status of ['Running', 'Draining']) {
      const home = world.home
      spawnSync('rm', ['-rf', join(home, 'db')])
      writeCatalogue(home, { up: { status, pid: process.pid, run: 'Running' } })
      for (let round = 0; round < 2; round++) {
        const { code, stdout, stderr } = await run(home, ['ssh', 'up', '--', 'echo in; exit 5'])
        assert.is(stdout.toString(), 'in\n', stderr)
        assert.is(stderr, '')
        assert.is(code, 5)
      }
    }
    await world.stop()
  },
)

withCatalogue('a socket that a dead sandbox has left is none', async () => {
  const home = temporaryDirectory()
  const gone = spawnSync('true').pid
  writeCatalogue(home, { dead: { status: 'Running', pid: gone, run: 'Running' } })
  const script = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 9))`
  spawnSync(process.execPath, ['-e', script, relaySocket(home, 'dead')])
  assert.ok(existsSync(relaySocket(home, 'dead')))
  const { code, stderr } = await run(home, ['ssh', 'dead', '--', 'true'])
  assert.match(stderr, /^error: sandbox is dead: dead: its process \d+ is gone /)
  assert.is(code, 1)
})

test.run()
