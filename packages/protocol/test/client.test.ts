// Also on: chromium
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { keyboardInteractive, none, password, publickey } from '../src/auth-methods.ts'
import { connect } from '../src/client.ts'
import { AuthenticationError, ChannelOpenError } from '../src/errors.ts'
import { memoryPair } from '../src/io/memory.ts'
import type { Transport } from '../src/io/transport.ts'
import { pinned } from '../src/keys/known-hosts.ts'
import { generateKey } from '../src/keys/private-key.ts'
import type { Signer } from '../src/keys/public-key.ts'
import { serve } from '../src/server.ts'
import type { SessionHandler } from '../src/server-session.ts'
import {
  clientOptions,
  codeOf,
  connected,
  gate,
  hangUp,
  hostKey,
  providers,
  serverOptions,
  text,
  userKey,
  utf8,
} from './connected.ts'
import { randomBytes, readAll } from './suites/transport.ts'
import { rejection, within } from './within.ts'

const LIMIT_MS = 20_000

function it(name: string, run: () => Promise<void>): void {
  test(name, () => within(LIMIT_MS, run(), name))
}

/** How connecting fails with these options; what the server says is left aside. */
async function failure(
  client: Parameters<typeof clientOptions>[0],
  server: Parameters<typeof serverOptions>[0] = {},
): Promise<unknown> {
  const [left, right] = memoryPair()
  const serving = serve(right, serverOptions(server)).catch((error: unknown) => error)
  const error = await rejection(connect(left, clientOptions(client)))
  await serving
  return error
}

for (const crypto of providers) {
  it(`client and server work on the ${crypto.name} provider`, async () => {
    const both = await connected({
      crypto,
      server: {
        exec: async ({ stdin, stdout }) => {
          await stdin.pipeTo(stdout)
          return 0
        },
      },
    })
    const data = randomBytes(400_000, 1)
    const { stdout } = await both.client.run('cat', { stdin: data })
    assert.equal(stdout, data)
    assert.is(both.client.negotiated.strict, true)
    assert.match(both.client.serverIdentification, /^SSH-2\.0-sandbox-ssh_/)
    assert.is(both.client.sessionId.length, 32)
    assert.is(both.server.username, 'ada')
    assert.ok(both.server.publicKey?.equals(userKey.publicKey))
    await hangUp(both)
  })
}

it('a host key that is not accepted ends the attempt, with the reason that was given', async () => {
  assert.is(codeOf(await failure({ hostKey: () => false })), 'SSH_HOST_KEY_REJECTED')
  const other = pinned(generateKey('ed25519').publicKey)
  const error = await failure({ hostKey: other })
  assert.is(codeOf(error), 'SSH_HOST_KEY_REJECTED')
  const thrown = await failure({
    hostKey: () => {
      throw new Error('no terminal to ask on')
    },
  })
  assert.match((thrown as Error).message, 'no terminal to ask on')
  // Something truthy is not an acceptance.
  const sloppy = (() => 'yes') as unknown as () => boolean
  assert.is(codeOf(await failure({ hostKey: sloppy })), 'SSH_HOST_KEY_REJECTED')
})

it('a key type that is known is asked for among several', async () => {
  const ecdsa = generateKey('ecdsa-nistp256')
  const both = await connected({
    server: { hostKeys: [hostKey, ecdsa] },
    client: { hostKey: pinned(ecdsa.publicKey) },
  })
  assert.is(both.client.negotiated.hostKey, 'ecdsa-sha2-nistp256')
  await hangUp(both)
})

it('a failed authentication says what was tried and what would be taken', async () => {
  const stranger = generateKey('ed25519')
  const error = (await failure(
    { auth: [none(), publickey([stranger]), password('secret word')] },
    { auth: { publickey: () => false, password: () => false } },
  )) as AuthenticationError
  assert.instance(error, AuthenticationError)
  assert.is(error.code, 'SSH_AUTHENTICATION')
  assert.match(error.message, 'none, publickey (ssh-ed25519 SHA256:')
  assert.match(error.message, stranger.publicKey.fingerprint())
  assert.match(error.message, 'password')
  assert.not.match(error.message, 'secret')
  assert.equal(error.methods, ['publickey', 'password'])
})

