/** Connections from inside the guest, and what is refused with which reason. */

import { spawn, spawnSync } from 'node:child_process'
import type { AddressInfo } from 'node:net'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { ChannelOpenError, memoryPair, OPEN_FAILURE, type Transport } from '@sandbox-ssh/protocol'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { AgentError } from '../src/agent/error.ts'
import { openForward } from '../src/forwarding.ts'
import { guestAgent } from '../src/guest/agent.ts'
import { GuestConnection } from '../src/guest-connection.ts'
import { nativeSession } from '../src/native-session.ts'
import { sandbox } from '../src/sandbox.ts'
import { guestHandlers } from '../src/serve-guest.ts'
import { UNIX_CONNECTORS } from '../src/unix-forward.ts'
import { memorySandbox, temporaryDirectory } from './memory-sandbox.ts'
import { within } from './within.ts'

const test = suite('forwarding')
const add = (title: string, body: () => Promise<void>): void =>
  test(title, () => within(20_000, body))

async function echoServer(): Promise<{ server: Server; port: number }> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    socket.on('data', (chunk) => socket.write(chunk))
    socket.on('end', () => socket.end('end'))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { server, port: (server.address() as AddressInfo).port }
}

/** A sandbox whose agent says that it is of an older generation. */
function oldSandbox(generation: number) {
  const agent = guestAgent({ features: [], env: { PATH: process.env['PATH'] } })
  const dial = async (): Promise<Transport> => {
    const [ours, theirs] = memoryPair()
    void agent.serve(theirs)
    let first = true
    return {
      read: async () => {
        const chunk = await ours.read()
        if (first && chunk !== undefined) {
          first = false
          // The envelope of the ready frame begins with the text "v" and the generation.
          const at = Buffer.from(chunk).indexOf(Buffer.from([0x61, 0x76, 7]))
          chunk[at + 2] = generation
        }
        return chunk
      },
      write: (chunk) => ours.write(chunk),
      close: () => ours.close(),
      abort: (reason) => ours.abort(reason),
    }
  }
  return sandbox(dial, { home: temporaryDirectory(), shell: '/bin/sh' })
}

async function refusal(work: Promise<unknown>): Promise<ChannelOpenError> {
  try {
    await work
  } catch (error) {
    if (error instanceof ChannelOpenError) return error
    throw error
  }
  throw new Error('it was not refused')
}

/** Much goes there and comes back, and `end` after our own end. */
async function assertEchoed(channel: Transport): Promise<void> {
  const data = Buffer.alloc(3_000_000, 'echo')
  const received: Uint8Array[] = []
  const reading = (async () => {
    for (let chunk = await channel.read(); chunk !== undefined; chunk = await channel.read()) {
      received.push(chunk)
    }
  })()
  await channel.write(data)
  await channel.close()
  await reading
  assert.ok(Buffer.concat(received).equals(Buffer.concat([data, Buffer.from('end')])))
}

add('bytes go both ways, each side ends by itself', async () => {
  const { server, port } = await echoServer()
  const session = await nativeSession(memorySandbox().sandbox)
  const channel = await session.client.directTcpip('127.0.0.1', port)
  await assertEchoed(channel)
  await channel.closed
  await session.close()
  server.close()
})

add('a refused connection is "connect failed" with the reason', async () => {
  const session = await nativeSession(memorySandbox().sandbox)
  const error = await refusal(session.client.directTcpip('127.0.0.1', 1))
  assert.is(error.reason, OPEN_FAILURE.CONNECT_FAILED)
  assert.match(error.message, /Connection refused/)
  assert.not.match(error.message, /os error/)
  const unknown = await refusal(session.client.directTcpip('no.such.host.invalid', 80))
  assert.is(unknown.reason, OPEN_FAILURE.CONNECT_FAILED)
  await session.close()
})

add('no host and no port are prohibited', async () => {
  const session = await nativeSession(memorySandbox().sandbox)
  for (const [host, port] of [
    ['', 80],
    ['localhost', 0],
  ] as const) {
    const error = await refusal(session.client.directTcpip(host, port))
    assert.is(error.reason, OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED)
  }
  await session.close()
})

add('a policy is asked, and nothing is dialled against it', async () => {
  let dialled = false
  const guest = new GuestConnection(() => {
    dialled = true
    return memorySandbox().sandbox.connectAgent()
  })
  const error = await refusal(openForward(guest, 'db', 5432, { permit: (host) => host === 'web' }))
  assert.is(error.reason, OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED)
  assert.not(dialled)
  await guest.close()
})

add('too many is a shortage', async () => {
  for (const [kind, errno] of [
    ['limit', undefined],
    ['tcp', 24],
  ] as const) {
    const error = new AgentError(kind, 'connect x:1: Too many open files (os error 24)', { errno })
    const guest = new GuestConnection(() => Promise.reject(error))
    const refused = await refusal(openForward(guest, 'x', 1))
    assert.is(refused.reason, OPEN_FAILURE.RESOURCE_SHORTAGE)
    assert.is(refused.message, 'connect x:1: Too many open files')
  }
})

