import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { agentClient } from '../src/agent/client.ts'
import { Keyring } from '../src/agent/keyring.ts'
import { serveAgent } from '../src/agent/server.ts'
import { type Channel, pullStream } from '../src/channel.ts'
import * as forwarding from '../src/connection/forwarding.ts'
import * as requests from '../src/connection/requests.ts'
import { ignore } from '../src/deferred.ts'
import { ChannelOpenError } from '../src/errors.ts'
import { memoryPair } from '../src/io/memory.ts'
import type { Transport } from '../src/io/transport.ts'
import type { ServerOptions } from '../src/server-options.ts'
import type { ServerSession } from '../src/server-session.ts'
import { OPEN_FAILURE } from '../src/wire/numbers.ts'
import { codeOf, connected, gate, hangUp, text, userKey, utf8 } from './connected.ts'
import { readAll } from './suites/transport.ts'
import { rejection, within } from './within.ts'

const LIMIT_MS = 10_000
const X11 = { authProtocol: 'MIT-MAGIC-COOKIE-1', authCookie: '00ff', screen: 0 }

function it(name: string, run: () => Promise<void>): void {
  test(name, () => within(LIMIT_MS, run(), name))
}

/** What a promise rejected with is told by its reason or code; `open` if it did not. */
async function outcome(opening: Promise<Channel>): Promise<unknown> {
  try {
    const channel = await opening
    channel.abort()
    return 'open'
  } catch (error) {
    return error instanceof ChannelOpenError ? error.reason : codeOf(error)
  }
}

/** An agent that holds the user's key, as many times as it is connected to. */
function agent(): () => Transport {
  const keyring = new Keyring()
  keyring.add(userKey)
  return () => {
    const [left, right] = memoryPair()
    serveAgent(right, keyring, { readOnly: true }).catch(ignore)
    return left
  }
}

it('a session uses the agent of the client, which keeps its keys', async () => {
  const server: Partial<ServerOptions> = {
    agentForwarding: true,
    exec: async (session) => {
      assert.ok(session.agentForwarding)
      const client = agentClient(await session.agent())
      const [signer] = await client.list()
      assert.ok(signer?.publicKey.equals(userKey.publicKey))
      await client.sign(userKey.publicKey, utf8('data'), 'ssh-ed25519')
      await client.close()
      return 0
    },
  }
  const both = await connected({ server, client: { agentForward: agent() } })
  assert.equal(both.errors, [])
  assert.is((await both.client.run('x')).code, 0)
  await hangUp(both)
})

it('no agent without the wish of the client, the leave of the server and an open session', async () => {
  const outcomes: unknown[] = []
  const exec = async (session: ServerSession): Promise<number> => {
    outcomes.push(session.agentForwarding, await outcome(session.agent()))
    return 0
  }
  const neither = await connected({ server: { exec, agentForwarding: true } })
  await neither.client.run('x')
  const prohibited = OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED
  assert.is(await outcome(neither.server.openChannel('auth-agent@openssh.com')), prohibited)
  await hangUp(neither)

  const both = await connected({
    server: { exec, agentForwarding: true },
    client: { agentForward: agent() },
  })
  await both.client.run('x', { agentForward: false })
  await both.client.run('x')
  await both.client.ping()
  // The session is over.
  assert.is(await outcome(both.server.openChannel('auth-agent@openssh.com')), prohibited)
  await hangUp(both)

  const forbidden = await connected({ server: { exec }, client: { agentForward: agent() } })
  await forbidden.client.run('x')
  await hangUp(forbidden)
  const refused = [false, 'SSH_REQUEST_REFUSED']
  assert.equal(outcomes, [...refused, ...refused, true, 'open', ...refused])
})

it('X11 reaches the X server as often as was asked for', async () => {
  const origins: unknown[] = []
  const outcomes: unknown[] = []
  const [outside, inside] = memoryPair()
  const both = await connected({
    server: {
      x11Forwarding: true,
      exec: async (session) => {
        assert.equal({ ...session.x11 }, { singleConnection: session.command === 'once', ...X11 })
        const channel = await session.openX11('box', 6010)
        await channel.write(utf8('draw'))
        await channel.close()
        outcomes.push(text(await readAll(channel)), await outcome(session.openX11('box', 6011)))
        return 0
      },
    },
    client: {
      x11: (origin) => {
        origins.push({ ...origin })
        return origins.length === 1 ? inside : memoryPair()[0]
      },
    },
  })
  void readAll(outside).then(async (bytes) => {
    await outside.write(bytes)
    await outside.close()
  })
  assert.is((await both.client.run('once', { x11: { ...X11, singleConnection: true } })).code, 0)
  assert.equal(outcomes, ['draw', 'SSH_REQUEST_REFUSED'])
  assert.equal(origins, [{ originatorHost: 'box', originatorPort: 6010 }])
  // A server that does not keep to it is stopped by the client.
  const origin = forwarding.x11.encode({ originatorHost: 'box', originatorPort: 1 })
  const opening = both.server.openChannel('x11', origin)
  assert.is(await outcome(opening), OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED)
  await hangUp(both)
})