it('methods the server does not take are not tried', async () => {
  let asked = 0
  const ask = (): string => {
    asked++
    return 'x'
  }
  const error = await failure({ auth: [publickey([]), none(), password(ask)] })
  assert.is(codeOf(error), 'SSH_AUTHENTICATION')
  assert.is(asked, 0)
})

it('being sent away during authentication is told as what it is', async () => {
  const keys = Array.from({ length: 4 }, () => generateKey('ed25519'))
  const error = (await failure(
    { auth: [password('a'), password('b'), password('c'), publickey(keys)] },
    { auth: { password: () => false }, authFailuresMax: 2 },
  )) as Error
  assert.is(codeOf(error), 'SSH_AUTHENTICATION')
  assert.match(error.message, 'too many authentication failures')
  assert.match(error.message, 'tried password, password')
})

it('keys are offered in turn and only the right one signs', async () => {
  const signed: string[] = []
  const watched = (signer: Signer, name: string): Signer => ({
    publicKey: signer.publicKey,
    algorithms: signer.algorithms,
    sign: (data, algorithm) => {
      signed.push(name)
      return signer.sign(data, algorithm)
    },
  })
  const wrong = watched(generateKey('ed25519'), 'wrong')
  const right = watched(userKey, 'right')
  const both = await connected({ client: { auth: [publickey(async () => [wrong, right])] } })
  assert.equal(signed, ['right'])
  await hangUp(both)
})

it('a signer that fails is passed over, and the error names its failure', async () => {
  const broken: Signer = {
    publicKey: userKey.publicKey,
    algorithms: userKey.algorithms,
    sign: async () => {
      throw new Error('agent refused')
    },
  }
  const other = generateKey('ed25519')
  const both = await connected({
    client: { auth: [publickey(broken), publickey(other)] },
    server: { auth: { publickey: () => true } },
  })
  assert.ok(both.server.publicKey?.equals(other.publicKey))
  await hangUp(both)
  assert.match(((await failure({ auth: [publickey(broken)] })) as Error).message, 'agent refused')
})

it('a key whose signatures the server does not know is not offered', async () => {
  const ecdsa = generateKey('ecdsa-nistp384')
  const error = (await failure(
    { auth: [publickey(ecdsa)] },
    {
      auth: { publickey: () => true },
      algorithms: (modern) => ({
        ...modern,
        userKeys: modern.userKeys.filter(({ name }) => name === 'ssh-ed25519'),
      }),
    },
  )) as Error
  assert.match(error.message, 'not offered')
})

it('a password is asked for again after a refusal', async () => {
  const guesses = ['one', 'two', 'three']
  const both = await connected({
    client: { auth: [password(() => guesses.shift())] },
    server: { auth: { password: ({ password: given }) => given === 'two' } },
  })
  assert.equal(guesses, ['three'])
  await hangUp(both)
})

it('a password can be changed when the server demands it', async () => {
  let stored = 'old'
  const both = await connected({
    client: { auth: [password('old', { newPassword: (prompt) => `${prompt}!` })] },
    server: {
      auth: {
        password: ({ password: given, newPassword }) => {
          if (given !== stored) return false
          if (newPassword === undefined) return { changePassword: 'new' }
          stored = newPassword
          return true
        },
      },
    },
  })
  assert.is(stored, 'new!')
  await hangUp(both)
})

it('keyboard-interactive asks and answers as often as the server likes', async () => {
  const both = await connected({
    client: {
      auth: [
        keyboardInteractive(({ name, prompts }) => prompts.map(({ prompt }) => name + prompt)),
      ],
    },
    server: {
      auth: {
        keyboardInteractive: async ({ username }, ask) => {
          const first = await ask({ name: 'A', prompts: [{ prompt: '1', echo: true }] })
          const second = await ask({
            name: 'B',
            prompts: [
              { prompt: '2', echo: false },
              { prompt: '3', echo: false },
            ],
          })
          await ask({ prompts: [] })
          return [username, ...first, ...second].join() === 'ada,A1,B2,B3'
        },
      },
    },
  })
  await hangUp(both)
})

it('several methods can be demanded one after the other', async () => {
  const seen: string[] = []
  const both = await connected({
    client: { auth: [password(() => 'pw'), publickey(userKey)] },
    server: {
      auth: {
        publickey: ({ key, probe }) => {
          if (!probe) seen.push('publickey')
          return key.equals(userKey.publicKey) && { continueWith: ['password'] }
        },
        password: () => {
          const first = seen.length === 0
          seen.push('password')
          return first ? { continueWith: ['publickey'] } : true
        },
      },
    },
  })
  assert.equal(seen, ['password', 'publickey', 'password'])
  await hangUp(both)
})

