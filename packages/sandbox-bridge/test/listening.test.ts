/** Listening inside the guest, `ssh -R`: each of the programs for it, and the whole way to a client. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { SshError } from '@sandbox-ssh/protocol'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { GuestConnection } from '../src/guest-connection.ts'
import { LISTENERS } from '../src/listen-programs.ts'
import { nativeSession } from '../src/native-session.ts'
import { guestHandlers } from '../src/serve-guest.ts'
import { memorySandbox, temporaryDirectory } from './memory-sandbox.ts'
import { within } from './within.ts'

const test = suite('listening')
const add = (title: string, body: () => Promise<void>): void =>
  test(title, () => within(20_000, body))

/** A program that listens, driven as the bridge drives it. */
interface Listening {
  readonly child: ChildProcess
  readonly port: number
  /** The next connection's number and origin. */
  line(): Promise<string>
  /** A connection to the second port, having said that. */
  fetch(line: string): Promise<Socket>
}

async function start(command: string, args: readonly string[]): Promise<Listening> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk
  })
  const line = async (): Promise<string> => {
    while (!text.includes('\n')) await once(child.stdout, 'data')
    const [first = '', ...rest] = text.split('\n')
    text = rest.join('\n')
    return first
  }
  child.stdin.write('secret\n')
  const [port = 0, inner = 0] = (await line()).split(' ').map(Number)
  const fetch = async (said: string): Promise<Socket> => {
    const socket = createConnection({ port: inner, host: '127.0.0.1', allowHalfOpen: true })
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    socket.write(said)
    return socket
  }
  return { child, port, line, fetch }
}

async function dial(to: { readonly port: number } | { readonly path: string }): Promise<Socket> {
  const socket = createConnection({
    ...('port' in to ? { host: '127.0.0.1' } : {}),
    ...to,
    allowHalfOpen: true,
  })
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}

/** Nobody listens there any more; what had come in by then is dropped. */
async function untilRefused(port: number): Promise<void> {
  for (;;) {
    const socket = createConnection({ port, host: '127.0.0.1' })
    const why = await new Promise<string>((resolve) => {
      socket.once('error', (error) => resolve(String(error)))
      socket.once('close', () => resolve('closed'))
    })
    if (why.includes('ECONNREFUSED')) return
  }
}

/** Sends all of it and ends; what came in meanwhile. */
async function exchange(socket: Socket, text: string): Promise<string> {
  const received = socket.toArray()
  socket.end(text)
  return Buffer.concat(await received).toString()
}

for (const { name, args } of LISTENERS) {
  const program = spawnSync('sh', ['-c', `command -v ${name}`])
    .stdout.toString()
    .trim()
  const run = program === '' ? test.skip : test

  run(`${name} listens on a port, and gives each connection to whom it is meant for`, () =>
    within(20_000, async () => {
      const { child, port, line, fetch } = await start(program, [...args, 'tcp', '0'])
      const [first, second] = [await dial({ port }), await dial({ port })]
      assert.match(await line(), /^1 127\.0\.0\.1 \d+$/)
      assert.match(await line(), /^2 127\.0\.0\.1 \d+$/)
      // Who does not know the secret, or asks for what is not there, gets nothing.
      for (const said of ['guess 1\n', 'secret 7\n', 'secret\n', '\n', `${'x'.repeat(200)}\n`]) {
        assert.is(await exchange(await fetch(said), '').catch(() => ''), '', said)
      }
      const large = 'b'.repeat(2_000_000)
      const near = await fetch('secret 2\n')
      const [out, back] = await Promise.all([exchange(second, 'to two'), exchange(near, large)])
      assert.equal([out === large, back], [true, 'to two'])
      assert.is(await exchange(await fetch('secret 2\n'), ''), '')
      // What has been fetched goes on after the end; what has not is dropped, and nothing listens.
      const other = await fetch('secret 1\n')
      other.write('begun ')
      await once(first, 'data')
      const third = await dial({ port })
      await line()
      const dropped = third.toArray().catch(() => [])
      child.stdin?.end()
      assert.is(Buffer.concat(await dropped).length, 0)
      await untilRefused(port)
      const [late, answer] = await Promise.all([exchange(first, 'over'), exchange(other, 'out')])
      assert.equal([late, answer], ['out', 'over'])
      if (child.exitCode === null) await once(child, 'close')
      assert.is(child.exitCode, 0)
    }),
  )

  run(`${name} listens on a socket for its user alone, and takes it away`, () =>
    within(20_000, async () => {
      const path = join(temporaryDirectory(), 'sock')
      const { child, line, fetch } = await start(program, [...args, 'unix', path])
      assert.is(statSync(path).mode & 0o777, 0o600)
      const far = await dial({ path })
      assert.is(await line(), '1 - 0')
      const near = await fetch('secret 1\n')
      const [out, back] = await Promise.all([exchange(far, 'in'), exchange(near, 'out')])
      assert.equal([out, back], ['out', 'in'])
      child.stdin?.end()
      await once(child, 'close')
      assert.not(existsSync(path))
      const busy = createServer()
      busy.listen(0, '127.0.0.1')
      await once(busy, 'listening')
      const { port } = busy.address() as AddressInfo
      const lost = spawnSync(program, [...args, 'tcp', String(port)], { input: 'secret\n' })
      assert.is.not(lost.status, 0)
      assert.is(lost.stdout.length, 0)
      assert.match(lost.stderr.toString(), /in use|EADDRINUSE/)
      busy.close()
    }),
  )
}