it('X11 that the server does not allow rejects', async () => {
  const both = await connected({ server: { exec: () => 0 } })
  assert.is(codeOf(await rejection(both.client.exec('x', { x11: X11 }))), 'SSH_REQUEST_REFUSED')
  await hangUp(both)
})

it('channels of other types are served by who names them, in both directions', async () => {
  const serve = async (channel: Channel, typeSpecific: Uint8Array): Promise<void> => {
    await channel.write(typeSpecific)
    await channel.close()
    if (text(typeSpecific) === 'fail') throw new Error('broken')
  }
  const channels = { 'tun@openssh.com': serve }
  const both = await connected({ server: { channels }, client: { channels } })
  for (const side of [both.client, both.server]) {
    const channel = await side.openChannel('tun@openssh.com', utf8('unit 1'))
    assert.is(await new Response(pullStream(() => channel.read(), ignore)).text(), 'unit 1')
    for (const name of ['toString', 'tap@openssh.com']) {
      assert.is(await outcome(side.openChannel(name)), OPEN_FAILURE.UNKNOWN_CHANNEL_TYPE)
    }
  }
  const broken = await both.client.openChannel('tun@openssh.com', utf8('fail'))
  await broken.closed
  assert.is((both.errors[0] as Error).message, 'broken')
  await hangUp(both)
})

it('a policy decides about every channel before anything is done', async () => {
  const asked: string[] = []
  const connects: string[] = []
  const both = await connected({
    server: {
      permitChannel: async ({ channelType, typeSpecific, username }) => {
        asked.push(`${username} ${channelType}`)
        if (channelType !== 'direct-tcpip') return channelType === 'session'
        const { host } = forwarding.directTcpip.decode(typeSpecific)
        if (host === 'throws') throw new Error('database down')
        return host === 'allowed'
      },
      directTcpip: ({ host }) => {
        connects.push(host)
        return memoryPair()[0]
      },
      directStreamlocal: () => memoryPair()[0],
      exec: () => 0,
    },
  })
  const { client } = both
  const prohibited = OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED
  assert.is((await client.run('x')).code, 0)
  assert.is(await outcome(client.directTcpip('allowed', 1)), 'open')
  assert.is(await outcome(client.directTcpip('other', 1)), prohibited)
  assert.is(await outcome(client.directTcpip('throws', 1)), prohibited)
  assert.is(await outcome(client.directStreamlocal('/a')), prohibited)
  assert.equal(connects, ['allowed'])
  assert.equal(asked.slice(0, 2), ['ada session', 'ada direct-tcpip'])
  assert.is((both.errors[0] as Error).message, 'database down')
  await hangUp(both)
})

it('breaks, flow control and the signal INFO pass', async () => {
  const [ready, told] = [gate(), gate()]
  const heard: unknown[] = []
  const both = await connected({
    server: {
      shell: async (session) => {
        session.onBreak((ms) => heard.push(ms))
        session.onSignal((name) => {
          heard.push(name)
          told.open()
        })
        session.setFlowControl(true)
        ready.open()
        await told.opened
        return 0
      },
    },
  })
  const process = await both.client.shell({ stderr: 'ignore' })
  await ready.opened
  assert.ok(await process.break(500))
  assert.is(process.flowControl, true)
  process.kill('INFO@openssh.com')
  assert.equal(await process.exit, { code: 0 })
  assert.equal(heard, [500, 'INFO@openssh.com'])
  await hangUp(both)
})

it('malformed requests for X11 and flow control are refused', async () => {
  const both = await connected({ server: { exec: () => 0, x11Forwarding: true } })
  const channel = await both.client.session()
  assert.not(await channel.request(requests.REQUEST.X11, utf8('x')))
  channel.abort()
  await channel.closed
  await hangUp(both)
})

test.run()