it('a prompt that the user gave up ends the attempt with that as its cause', async () => {
  const cause = new Error('interrupted at the prompt')
  const error = (await failure(
    {
      auth: [
        password(() => {
          throw cause
        }),
      ],
    },
    { auth: { password: () => true } },
  )) as Error
  assert.is(codeOf(error), 'SSH_ABORTED')
  assert.is(error.cause, cause)
})

it('a silent peer is given up, and the phase is named', async () => {
  const [left] = memoryPair()
  const error = await rejection(connect(left, clientOptions({ handshakeMs: 30 })))
  assert.is(codeOf(error), 'SSH_TIMEOUT')
  assert.match((error as Error).message, 'identification')
})

it('a server that never decides is given up', async () => {
  const error = await failure(
    { handshakeMs: 300 },
    { auth: { publickey: () => new Promise(() => {}) } },
  )
  assert.is(codeOf(error), 'SSH_TIMEOUT')
  assert.match((error as Error).message, 'authentication')
})

it('the time our own side takes to decide does not count', async () => {
  const thinking = () => new Promise<boolean>((resolve) => setTimeout(resolve, 700, true))
  const both = await connected({ client: { handshakeMs: 600, hostKey: thinking } })
  await hangUp(both)
})

it('an AbortSignal ends the attempt, and means nothing afterwards', async () => {
  const [left, right] = memoryPair()
  const controller = new AbortController()
  const attempt = rejection(connect(left, clientOptions({ signal: controller.signal })))
  controller.abort()
  assert.is(codeOf(await attempt), 'SSH_ABORTED')
  assert.ok(text(await right.read()).startsWith('SSH-2.0-'))
  const aborted = connect(memoryPair()[0], clientOptions({ signal: AbortSignal.abort() }))
  assert.is(codeOf(await rejection(aborted)), 'SSH_ABORTED')
  const later = new AbortController()
  const both = await connected({ client: { signal: later.signal } })
  later.abort()
  await both.client.ping()
  await hangUp(both)
})

it('something that is not SSH is told as that', async () => {
  const [left, right] = memoryPair()
  const attempt = rejection(connect(left, clientOptions()))
  await right.write(utf8('HTTP/1.1 400 Bad Request\r\n\r\n'))
  await right.close()
  const error = await attempt
  assert.ok(['SSH_VERSION', 'SSH_CONNECTION_LOST'].includes(codeOf(error) ?? ''))
})

it('bad options are refused at once, naming the one', async () => {
  const [transport] = memoryPair()
  const bad: [unknown, RegExp][] = [
    [{ ...clientOptions(), username: undefined }, /username/],
    [{ ...clientOptions(), hostKey: undefined }, /hostKey/],
    [{ ...clientOptions(), auth: undefined }, /auth/],
    [{ ...clientOptions(), handshakeMs: -1 }, /handshakeMs/],
    [{ ...clientOptions(), keepalive: { intervalMs: 0, countMax: 1 } }, /keepalive.intervalMs/],
    [{ ...clientOptions(), keepalive: { intervalMs: 10 } }, /keepalive.countMax/],
    [{ ...clientOptions(), rekey: { bytes: 0.5 } }, /rekey.bytes/],
    [{ ...clientOptions(), limits: { windowBytes: 1 } }, /limits.windowBytes/],
    [{ ...clientOptions(), signal: 5 }, /signal/],
    [{ ...clientOptions(), algorithms: 5 }, /algorithms/],
    [undefined, /username/],
  ]
  for (const [options, pattern] of bad) {
    const error = await rejection(connect(transport, options as never))
    assert.instance(error, TypeError)
    assert.match((error as Error).message, pattern)
  }
  assert.match(((await rejection(connect({} as never, clientOptions()))) as Error).message, 'read')
})

it('a refused command is an error and leaves the connection usable', async () => {
  const both = await connected({ server: { shell: () => 0 } })
  const error = await rejection(both.client.exec('x'))
  assert.is(codeOf(error), 'SSH_REQUEST_REFUSED')
  assert.match((error as Error).message, 'exec')
  assert.is(codeOf(await rejection(both.client.subsystem('sftp'))), 'SSH_REQUEST_REFUSED')
  assert.equal(await (await both.client.shell()).exit, { code: 0 })
  await hangUp(both)
})

