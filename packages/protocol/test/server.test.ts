// Also on: chromium
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { publickey } from '../src/auth-methods.ts'
import { connect } from '../src/client.ts'
import { ptyRequest, subsystem } from '../src/connection/requests.ts'
import { ChannelOpenError, SshError } from '../src/errors.ts'
import { memoryPair } from '../src/io/memory.ts'
import { generateKey } from '../src/keys/private-key.ts'
import { serve } from '../src/server.ts'
import type { ExitResult } from '../src/server-session.ts'
import {
  clientOptions,
  codeOf,
  connected,
  gate,
  hangUp,
  hostKey,
  serverOptions,
  text,
  utf8,
} from './connected.ts'
import { readAll } from './suites/transport.ts'
import { rejection, within } from './within.ts'

const LIMIT_MS = 10_000

function it(name: string, run: () => Promise<void>): void {
  test(name, () => within(LIMIT_MS, run(), name))
}

it('nobody comes in without a handler that says true', async () => {
  const cases: Parameters<typeof serverOptions>[0][] = [
    { auth: {} },
    { auth: { publickey: () => false } },
    { auth: { publickey: () => ({}) as unknown as boolean } },
    { auth: { publickey: () => 1 as unknown as boolean } },
    { auth: { publickey: () => Promise.reject(new Error('database down')) } },
  ]
  for (const options of cases) {
    const [left, right] = memoryPair()
    const serving = rejection(serve(right, serverOptions(options)))
    assert.is(codeOf(await rejection(connect(left, clientOptions()))), 'SSH_AUTHENTICATION')
    assert.instance(await serving, SshError)
  }
})

it('what a handler of authentication throws is told to the server, not to the client', async () => {
  const errors: unknown[] = []
  const [left, right] = memoryPair()
  const serving = serve(
    right,
    serverOptions({
      onError: (error) => errors.push(error),
      auth: {
        publickey: () => {
          throw new Error('database password is hunter2')
        },
      },
    }),
  ).catch((error: unknown) => error)
  const error = await rejection(connect(left, clientOptions()))
  assert.not.match((error as Error).message, 'hunter2')
  assert.match((errors[0] as Error).message, 'hunter2')
  await serving
})

it('a signature is verified before a key counts', async () => {
  const asked: boolean[] = []
  const victim = generateKey('ed25519')
  const thief = generateKey('ed25519')
  const [left, right] = memoryPair()
  const serving = rejection(
    serve(
      right,
      serverOptions({
        auth: {
          publickey: ({ probe, key }) => {
            asked.push(probe)
            return key.equals(victim.publicKey)
          },
        },
      }),
    ),
  )
  const forged = {
    publicKey: victim.publicKey,
    algorithms: victim.algorithms,
    sign: (data: Uint8Array, algorithm: string) => thief.sign(data, algorithm),
  }
  const attempt = connect(left, clientOptions({ auth: [publickey(forged)] }))
  assert.is(codeOf(await rejection(attempt)), 'SSH_AUTHENTICATION')
  assert.equal(asked, [true])
  await serving
})

it('a host key whose signer fails ends the handshake, and the server hears why', async () => {
  const errors: unknown[] = []
  const [left, right] = memoryPair()
  const broken = {
    publicKey: hostKey.publicKey,
    algorithms: hostKey.algorithms,
    sign: () => Promise.reject(new SshError('SSH_SIGN', 'the token is gone')),
  }
  const options = serverOptions({ hostKeys: [broken], onError: (error) => errors.push(error) })
  const serving = rejection(serve(right, options))
  assert.instance(await rejection(connect(left, clientOptions())), SshError)
  assert.is(codeOf(await serving), 'SSH_SIGN')
  assert.match((errors[0] as Error).message, 'the token is gone')
})

it('a second program on a channel is refused and changes nothing', async () => {
  const go = gate()
  let started = 0
  const both = await connected({
    server: {
      session: async ({ kind, command, stdout }) => {
        started++
        await go.opened
        const writer = stdout.getWriter()
        await writer.write(utf8(`${kind} ${command}`))
        return 3
      },
    },
  })
  const process = await both.client.exec('first')
  assert.is(await process.channel.request('shell'), false)
  assert.is(await process.channel.request('subsystem', subsystem.encode({ name: 'x' })), false)
  assert.is(await process.channel.request('pty-req', pty()), false)
  assert.is(await process.channel.request('nonsense@example.com'), false)
  assert.is(await process.channel.request('exec', new Uint8Array(3)), false)
  go.open()
  assert.is(text(await readAll(process)), 'exec first')
  assert.equal(await process.exit, { code: 3 })
  assert.is(started, 1)
  await hangUp(both)
})

