/** `msb ssh cp`: files and trees, either way, resumed, with and without a terminal. */
// Time limit: 240 s
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseCopySide } from '../src/copy-spec.ts'
import { formatBytes, formatTime, ProgressLine } from '../src/progress.ts'
import {
  endTerminals,
  type Finished,
  inTerminal,
  msb,
  msbEnv,
  msbPath,
  start,
  temporaryDirectory,
} from './msb.ts'

const home = temporaryDirectory()
const here = temporaryDirectory()
const keeper = start(['ssh', 'local:box', '--', 'echo up; cat'], home)
await new Promise((resolve) => keeper.stdout?.once('data', resolve))
test.after(() => {
  keeper.stdin?.end()
  endTerminals()
})

const cp = (...args: string[]): Promise<Finished> => msb(['ssh', 'cp', ...args], { home })
const at = (...parts: string[]): string => join(here, ...parts)
const inBox = async (command: string): Promise<string> =>
  (await msb(['ssh', 'local:box', '--', command], { home })).stdout.toString()

/** Success, and nothing said in a pipe. */
function quiet({ code, stdout, stderr }: Finished): void {
  assert.is(stderr, '')
  assert.is(stdout.length, 0)
  assert.is(code, 0)
}

test('a file goes in and comes out again, into directories and under names', async () => {
  const data = randomBytes(3_000_000)
  writeFileSync(at('file'), data)
  quiet(await cp(at('file'), 'local:box:'))
  quiet(await cp(at('file'), 'local:box:/tmp/renamed'))
  assert.is(await inBox('cmp ~/file /tmp/renamed && echo same'), 'same\n')
  mkdirSync(at('out'))
  quiet(await cp('local:box:file', 'local:box:~/../../tmp/renamed', at('out')))
  assert.ok(readFileSync(at('out', 'file')).equals(data))
  assert.ok(readFileSync(at('out', 'renamed')).equals(data))
})

test('a tree needs -r, and -p keeps modes and times', async () => {
  mkdirSync(at('tree', 'sub'), { recursive: true })
  writeFileSync(at('tree', 'sub', 'script'), '#!/bin/sh\n')
  chmodSync(at('tree', 'sub', 'script'), 0o750)
  utimesSync(at('tree', 'sub', 'script'), 1e9, 1e9)
  const without = await cp(at('tree'), 'local:box:')
  assert.match(without.stderr, /^error: .*tree: is a directory\n$/)
  assert.is(without.code, 1)
  quiet(await cp('-rp', at('tree'), 'local:box:'))
  assert.is(await inBox("stat -c '%a %Y' ~/tree/sub/script"), '750 1000000000\n')
  quiet(await cp('-r', '-p', 'local:box:tree', at('back')))
  const { mode, mtimeMs } = statSync(at('back', 'sub', 'script'))
  assert.equal([mode & 0o777, mtimeMs], [0o750, 1e12])
  quiet(await cp('-r', 'local:box:tree/.', at('out')))
  assert.ok(existsSync(at('out', 'tree', 'sub', 'script')))
})

test('--resume goes on where the target ends', async () => {
  const data = randomBytes(2_000_000)
  writeFileSync(at('big'), data)
  await cp(at('big'), 'local:box:/tmp/big')
  await inBox('truncate -s 700000 /tmp/big')
  quiet(await cp('--resume', at('big'), 'local:box:/tmp/big'))
  quiet(await cp('local:box:/tmp/big', at('again')))
  assert.ok(readFileSync(at('again')).equals(data))
  truncateSync(at('again'), 5)
  quiet(await cp('--resume', 'local:box:/tmp/big', at('again')))
  assert.ok(readFileSync(at('again')).equals(data))
})

test('from one sandbox to another', async () => {
  await inBox('echo between > ~/between')
  quiet(await cp('local:box:between', 'local:other:/tmp/'))
  const found = await msb(['ssh', 'local:other', '--', 'cat /tmp/between'], { home })
  assert.is(found.stdout.toString(), 'between\n')
})

test('what cannot be copied is told, the rest is copied, and the status is 1', async () => {
  writeFileSync(at('good'), 'good')
  const result = await cp(at('missing'), at('good'), 'local:box:/tmp')
  assert.match(result.stderr, /^error: .*missing.*no such file.*\n$/i)
  assert.is(result.code, 1)
  assert.is(await inBox('cat /tmp/good'), 'good')
  for (const [args, message] of [
    [[at('good'), at('other')], /one side must be in a sandbox/],
    [[at('good'), at('file'), 'local:box:/no/such'], /several files need a directory/],
    [[at('good'), 'local:box:/no/such/'], /there is no such directory/],
    [[at('good'), 'local:box'], /names a sandbox but no path/],
    [[at('good'), 'nobody:/x'], /sandbox not found: nobody/],
  ] as const) {
    const { code, stderr } = await cp(...args)
    assert.match(stderr, message)
    assert.match(stderr, /^error: .*\n$/)
    assert.is(code, 1)
  }
})

