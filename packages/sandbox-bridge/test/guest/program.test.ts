// The built guest program, started as it is in a sandbox: one file, a runtime, and pipes.
// Also on: bun

import { type ChildProcess, spawn } from 'node:child_process'
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { nodeSocket, nodeStreams } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AgentClient } from '../../src/agent/client.ts'
import type { AgentError } from '../../src/agent/error.ts'
import { rejection } from '../rejection.ts'
import { within } from '../within.ts'
import { bytesOf, readUntil, textOf } from './connect.ts'

/** Built by the test runner before any test runs. */
const program = resolve('packages/sandbox-bridge/dist/msb-guest.mjs')

function start(
  args: readonly string[],
  env: Record<string, string> = {},
  file = program,
): ChildProcess {
  return spawn(process.execPath, [file, ...args], {
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
}

function clientOf(child: ChildProcess): Promise<AgentClient> {
  const { stdin, stdout } = child
  if (stdin === null || stdout === null) throw new Error('no pipes')
  return AgentClient.connect(nodeStreams(stdout, stdin))
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((done) => child.on('exit', (code) => done(code)))
}

async function gone(pid: number): Promise<void> {
  while (existsSync(`/proc/${pid}/stat`)) {
    if (/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) return
    await new Promise((done) => setTimeout(done, 5))
  }
}

test('on stdin and stdout it serves one client, and its end ends everything', async () => {
  const child = start(['--stdio'], { GREETING: 'hello', MSB_GUEST_SECRET: 'x' })
  const exit = exitOf(child)
  const client = await within(10_000, () => clientOf(child))
  const shell = await client.exec({ command: 'sh', args: ['-c', 'cat; env; umask; pwd'] })
  await shell.write(bytesOf('in\n'))
  await shell.end()
  const text = await within(5000, () => textOf(shell))
  assert.match(text, /^in\n/)
  assert.match(text, /GREETING=hello/)
  assert.not.match(text, /MSB_GUEST/)
  assert.match(text, /\n0022\n\/\n$/)
  const terminal = await client.exec({ command: 'tty', pty: { columns: 80, rows: 24 } })
  assert.match(await within(5000, () => textOf(terminal)), /^\/dev\/pts\//)
  const left = await client.exec({ command: 'sleep', args: ['66'] })
  await client.close()
  assert.is(await within(5000, () => exit), 0)
  await within(5000, () => gone(left.pid))
})

test('it ends when its stdin ends under it', async () => {
  const child = start(['--stdio'])
  const exit = exitOf(child)
  const client = await within(10_000, () => clientOf(child))
  const program = await client.exec({ command: 'sleep', args: ['67'] })
  child.stdin?.destroy()
  assert.is(await within(5000, () => exit), 0)
  await within(5000, () => gone(program.pid))
})

test('a single file without node-pty runs programs and says why it has no terminals', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'guest-alone-'))
  try {
    copyFileSync(program, join(folder, 'msb-guest.mjs'))
    const child = start(['--stdio'], {}, join(folder, 'msb-guest.mjs'))
    const client = await within(10_000, () => clientOf(child))
    const echo = await client.exec({ command: 'echo', args: ['alone'] })
    assert.is(await textOf(echo), 'alone\n')
    const pty = { columns: 80, rows: 24 }
    const error = (await rejection(client.exec({ command: 'tty', pty }))) as AgentError
    assert.is(error.kind, 'pty_setup_failed')
    assert.match(error.message, /cannot open a terminal/)
    await client.close()
    const native = createNativePath()
    if (native === undefined) return
    const other = start(['--stdio'], { MSB_GUEST_PTY: native }, join(folder, 'msb-guest.mjs'))
    const able = await within(10_000, () => clientOf(other))
    assert.match(await textOf(await able.exec({ command: 'tty', pty })), /^\/dev\/pts/)
    await able.close()
  } finally {
    rmSync(folder, { recursive: true })
  }
})

function createNativePath(): string | undefined {
  const path = resolve(`node_modules/@lydell/node-pty-${process.platform}-${process.arch}/pty.node`)
  return existsSync(path) ? path : undefined
}

test('as a relay it serves a socket until it is told to end', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'guest-program-'))
  const path = join(folder, 'agent.sock')
  const child = start(['--relay', path, '--cwd', '/usr', '--exit-with-stdin'])
  try {
    const exit = exitOf(child)
    while (!existsSync(path)) await new Promise((done) => setTimeout(done, 10))
    const client = await AgentClient.connect(nodeSocket(connect(path)))
    assert.is(await textOf(await client.exec({ command: 'pwd' })), '/usr\n')
    const program = await client.exec({ command: 'sh', args: ['-c', 'echo up; sleep 68'] })
    await readUntil(program, 'up')
    child.stdin?.end()
    assert.is(await within(5000, () => exit), 0)
    assert.is(((await rejection(program.exited)) as AgentError).kind, 'closed')
    await within(5000, () => gone(program.pid))
  } finally {
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
})

test('what programs left behind runs on without them, and ends with the guest', async () => {
  const child = start(['--stdio'])
  const exit = exitOf(child)
  const client = await within(10_000, () => clientOf(child))
  const script = 'nohup sleep 72 >/dev/null 2>&1 & echo $!'
  const pty = { columns: 80, rows: 24 }
  const shell = await client.exec({ command: 'sh', args: ['-c', script] })
  const other = await client.exec({ command: 'bash', args: ['-ic', script], pty })
  const pids = [await textOf(shell), await textOf(other)].map((text) =>
    Number(/(\d+)\s*$/.exec(text)?.[1]),
  )
  await Promise.all([shell.exited, other.exited])
  for (const pid of pids) assert.ok(existsSync(`/proc/${pid}`), `${pid}`)
  await client.close()
  assert.is(await within(5000, () => exit), 0)
  for (const pid of pids) await within(5000, () => gone(pid))
})

test('shutdown tells programs to end, and then the guest ends', async () => {
  const child = start(['--stdio'])
  const exit = exitOf(child)
  const client = await within(10_000, () => clientOf(child))
  const program = await client.exec({ command: 'sleep', args: ['69'] })
  await client.shutdown()
  assert.equal(await within(5000, () => program.exited), { code: -1, signal: 'TERM' })
  assert.is(await within(10_000, () => exit), 0)
})

test('an ordinary user is served, and switches to nobody', async () => {
  if (process.getuid?.() !== 0) return
  const child = spawn(
    'setpriv',
    ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, program, '--stdio'],
    { env: { PATH: process.env['PATH'] }, stdio: ['pipe', 'pipe', 'inherit'] },
  )
  const client = await within(10_000, () => clientOf(child))
  const pty = { columns: 80, rows: 24 }
  assert.match(await textOf(await client.exec({ command: 'id', args: ['-u'], pty })), /^65534/)
  const error = (await rejection(client.exec({ command: 'id', user: 'root' }))) as AgentError
  assert.equal([error.kind, error.errno], ['permission_denied', 1])
  const own = await client.exec({ command: 'id', args: ['-u'], user: '65534' })
  assert.is(await textOf(own), '65534\n')
  await client.close()
})

test('wrong use is one clear line and exit code 2', async () => {
  for (const args of [[], ['--stdio', '--relay', '/x'], ['--relay-fd', 'x'], ['--nonsense']]) {
    const child = start(args)
    let text = ''
    child.stderr?.on('data', (chunk) => {
      text += chunk
    })
    assert.is(await within(10_000, () => exitOf(child)), 2)
    assert.match(text, /^error: .*\nusage: msb-guest/)
  }
})

test.run()