add('a client has a port inside for as long as it wants it', async () => {
  const session = await nativeSession(memorySandbox().sandbox)
  const listener = await session.client.listen('localhost', 0)
  const serving = (async () => {
    for await (const { transport, originatorHost } of listener) {
      assert.is(originatorHost, '127.0.0.1')
      void (async () => {
        for (let chunk = await transport.read(); chunk; chunk = await transport.read()) {
          await transport.write(chunk)
        }
        await transport.close()
      })()
    }
  })()
  const text = 'echo '.repeat(200_000)
  const answers = await Promise.all(
    [1, 2, 3].map(async () => exchange(await dial({ port: listener.port }), text)),
  )
  assert.ok(answers.every((answer) => answer === text))
  await listener.close()
  await serving
  await untilRefused(listener.port)
  await session.close()
})

add('a client has a Unix socket inside, and is told where it cannot', async () => {
  const path = join(temporaryDirectory(), 'sock')
  const session = await nativeSession(memorySandbox().sandbox)
  const listener = await session.client.listenStreamlocal(path)
  const accepted = listener[Symbol.asyncIterator]().next()
  const answer = exchange(await dial({ path }), 'in')
  const { value } = await accepted
  assert.is(new TextDecoder().decode(await value?.transport.read()), 'in')
  await value?.transport.write(new TextEncoder().encode('out'))
  await value?.transport.close()
  assert.is(await answer, 'out')
  for (const attempt of [
    () => session.client.listenStreamlocal('relative.sock'),
    () => session.client.listenStreamlocal(`/${'x'.repeat(200)}`),
    () => session.client.listenStreamlocal('/no/such/directory/sock'),
  ]) {
    const error = await attempt().catch((caught: unknown) => caught)
    assert.instance(error, SshError)
    assert.is((error as SshError).code, 'SSH_REQUEST_REFUSED')
  }
  await session.close()
})

add('nothing listens inside where only some forwards are permitted', async () => {
  const guest = new GuestConnection(() => memorySandbox().sandbox.connectAgent())
  const { tcpipForward, streamlocalForward } = guestHandlers(guest, { permitOpen: () => true })
  for (const attempt of [
    async () => tcpipForward?.({ host: 'localhost', port: 0, username: 'root' }),
    async () => streamlocalForward?.({ path: '/tmp/x', username: 'root' }),
  ]) {
    const error = await attempt().catch((caught: unknown) => caught)
    assert.match(String(error), /only some forwards are permitted/)
  }
  await guest.close()
})

test.run()