test('what cannot be written is told by its own name, with the side it is on', async () => {
  writeFileSync(at('good'), 'good')
  for (const [source, target, reason] of [
    [at('good'), 'local:box:/no/such/file', 'No such file or directory'],
    [at('good'), 'local:box:/dev/full', 'No space left on device (after 0 bytes)'],
    ['local:box:/etc/passwd', at('no', 'such'), 'No such file or directory'],
  ] as const) {
    const { code, stderr } = await cp(source, target)
    assert.is(stderr, `error: ${target}: ${reason}\n`)
    assert.is(code, 1)
  }
})

test('a terminal shows how far it is', async () => {
  const run = inTerminal(
    process.execPath,
    [msbPath, 'ssh', 'cp', at('file'), 'local:box:/tmp/shown'],
    msbEnv(home),
  )
  await run.expect(/file +100% +2\.9 MiB +\S+ [KM]iB\/s/)
  assert.is((await run.exit).code, 0)
  const silent = inTerminal(
    process.execPath,
    [msbPath, 'ssh', 'cp', '-q', at('file'), 'local:box:/tmp/shown'],
    msbEnv(home),
  )
  assert.is((await silent.exit).code, 0)
  assert.is(silent.text(), '')
})

test('Ctrl-C ends a copy with 130, and what is there can be resumed from', async () => {
  writeFileSync(at('huge'), '')
  truncateSync(at('huge'), 100 * 1024 ** 3)
  const run = inTerminal(
    process.execPath,
    [msbPath, 'ssh', 'cp', at('huge'), 'local:box:/tmp/huge'],
    msbEnv(home),
  )
  await run.expect(/huge +\d+% .* [KM]iB\/s/)
  run.type('\u0003')
  assert.is((await run.exit).code, 130)
  const size = Number(await inBox('stat -c %s /tmp/huge; rm /tmp/huge'))
  assert.ok(size > 0 && size < 100 * 1024 ** 3, String(size))
})

test('which side is where', () => {
  const remote = (sandbox: string, path: string): object => ({ kind: 'remote', sandbox, path })
  assert.equal(parseCopySide('devbox:/a:b'), remote('devbox', '/a:b'))
  assert.equal(parseCopySide('devbox:'), remote('devbox', '.'))
  assert.equal(parseCopySide('local:box:a:b'), remote('local:box', 'a:b'))
  assert.equal(parseCopySide('unix:/run/a.sock:/x'), remote('unix:/run/a.sock', '/x'))
  assert.equal(parseCopySide('vsock:3:1024:/x'), remote('vsock:3:1024', '/x'))
  for (const path of ['./a:b', '/a:b', 'a', ':a', '-']) {
    assert.equal(parseCopySide(path), { kind: 'local', path })
  }
  assert.throws(() => parseCopySide('local:box'), /no path/)
  assert.throws(() => parseCopySide(''), /empty/)
})

test('the progress line has rate, percent and time left, and fits its terminal', () => {
  let now = 0
  let text = ''
  const terminal = { columns: 60, write: (chunk: string) => (text += chunk) }
  const line = new ProgressLine(terminal, () => now)
  const show = (bytes: number, done = false): string => {
    text = ''
    line.update({
      path: `/very/long/${'x'.repeat(80)}\u001b[31m/name`,
      bytes,
      size: 10 * 1024 * 1024,
      totalBytes: bytes,
      files: 0,
      done,
    })
    return text
  }
  now = 1000
  const half = show(5 * 1024 * 1024)
  assert.match(half, /^\r…x*\?\[31m\/name +50% +5\.0 MiB +5\.0 MiB\/s +0:01/)
  assert.ok(half.endsWith('\u001b[K'))
  assert.ok(half.length <= 60 + 5)
  now = 1050
  assert.is(show(6 * 1024 * 1024), '')
  now = 2000
  const whole = show(10 * 1024 * 1024, true)
  assert.match(whole, / 100% +10\.0 MiB +\S+ MiB\/s /)
  assert.ok(whole.endsWith('\u001b[K\n'))
  assert.is(formatBytes(999), '999 B')
  assert.is(formatBytes(1536), '1.5 KiB')
  assert.is(formatTime(65), '1:05')
  assert.is(formatTime(7200), '2:00:00')
  assert.is(formatTime(Number.POSITIVE_INFINITY), '--:--')
})

test.run()