function pty(): Uint8Array {
  return ptyRequest.encode({
    term: 'x',
    columns: 1,
    rows: 1,
    widthPixels: 0,
    heightPixels: 0,
    modes: new Uint8Array([53, 0]),
  })
}

it('malformed requests are refused and the session goes on', async () => {
  const both = await connected({ server: { acceptEnv: () => true, exec: () => 0 } })
  const channel = await both.client.session()
  assert.is(await channel.request('pty-req', pty()), false)
  assert.is(await channel.request('env', utf8('nonsense')), false)
  assert.is(await channel.request('window-change', new Uint8Array(2)), false)
  assert.is(await channel.request('signal', new Uint8Array(0)), false)
  channel.abort()
  assert.is((await both.client.run('x')).code, 0)
  assert.equal(both.errors, [])
  await hangUp(both)
})

it('variables that could not be set anyway are refused', async () => {
  const both = await connected({
    server: {
      acceptEnv: () => true,
      exec: ({ env }) => env.size,
    },
  })
  const env = { '': 'x', 'A=B': 'x', C: 'x\0y', 'D\0': 'x', GOOD: 'x' }
  assert.is((await both.client.run('x', { env })).code, 1)
  const many = Object.fromEntries(Array.from({ length: 400 }, (_, at) => [`V${at}`, 'x']))
  assert.is((await both.client.run('x', { env: many })).code, 256)
  const large = Object.fromEntries(
    Array.from({ length: 20 }, (_, at) => [`V${at}`, 'x'.repeat(30_000)]),
  )
  assert.ok(((await both.client.run('x', { env: large })).code ?? 20) < 10)
  await hangUp(both)
})

it('a handler that throws, or returns nonsense, is status 1 and told to onError', async () => {
  const results: (() => ExitResult)[] = [
    () => {
      throw new Error('broken handler')
    },
    () => 'text' as unknown as number,
    () => -1,
    () => 1.5,
    () => undefined as unknown as number,
  ]
  const both = await connected({ server: { exec: () => (results.shift() as () => ExitResult)() } })
  for (let left = results.length; left > 0; left--) {
    assert.is((await both.client.run('x')).code, 1)
  }
  assert.is(both.errors.length, 5)
  assert.match((both.errors[0] as Error).message, 'broken handler')
  await hangUp(both)
})

it('an onError that throws disturbs nothing', async () => {
  const both = await connected({
    server: {
      exec: () => Promise.reject(new Error('one')),
      onError: () => {
        throw new Error('two')
      },
    },
  })
  assert.is((await both.client.run('x')).code, 1)
  await hangUp(both)
})

it('session.signal fires when the client closes, and when the connection is lost', async () => {
  const reasons: unknown[] = []
  let waiting = gate()
  const both = await connected({
    server: {
      exec: ({ signal }) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason)
            resolve(0)
            waiting.open()
          })
        }),
    },
  })
  const process = await both.client.exec('x')
  process.close()
  await waiting.opened
  waiting = gate()
  await both.client.exec('x')
  await both.client.close()
  await waiting.opened
  assert.equal(reasons.map(codeOf), ['SSH_CHANNEL_CLOSED', 'SSH_DISCONNECTED'])
})

it('a handler reads what was sent before a lost connection, then hears of the loss', async () => {
  const got: unknown[] = []
  const done = gate()
  const arrived = gate()
  const both = await connected({
    server: {
      exec: async (session) => {
        await arrived.opened
        await new Promise<void>((resolve) => {
          session.signal.addEventListener('abort', () => resolve())
        })
        got.push(text(await session.read()))
        got.push(codeOf(await rejection(session.read())))
        got.push(codeOf(await rejection(session.write(utf8('x')))))
        done.open()
        return 0
      },
    },
  })
  const process = await both.client.exec('x')
  await process.write(utf8('data'))
  await both.client.ping()
  arrived.open()
  await both.client.close()
  await done.opened
  assert.equal(got, ['data', 'SSH_DISCONNECTED', 'SSH_DISCONNECTED'])
})

it('a handler that ended its output may wait for the client to end', async () => {
  const both = await connected({
    server: {
      subsystems: {
        half: async ({ transport }) => {
          await transport.write(utf8('bye'))
          await transport.close()
          assert.is(codeOf(await rejection(transport.write(utf8('x')))), 'SSH_CHANNEL_CLOSED')
          return text(await readAll(transport)) === 'end' ? 0 : 1
        },
      },
    },
  })
  const channel = await both.client.subsystem('half')
  // The client ends only once it has seen the end of the server.
  assert.is(text(await readAll(channel)), 'bye')
  await channel.write(utf8('end'))
  await channel.close()
  await channel.closed
  assert.equal(both.errors, [])
  await hangUp(both)
})