it('a run with options that make no sense starts nothing', async () => {
  const both = await connected({ server: { exec: () => 0 } })
  const { client } = both
  for (const [options, pattern] of [
    [{ stdin: 5 }, /stdin/],
    [{ maxBytes: -1 }, /maxBytes/],
  ] as const) {
    const error = await rejection(client.run('x', options as never))
    assert.instance(error, TypeError)
    assert.match((error as Error).message, pattern)
  }
  assert.match(((await rejection(client.exec(5 as never))) as Error).message, 'command')
  assert.not(both.trace.some((line) => line.startsWith('< CHANNEL_OPEN')))
  await hangUp(both)
})

it('limits bound channels and what is held for each', async () => {
  const both = await connected({
    client: { limits: { channelsMax: 3, windowBytes: 40_000 } },
    server: {
      exec: async (session) => {
        let written = 0
        const writing = session.write(new Uint8Array(1_000_000))
        await session.read()
        written = 1
        await writing
        return written
      },
    },
  })
  const { client } = both
  const running = await Promise.all([client.exec('x'), client.exec('x'), client.exec('x')])
  assert.is(codeOf(await rejection(client.exec('x'))), 'SSH_LIMIT')
  await client.ping()
  const data = both.trace.filter((line) => line.startsWith('> CHANNEL_DATA'))
  const bytes = data.reduce((sum, line) => sum + Number(/(\d+) bytes/.exec(line)?.[1]), 0)
  assert.ok(bytes <= 3 * 40_000 + data.length * 9, `${bytes} bytes unread`)
  for (const process of running) process.close()
  await hangUp(both)
})

it('a subsystem is a transport', async () => {
  const both = await connected({
    server: {
      subsystems: {
        echo: async ({ transport, command }) => {
          await transport.write(utf8(`${command}:`))
          for (let chunk = await transport.read(); chunk; chunk = await transport.read()) {
            await transport.write(chunk)
          }
          await transport.close()
          return 0
        },
      },
    },
  })
  const channel = await both.client.subsystem('echo')
  await channel.write(utf8('hello'))
  await channel.close()
  assert.is(text(await readAll(channel)), 'echo:hello')
  await channel.closed
  // A name that every object inherits is no subsystem.
  const inherited = both.client.subsystem('toString')
  assert.is(codeOf(await rejection(inherited)), 'SSH_REQUEST_REFUSED')
  await hangUp(both)
})

it('direct-tcpip joins two transports, with half-close, and closes after both ends', async () => {
  const [inner, outer] = memoryPair()
  const asked: unknown[] = []
  const both = await connected({
    server: {
      directTcpip: (request) => {
        asked.push(request)
        return inner
      },
    },
  })
  const channel = await both.client.directTcpip('db', 5432, { host: '10.0.0.1', port: 999 })
  assert.equal(asked, [{ host: 'db', port: 5432, originatorHost: '10.0.0.1', originatorPort: 999 }])
  await channel.write(utf8('request'))
  await channel.close()
  assert.is(text(await readAll(outer)), 'request')
  await outer.write(utf8('response'))
  await outer.close()
  assert.is(text(await readAll(channel)), 'response')
  await channel.closed
  await hangUp(both)
})

