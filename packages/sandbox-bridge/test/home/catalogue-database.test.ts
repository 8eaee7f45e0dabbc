/** microsandbox's catalogue: states, settings, and what is made of one that cannot be read. */
// Also on: bun
import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { cataloguePath, isAlive, readCatalogue } from '../../src/home/catalogue-database.ts'
import { type Home, openHome } from '../../src/home/home.ts'
import { sandbox } from '../../src/sandbox.ts'
import { hasSqlite, makeCatalogue } from './catalogue-database.ts'
import { temporaryDirectory, temporaryHome } from './temporary.ts'

const withSqlite = hasSqlite() ? test : test.skip
if (!hasSqlite()) process.stdout.write('skipped: this runtime has no SQLite to make catalogues\n')

/** A number that was a process's a moment ago. */
async function deadPid(): Promise<number> {
  const child = spawn('true')
  await new Promise((resolve) => child.once('exit', resolve))
  return child.pid ?? 0
}

function stateOf(home: Home, name: string): string {
  const answer = readCatalogue(home, name)
  return answer.kind === 'found' ? answer.entry.state.kind : answer.kind
}

test('without a catalogue, or one that is none, everything has defaults', () => {
  const home = temporaryHome()
  const none = readCatalogue(home, 'box')
  assert.is(none.kind === 'unreadable' && none.why, `there is no ${home.path}/db/msb.db`)
  mkdirSync(join(home.path, 'db'))
  writeFileSync(join(home.path, 'db', 'msb.db'), 'this is no database, whatever its name may say')
  const broken = readCatalogue(home, 'box')
  const why = hasSqlite() ? /msb\.db: .*not a database/ : /this runtime has no SQLite/
  assert.match(broken.kind === 'unreadable' ? broken.why : '', why)
  const box = sandbox('box', { home })
  assert.is(box.user, 'root')
  assert.equal(box.settings, { shell: undefined, workdir: undefined, env: undefined })
})

test('the configuration says where the catalogue is', () => {
  const at = (url: string): string | undefined => {
    const path = temporaryDirectory()
    writeFileSync(join(path, 'config.json'), JSON.stringify({ database: { url } }))
    const home = openHome({ path, env: {} })
    return cataloguePath(home)?.replace(path, 'HOME')
  }
  assert.is(at('sqlite:///var/lib/msb.db?mode=rwc'), '/var/lib/msb.db')
  assert.is(at('sqlite://data/msb.db'), 'HOME/data/msb.db')
  assert.is(at('sqlite:/a/b.db'), '/a/b.db')
  assert.is(at('/a/b.db'), '/a/b.db')
  assert.is(at('sqlite::memory:'), undefined)
  assert.is(at('postgres://user@host/db'), undefined)
})

withSqlite('states are told apart by the row, its newest run and the process', async () => {
  const home = temporaryHome()
  const gone = await deadPid()
  makeCatalogue(home, [
    {
      name: 'up',
      status: 'Running',
      runs: [
        [gone, 'Terminated'],
        [process.pid, 'Running'],
      ],
    },
    { name: 'draining', status: 'Draining', runs: [[process.pid, 'Running']] },
    {
      name: 'dead',
      status: 'Running',
      runs: [
        [process.pid, 'Terminated'],
        [gone, 'Running'],
      ],
    },
    { name: 'booting', status: 'Running', runs: [] },
    { name: 'starting', status: 'Starting', runs: [] },
    { name: 'stopped', status: 'Stopped', runs: [[gone, 'Terminated']] },
    { name: 'crashed', status: 'Crashed', runs: [[gone, 'Terminated']] },
    { name: 'ended', status: 'Running', runs: [[gone, 'Terminated']] },
    { name: 'paused', status: 'Paused', runs: [] },
  ])
  const states = ['up', 'draining', 'dead', 'booting', 'starting', 'stopped', 'crashed', 'ended']
  assert.equal(
    [...states, 'paused', 'nobody'].map((name) => stateOf(home, name)),
    [
      ...['running', 'running', 'dead', 'starting', 'starting', 'stopped', 'stopped', 'stopped'],
      ...['other', 'unknown'],
    ],
  )
})

withSqlite('shell, workdir, user and variables are the configured ones', () => {
  const home = temporaryHome()
  const env = [
    { key: 'A', value: '1' },
    { key: 'B=', value: 'no name' },
    { key: 'C', value: 'nul\0' },
    { key: 'D' },
    'E',
  ]
  makeCatalogue(home, [
    {
      name: 'full',
      config: { runtime: { shell: '/bin/zsh', workdir: '/app', user: 'ada' }, env },
    },
    { name: 'odd', config: { runtime: { shell: 'zsh', workdir: 7, user: 'a\nb' }, env: 'A=1' } },
    { name: 'empty', config: { runtime: null } },
    { name: 'broken', config: 'no JSON' },
  ])
  const full = sandbox('full', { home })
  assert.is(full.user, 'ada')
  assert.equal(full.settings, { shell: '/bin/zsh', workdir: '/app', env: { A: '1' } })
  const mine = sandbox('full', { home, user: 'eve', shell: '/bin/sh', env: { A: '2', Z: '3' } })
  assert.is(mine.user, 'eve')
  assert.equal(mine.settings, { shell: '/bin/sh', workdir: '/app', env: { A: '2', Z: '3' } })
  for (const name of ['odd', 'empty', 'broken', 'nobody']) {
    const box = sandbox(name, { home })
    assert.is(box.user, 'root')
    assert.equal(box.settings, { shell: undefined, workdir: undefined, env: undefined })
  }
})

withSqlite('a catalogue elsewhere is read as well, and reading leaves it as it was', () => {
  const path = temporaryDirectory()
  const elsewhere = join(temporaryDirectory(), 'other.db')
  const url = `sqlite://${elsewhere}?mode=rwc`
  writeFileSync(join(path, 'config.json'), JSON.stringify({ database: { url } }))
  const home = openHome({ path, env: {} })
  makeCatalogue(home, [{ name: 'box', status: 'Stopped' }])
  assert.is(stateOf(home, 'box'), 'stopped')
  assert.is(dirname(cataloguePath(home) ?? ''), dirname(elsewhere))
})

test('a zombie is not alive', async () => {
  // The shell starts a child, becomes sleep and never waits for the child.
  const shell = spawn('sh', ['-c', 'true & echo $!; exec sleep 30'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    const pid = Number(String(await new Promise((resolve) => shell.stdout.once('data', resolve))))
    while (isAlive(pid)) await new Promise((resolve) => setImmediate(resolve))
    assert.is(isAlive(shell.pid ?? 0), true)
    assert.is(isAlive(process.pid), true)
  } finally {
    shell.kill('SIGKILL')
  }
})

test.run()