it('closing stdout and stderr both ends the output at once, one of them does not', async () => {
  const go = gate()
  const both = await connected({
    server: {
      exec: async ({ stdout, stderr }) => {
        await stdout.close()
        const writer = stderr.getWriter()
        await writer.write(utf8('still here'))
        await writer.close()
        await go.opened
        return 0
      },
    },
  })
  const process = await both.client.exec('x')
  assert.is(text(await process.readStderr()), 'still here')
  assert.is(await process.read(), undefined)
  go.open()
  assert.equal(await process.exit, { code: 0 })
  await hangUp(both)
})

it('channel types: unknown is 3, prohibited is 1', async () => {
  const both = await connected({ server: { exec: () => 0 } })
  const reason = async (opening: Promise<unknown>): Promise<number> =>
    ((await rejection(opening)) as ChannelOpenError).reason
  assert.is(await reason(both.client.openChannel('tun@openssh.com')), 3)
  assert.is(await reason(both.client.openChannel('forwarded-tcpip')), 3)
  assert.is(await reason(both.client.directTcpip('x', 1)), 1)
  await hangUp(both)
  const closed = await connected()
  assert.is(await reason(closed.client.exec('x')), 1)
  await hangUp(closed)
  const forwarding = await connected({
    server: {
      directTcpip: () => {
        throw new ChannelOpenError(4, 'too many')
      },
    },
  })
  assert.is(await reason(forwarding.client.directTcpip('x', 1)), 4)
  assert.is(await reason(forwarding.client.openChannel('direct-tcpip', utf8('junk'))), 2)
  await hangUp(forwarding)
})

it('no-more-sessions is honoured', async () => {
  const both = await connected({ server: { exec: () => 0 } })
  const early = await both.client.exec('x')
  await both.client.globalRequest('no-more-sessions@openssh.com')
  const error = (await rejection(both.client.exec('y'))) as ChannelOpenError
  assert.is(error.reason, 1)
  assert.equal(await early.exit, { code: 0 })
  await hangUp(both)
})

it('breaks reach a handler that listens, and only then succeed', async () => {
  const lengths: number[] = []
  const both = await connected({
    server: {
      exec: async (session) => {
        if (session.command === 'listen') session.onBreak((lengthMs) => lengths.push(lengthMs))
        await session.read()
        return 0
      },
    },
  })
  for (const [command, granted] of [
    ['listen', true],
    ['deaf', false],
  ] as const) {
    const process = await both.client.exec(command)
    const data = new Uint8Array([0, 0, 1, 244])
    assert.is(await process.channel.request('break', data), granted)
    await process.end()
    await process.exit
  }
  assert.equal(lengths, [500])
  await hangUp(both)
})

it('a client that stays silent is sent away in time', async () => {
  const [left, right] = memoryPair()
  const serving = rejection(serve(right, serverOptions({ handshakeMs: 600 })))
  // It waits a moment for the client to speak first, then speaks itself.
  assert.ok(text(await left.read()).startsWith('SSH-2.0-sandbox-ssh_'))
  assert.is(codeOf(await serving), 'SSH_TIMEOUT')
})

it('a client that goes away while a handler decides is noticed', async () => {
  const asked = gate()
  const [left, right] = memoryPair()
  const serving = rejection(
    serve(
      right,
      serverOptions({
        auth: {
          publickey: () => {
            asked.open()
            return new Promise(() => {})
          },
        },
      }),
    ),
  )
  const controller = new AbortController()
  const attempt = rejection(connect(left, clientOptions({ signal: controller.signal })))
  await asked.opened
  controller.abort()
  await attempt
  assert.instance(await serving, SshError)
})

it('bad options are refused at once, naming the one', async () => {
  const [transport] = memoryPair()
  const bad: [unknown, RegExp][] = [
    [undefined, /hostKeys/],
    [{ ...serverOptions(), hostKeys: [] }, /hostKeys/],
    [{ ...serverOptions(), hostKeys: [{}] }, /hostKeys/],
    [{ ...serverOptions(), auth: undefined }, /auth/],
    [{ ...serverOptions(), auth: { password: 'x' } }, /auth.password/],
    [{ ...serverOptions(), exec: 'x' }, /exec/],
    [{ ...serverOptions(), subsystems: { sftp: 'x' } }, /subsystems.sftp/],
    [{ ...serverOptions(), authFailuresMax: 0 }, /authFailuresMax/],
    [{ ...serverOptions(), trace: 1 }, /trace/],
  ]
  for (const [options, pattern] of bad) {
    const error = await rejection(serve(transport, options as never))
    assert.instance(error, TypeError)
    assert.match((error as Error).message, pattern)
  }
})

test.run()