it('a target that breaks closes the channel, and a closed channel lets the target go', async () => {
  const targets: [Transport, Transport][] = []
  const both = await connected({
    server: {
      directTcpip: () => {
        const pair = memoryPair()
        targets.push(pair)
        return pair[0]
      },
    },
  })
  const broken = await both.client.directTcpip('a', 1)
  targets[0]?.[1].abort()
  await broken.closed
  const abandoned = await both.client.directTcpip('b', 2)
  await abandoned.write(utf8('last words'))
  abandoned.abort()
  assert.is(text(await targets[1]?.[1].read()), 'last words')
  await rejection(
    (async () => {
      for (;;) {
        if ((await targets[1]?.[1].read()) === undefined) throw new Error('ended')
      }
    })(),
  )
  // It is let go though it never ended by itself: nobody is there any more.
  await rejection(
    (async () => {
      for (;;) {
        await targets[1]?.[1].write(utf8('x'))
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
    })(),
  )
  await hangUp(both)
})

it('refused connections tell the reason; a slow one holds nothing up', async () => {
  const slow = gate<Transport>()
  const both = await connected({
    server: {
      exec: () => 0,
      directTcpip: ({ host }) => {
        if (host === 'slow') return slow.opened
        if (host === 'forbidden') throw new ChannelOpenError(1, 'not to that host')
        throw new Error('no route')
      },
    },
  })
  const { client } = both
  const waiting = client.directTcpip('slow', 1)
  const forbidden = (await rejection(client.directTcpip('forbidden', 1))) as ChannelOpenError
  assert.instance(forbidden, ChannelOpenError)
  assert.is(forbidden.reason, 1)
  assert.match(forbidden.message, 'not to that host')
  assert.is(((await rejection(client.directTcpip('x', 1))) as ChannelOpenError).reason, 2)
  assert.is((await client.run('true')).code, 0)
  const [inner, outer] = memoryPair()
  slow.open(inner)
  const channel = await waiting
  await channel.write(utf8('x'))
  assert.is(text(await outer.read()), 'x')
  assert.is(codeOf(await rejection(client.directTcpip('x', 70000))), undefined)
  await hangUp(both)
})

it('a connection runs through a channel of another', async () => {
  const inside = gate<string>()
  const outer = await connected({
    server: {
      directTcpip: () => {
        const [left, right] = memoryPair()
        const exec: SessionHandler = ({ command }) => (command === 'x' ? 5 : 6)
        void serve(left, serverOptions({ exec })).then(({ username }) => inside.open(username))
        return right
      },
    },
  })
  const channel = await outer.client.directTcpip('inner', 22)
  const client = await connect(channel, clientOptions({ username: 'eve' }))
  assert.is(await inside.opened, 'eve')
  assert.is((await client.run('x')).code, 5)
  await client.close()
  await channel.closed
  await hangUp(outer)
})

it('banners, pings and global requests', async () => {
  const banners: string[] = []
  const both = await connected({
    client: { onBanner: (banner) => banners.push(banner) },
    server: { banner: 'welcome\n' },
  })
  assert.equal(banners, ['welcome\n'])
  assert.ok((await both.client.ping()) >= 0)
  assert.ok((await both.server.ping()) >= 0)
  const refused = await rejection(both.client.globalRequest('tcpip-forward'))
  assert.is(codeOf(refused), 'SSH_REQUEST_REFUSED')
  await hangUp(both)
})

it('the client refuses channels that it did not ask for', async () => {
  const both = await connected()
  const prohibited = (await rejection(both.server.openChannel('x11'))) as ChannelOpenError
  assert.is(prohibited.reason, 1)
  const unknown = (await rejection(both.server.openChannel('nonsense'))) as ChannelOpenError
  assert.is(unknown.reason, 3)
  await hangUp(both)
})

it('what is asked of a closed connection rejects', async () => {
  const both = await connected({ server: { exec: () => 0 } })
  await hangUp(both)
  for (const attempt of [both.client.exec('x'), both.client.ping(), both.client.session()]) {
    assert.is(codeOf(await rejection(attempt)), 'SSH_CONNECTION_LOST')
  }
  assert.is(await both.client.closed, undefined)
  assert.is(codeOf(await both.server.closed), 'SSH_DISCONNECTED')
  await both.client.close()
  both.client.rekey()
})

it('a peer that went silent is noticed by keepalive', async () => {
  const [left, right] = memoryPair()
  let silent = false
  // Reads go nowhere once it is silent: the peer is there, but nothing comes of it.
  const stalling: Transport = {
    read: async () => {
      const chunk = await left.read()
      return silent ? new Promise(() => {}) : chunk
    },
    write: (chunk) => left.write(chunk),
    close: () => left.close(),
    abort: (reason) => left.abort(reason),
  }
  const { client } = await connected({
    transports: [stalling, right],
    client: { keepalive: { intervalMs: 20, countMax: 2 } },
  })
  await new Promise((resolve) => setTimeout(resolve, 100))
  await client.ping()
  silent = true
  const error = await client.closed
  assert.is(codeOf(error), 'SSH_TIMEOUT')
  assert.match(error?.message ?? '', 'keepalive')
})

test.run()
