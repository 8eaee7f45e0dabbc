/** Reaching relays: sockets by path and by name, child processes. */
// Also on: bun
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AgentClient } from '../../src/agent/client.ts'
import { dialNamed } from '../../src/carriers/named.ts'
import { shortSocketPath } from '../../src/carriers/socket-path.ts'
import { spawnCarrier } from '../../src/carriers/stdio.ts'
import { dialUnix } from '../../src/carriers/unix.ts'
import { SandboxError } from '../../src/home/errors.ts'
import { relaySocketPaths } from '../../src/home/sockets.ts'
import { findPrograms } from '../../src/local/programs.ts'
import { temporaryDirectory, temporaryHome } from '../home/temporary.ts'

const servers: Server[] = []
test.after(() => {
  for (const server of servers) server.close()
})

/** Listens there and greets each connection with `text`. */
async function greet(path: string, text: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true })
  const server = createServer({ allowHalfOpen: true }, (socket: Socket) => {
    socket.on('error', () => undefined)
    socket.end(text)
  })
  servers.push(server)
  const short = shortSocketPath(path)
  await new Promise<void>((resolve) => server.listen(short.path, resolve))
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'no error'
  } catch (error) {
    return error instanceof SandboxError ? `${error.code}: ${error.message}` : String(error)
  }
}

async function greetingAt(path: string): Promise<string> {
  const transport = await dialUnix(path)
  const greeting = await transport.read()
  transport.abort()
  return new TextDecoder().decode(greeting)
}

test('a socket is reached by its path, however long', async () => {
  const short = join(temporaryDirectory(), 'agent.sock')
  await greet(short, 'short')
  assert.is(await greetingAt(short), 'short')
  const long = join(temporaryDirectory(), 'd'.repeat(100), 'e'.repeat(100), 'agent.sock')
  await greet(long, 'long')
  assert.is(await greetingAt(long), 'long')
})

test('what is not there, not listening or no socket is told apart', async () => {
  const folder = temporaryDirectory()
  assert.match(await codeOf(dialUnix(join(folder, 'none'))), /^SANDBOX_NOT_FOUND: no socket at /)
  writeFileSync(join(folder, 'file'), '')
  assert.match(
    await codeOf(dialUnix(join(folder, 'file'))),
    /^SANDBOX_NOT_RUNNING: nothing listens/,
  )
  const far = join(folder, 'f'.repeat(120), 'agent.sock')
  assert.match(await codeOf(dialUnix(far)), /^SANDBOX_UNREACHABLE: cannot open .*no such file/)
})

test('an abort ends a dial with its reason', async () => {
  const reason = new Error('changed my mind')
  const signal = AbortSignal.abort(reason)
  assert.is(await codeOf(dialUnix('/none', { signal })), 'Error: changed my mind')
})

test('a name is tried at each of its sockets in order, dead ones are passed over', async () => {
  const home = temporaryHome()
  const [current = '', link = '', old = ''] = relaySocketPaths(home, 'box')
  const named = async (): Promise<string> => {
    const transport = await dialNamed(home, 'box')
    const greeting = await transport.read()
    transport.abort()
    return new TextDecoder().decode(greeting)
  }
  assert.match(await codeOf(named()), /^SANDBOX_NOT_FOUND: sandbox not found: box/)
  await greet(old, 'old')
  assert.is(await named(), 'old')
  mkdirSync(dirname(link), { recursive: true })
  mkdirSync(dirname(current), { recursive: true })
  writeFileSync(current, 'a stale file')
  symlinkSync(old, link)
  assert.is(await named(), 'old')
})

test('a name whose sockets are all dead is not running', async () => {
  const home = temporaryHome()
  const [current = ''] = relaySocketPaths(home, 'box')
  mkdirSync(dirname(current), { recursive: true })
  writeFileSync(current, '')
  const dial = dialNamed(home, 'box')
  assert.match(await codeOf(dial), /^SANDBOX_NOT_RUNNING: sandbox is not running: box /)
})

test('a child process carries the agent protocol on its stdin and stdout', async () => {
  const { node, guest } = findPrograms()
  const env = { PATH: process.env['PATH'] ?? '' }
  const child = spawnCarrier(node, [guest, '--stdio'], { env })
  const agent = await AgentClient.connect(child.transport)
  assert.is(agent.generation, 7)
  await agent.close()
  await child.end()
  assert.is(await child.exited, 'it exited with status 0')
})

test('a child that fails leaves its last words, and one that cannot start a reason', async () => {
  const child = spawnCarrier('sh', ['-c', 'echo first >&2; echo last words >&2; exit 3'], {
    env: { PATH: process.env['PATH'] ?? '' },
  })
  assert.is(await child.transport.read(), undefined)
  assert.is(await child.exited, 'it exited with status 3')
  assert.match(child.stderrTail(), /last words$/)
  const missing = spawnCarrier('/no/such/program', [], { env: {} })
  assert.match(await missing.exited, /no such file|ENOENT/)
})

test.run()