add('a slow connect holds up nothing', async () => {
  // A listener that has been stopped, with a full backlog, lets connects wait.
  const listen = `require('net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 },
    function () { console.log(this.address().port) })`
  const child = spawn(process.execPath, ['-e', listen], { stdio: ['ignore', 'pipe', 'inherit'] })
  const fillers: Socket[] = []
  try {
    const port = await new Promise<number>((resolve) => {
      child.stdout.once('data', (chunk: Buffer) => resolve(Number(chunk.toString())))
    })
    child.kill('SIGSTOP')
    for (let count = 0; count < 5; count++) {
      fillers.push(createConnection(port, '127.0.0.1').on('error', () => {}))
    }
    const session = await nativeSession(memorySandbox().sandbox)
    let settled = false
    const slow = session.client.directTcpip('127.0.0.1', port)
    slow
      .catch(() => {})
      .finally(() => {
        settled = true
      })
    assert.is((await session.client.run('echo on')).text(), 'on\n')
    assert.not(settled)
    await session.close()
    assert.ok(
      await slow.then(
        () => false,
        () => true,
      ),
    )
  } finally {
    for (const filler of fillers) filler.destroy()
    child.kill('SIGKILL')
  }
})

add('agents of old: commands go on, files and forwards are refused with a reason', async () => {
  for (const generation of [1, 3]) {
    const session = await nativeSession(oldSandbox(generation))
    const result = await session.client.run('echo $((6 * 7)); cat; exit 3', { stdin: 'in' })
    assert.is(result.text(), '42\nin')
    assert.is(result.code, 3)
    const error = await refusal(session.client.directTcpip('127.0.0.1', 80))
    assert.is(error.reason, OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED)
    assert.match(error.message, /restart the sandbox/)
    if (generation < 2) {
      const sftp = await session.client.subsystem('sftp')
      assert.is(await sftp.read(), undefined)
    }
    await session.close()
  }
})

async function echoSocket(): Promise<{ server: Server; path: string }> {
  const path = join(temporaryDirectory(), 'echo.sock')
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    socket.on('data', (chunk) => socket.write(chunk))
    socket.on('end', () => socket.end('end'))
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return { server, path }
}

add('a Unix socket inside is connected to, both ways, each side ends by itself', async () => {
  const { server, path } = await echoSocket()
  const session = await nativeSession(memorySandbox().sandbox)
  const channel = await session.client.directStreamlocal(path)
  await assertEchoed(channel)
  const nowhere = await refusal(session.client.directStreamlocal(`${path}.none`))
  assert.is(nowhere.reason, OPEN_FAILURE.CONNECT_FAILED)
  assert.match(nowhere.message, /No such file or directory/)
  const relative = await refusal(session.client.directStreamlocal('echo.sock'))
  assert.is(relative.reason, OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED)
  const long = await refusal(session.client.directStreamlocal(`/${'x'.repeat(200)}`))
  assert.match(long.message, /too long/)
  await session.close()
  server.close()
})

for (const { name, args } of UNIX_CONNECTORS) {
  const program = spawnSync('sh', ['-c', `command -v ${name}`])
    .stdout.toString()
    .trim()
  const run = program === '' ? test.skip : test
  run(`${name} connects to a Unix socket`, () =>
    within(20_000, async () => {
      const { server, path } = await echoSocket()
      const child = spawn(program, [...args, path], { stdio: ['pipe', 'pipe', 'inherit'] })
      const chunks: Buffer[] = []
      child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
      const ended = new Promise((resolve) => child.once('close', resolve))
      const data = Buffer.alloc(1_000_000, 'text')
      child.stdin.end(data)
      assert.is(await ended, 0)
      assert.is(
        Buffer.concat([Buffer.from('+'), data, Buffer.from('end')]).compare(Buffer.concat(chunks)),
        0,
      )
      server.close()
      const lost = spawnSync(program, [...args, `${path}.none`], { input: '' })
      assert.is.not(lost.status, 0)
      assert.is(lost.stdout.length, 0)
      assert.match(lost.stderr.toString(), /No such file|ENOENT/)
    }),
  )
}

add('a Unix socket is not connected to where only some destinations are permitted', async () => {
  const guest = new GuestConnection(() => memorySandbox().sandbox.connectAgent())
  const { directStreamlocal } = guestHandlers(guest, { permitOpen: () => true })
  const request = { path: '/run/some.sock', username: 'root' }
  const refused = await refusal(
    (async () => directStreamlocal?.(request, new AbortController().signal))(),
  )
  assert.is(refused.reason, OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED)
  await guest.close()
})

test.run()
