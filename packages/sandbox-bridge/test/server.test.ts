/** What a server lets its users do, what it tells of them, and how it ends. */
// Also on: bun, deno
import { mkdirSync, writeFileSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import {
  type Client,
  connect,
  generateKey,
  memoryPair,
  nodeListener,
  nodeSocket,
  type PrivateKey,
  pinned,
  publickey,
  SshError,
} from '@sandbox-ssh/protocol'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { ServerEvent } from '../src/server/events.ts'
import type { SshServerOptions } from '../src/server/options.ts'
import { SourcePenalties } from '../src/server/penalties.ts'
import { permits } from '../src/server/visit.ts'
import type { SshServer } from '../src/ssh-server.ts'
import { memorySandbox } from './memory-sandbox.ts'
import { within } from './within.ts'

const test = suite('server')
const add = (title: string, body: () => Promise<void>): void =>
  test(title, () => within(30_000, body))

interface Served {
  readonly server: SshServer
  readonly key: PrivateKey
  readonly events: ServerEvent[]
  readonly enter: (address?: string) => Promise<Client>
}

/** A server whose only key stands behind `lineOptions` in its file. */
async function served(lineOptions = '', options: SshServerOptions = {}): Promise<Served> {
  const { sandbox, directory } = memorySandbox()
  const [hostKey, key] = [generateKey('ed25519'), generateKey('ed25519')]
  const events: ServerEvent[] = []
  mkdirSync(sandbox.home.sshPath, { recursive: true, mode: 0o700 })
  writeFileSync(sandbox.home.authorizedKeysPath, `${lineOptions} ${key.publicKey}\n`, {
    mode: 0o600,
  })
  const server = await sandbox.ssh().prepareServer({
    hostKeys: [hostKey],
    onEvent: (event) => events.push(event),
    ...options,
  })
  assert.ok(directory)
  const enter = (address?: string): Promise<Client> => {
    const [ours, theirs] = memoryPair()
    const peer = {
      clientHost: address ?? '',
      clientPort: 7,
      serverHost: '127.0.0.1',
      serverPort: 22,
    }
    server.serveConnection(theirs, address === undefined ? {} : { peer }).catch(() => {})
    return connect(ours, {
      username: 'root',
      hostKey: pinned(hostKey.publicKey),
      auth: [publickey(key)],
    })
  }
  return { server, key, events, enter }
}

async function refused(work: Promise<unknown>, message: RegExp): Promise<void> {
  try {
    await work
  } catch (error) {
    assert.instance(error, SshError)
    assert.match((error as Error).message, message)
    return
  }
  assert.unreachable('it was not refused')
}

const types = (events: readonly ServerEvent[]): readonly string[] => events.map(({ type }) => type)

add('a session is told of with who, what, from where, how long and how much', async () => {
  const { server, key, events, enter } = await served()
  const client = await enter('10.0.0.9')
  const result = await client.run('cat; echo err >&2; exit 3', { stdin: 'twelve bytes' })
  assert.is(result.code, 3)
  await client.close()
  await server.close()
  assert.equal(types(events), [
    'connected',
    'logged-in',
    'session-started',
    'session-ended',
    'disconnected',
  ])
  const end = events[3]
  assert.ok(end?.type === 'session-ended')
  assert.is(end.from, '10.0.0.9:7')
  assert.is(end.user, 'root')
  assert.is(end.key, key.publicKey.fingerprint())
  assert.is(end.command, 'cat; echo err >&2; exit 3')
  assert.equal([end.status, end.signal, end.bytesIn, end.bytesOut], [3, undefined, 12, 16])
  const last = events[4]
  assert.ok(last?.type === 'disconnected' && last.bytesIn > 1000 && last.reason === undefined)
})

add(
  'a key that is refused is told of once, with the reason, and of nobody who got in',
  async () => {
    for (const [options, address, reason] of [
      ['expiry-time="20200101"', '10.0.0.9', 'the key has expired'],
      ['from="192.168.0.0/16"', '10.0.0.9', 'the key may not be used from 10.0.0.9'],
      ['from="192.168.0.0/16"', undefined, 'the key may not be used from here'],
    ] as const) {
      const { server, events, enter } = await served(options)
      await refused(enter(address), /not let in/)
      await server.close()
      assert.equal(types(events), ['connected', 'key-refused', 'disconnected'])
      assert.is((events[1] as { reason?: string }).reason, reason)
      assert.is((events[2] as { identity?: unknown }).identity, undefined)
    }
    const { enter } = await served('from="10.0.0.0/8",expiry-time="21000101"')
    await (await enter('10.0.0.9')).close()
  },
)

add('a forced command runs whatever was asked for, and learns what that was', async () => {
  const { enter, server, events } = await served('command="echo forced: $SSH_ORIGINAL_COMMAND"')
  const client = await enter()
  assert.is((await client.run('rm -rf /')).text(), 'forced: rm -rf /\n')
  const shell = await client.shell()
  assert.is(Buffer.from((await shell.read()) ?? []).toString(), 'forced:\n')
  const sftp = await client.subsystem('sftp')
  assert.is(Buffer.from((await sftp.read()) ?? []).toString(), 'forced: sftp\n')
  await client.close()
  await server.close()
  const start = events.find(({ type }) => type === 'session-started') as { forced?: string }
  assert.match(start.forced ?? '', /^echo forced/)
})

add('restrict leaves commands, and no terminal and no forwards', async () => {
  const { enter, events } = await served('restrict')
  const client = await enter()
  assert.is((await client.run('echo yes')).text(), 'yes\n')
  const terminal = await client.run('echo yes', { pty: {} })
  assert.equal([terminal.code, terminal.text()], [1, 'error: this key may not have a terminal\r\n'])
  await refused(client.directTcpip('127.0.0.1', 1), /not allowed/)
  await client.close()
  assert.ok(types(events).includes('forward-refused'))
})

add('permitopen bounds forwards, of the key and of the server', async () => {
  const echo = createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1')
  await new Promise((resolve) => echo.once('listening', resolve))
  const { port } = echo.address() as { port: number }
  const { enter, events, server } = await served(`permitopen="127.0.0.1:${port}"`)
  const client = await enter()
  const channel = await client.directTcpip('127.0.0.1', port)
  await channel.write(Buffer.from('hello'))
  assert.is(Buffer.from((await channel.read()) ?? []).toString(), 'hello')
  await channel.close()
  await channel.closed
  await refused(client.directTcpip('127.0.0.1', port === 1 ? 2 : 1), /not permitted/)
  await refused(client.directTcpip('localhost', port), /not permitted/)
  await client.close()
  await server.close()
  const end = events.find((event) => event.type === 'forward-ended')
  assert.ok(end?.type === 'forward-ended')
  assert.equal([end.host, end.port, end.bytesIn, end.bytesOut], ['127.0.0.1', port, 5, 5])
  const other = await served('', { permitOpen: (host) => host === 'nowhere.invalid' })
  await refused((await other.enter()).directTcpip('127.0.0.1', port), /not permitted/)
  await other.server.close()
  echo.close()
})

test('addresses that are permitted', () => {
  const any = { host: undefined, port: undefined }
  assert.ok(permits(undefined, 'x', 1))
  assert.ok(permits([any], 'x', 1))
  assert.ok(permits([{ host: 'Web', port: undefined }], 'WEB', 1))
  assert.not.ok(permits([], 'x', 1))
  assert.not.ok(permits([{ host: undefined, port: 2 }], 'x', 1))
  assert.not.ok(permits([{ host: 'web', port: 1 }], 'web.example', 1))
})

add('draining ends idle connections at once and busy ones when they are done', async () => {
  const { server, enter, events } = await served()
  const [idle, busy] = [await enter(), await enter()]
  const running = busy.run('read line; echo "got $line"', {
    stdin: new ReadableStream<Uint8Array>({
      start: async (controller) => {
        await idle.closed
        controller.enqueue(Buffer.from('it\n'))
        controller.close()
      },
    }),
  })
  while (!types(events).includes('session-started')) await new Promise((go) => setImmediate(go))
  await server.drain(20_000)
  assert.is((await running).text(), 'got it\n')
  await refused(server.serveConnection(memoryPair()[0]) as never, /consumed/).catch(() => {})
  assert.is(server.connectionCount, 0)
})

add('draining has an end, by time or by a signal', async () => {
  for (const [limitMs, signal] of [
    [50, undefined],
    [60_000, AbortSignal.timeout(50)],
  ] as const) {
    const { server, enter, events } = await served()
    const client = await enter()
    const running = client.run('sleep 1000').catch((error: unknown) => error)
    while (!types(events).includes('session-started')) await new Promise((go) => setImmediate(go))
    await server.drain(limitMs, signal)
    assert.instance(await running, SshError)
  }
})

add('a listener is served within limits, and who keeps guessing is turned away', async () => {
  const { server, key, events } = await served()
  const listening = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  const listener = await nodeListener(listening)
  const serving = server.serve(listener, { connectionsMax: 2 })
  const dial = (signer: PrivateKey): Promise<Client> =>
    connect(nodeSocket(createConnection(listener.port ?? 0, '127.0.0.1')), {
      username: 'root',
      hostKey: () => true,
      auth: [publickey(signer)],
    })
  const first = await dial(key)
  for (let tries = 1; tries <= 4; tries++) {
    await refused(dial(generateKey('ed25519')), /not let in/)
    // Or the next one may be one too many.
    while (events.filter(({ type }) => type === 'disconnected').length < tries) {
      await new Promise((go) => setImmediate(go))
    }
  }
  await refused(dial(key), /./)
  const away = events.find((event) => event.type === 'turned-away')
  assert.ok(away?.type === 'turned-away' && /too many failed logins/.test(away.reason))
  assert.is((await first.run('echo still in')).text(), 'still in\n')
  await listener.close()
  await serving
  await server.close()
})

test('penalties grow, have a threshold and an end, and are for a network of IPv6', () => {
  let now = 1000
  const penalties = new SourcePenalties(() => now)
  const address = '10.0.0.1'
  penalties.punish(address, 'refused')
  penalties.punish(address, 'refused')
  assert.is(penalties.remainingMs(address), 0)
  penalties.punish(address, 'refused')
  assert.is(penalties.remainingMs(address), 15_000)
  assert.is(penalties.remainingMs(`::ffff:${address}`), 15_000)
  assert.is(penalties.remainingMs('10.0.0.2'), 0)
  now += 10_000
  assert.is(penalties.remainingMs(address), 5000)
  now += 5000
  assert.is(penalties.remainingMs(address), 0)
  penalties.punish(address, 'refused')
  assert.is(penalties.remainingMs(address), 0)
  for (let times = 0; times < 1000; times++) penalties.punish('2001:db8:0:1::5', 'timeout')
  assert.is(penalties.remainingMs('2001:db8::1:0:0:0:9'), 600_000)
  assert.is(penalties.remainingMs('2001:db8:0:2::5'), 0)
  for (let n = 0; n < 10_000; n++) penalties.punish(`10.${n >> 8}.${n & 255}.9`, 'idle')
  assert.is(penalties.remainingMs('2001:db8:0:1::5'), 600_000)
})

test.run()
