// Whatever waits for the peer can be given up, and gives itself up at a deadline that it names.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { agentClient } from '../src/agent/client.ts'
import { type Client, connect } from '../src/client.ts'
import { SshError } from '../src/errors.ts'
import { memoryPair } from '../src/io/memory.ts'
import { UNANSWERED_REQUESTS_MAX } from '../src/limits.ts'
import { serve } from '../src/server.ts'
import type { ServerOptions } from '../src/server-options.ts'
import type { WaitOptions } from '../src/wait.ts'
import { clientOptions, codeOf, connected, hangUp, serverOptions, userKey } from './connected.ts'
import { rejection, within } from './within.ts'

const LIMIT_MS = 10_000
const never = (): Promise<never> => new Promise(() => {})

function it(name: string, run: () => Promise<void>): void {
  test(name, () => within(LIMIT_MS, run(), name))
}

/** A server that answers nothing for good. */
const undecided: Partial<ServerOptions> = {
  directTcpip: never,
  directStreamlocal: never,
  tcpipForward: never,
  streamlocalForward: never,
  permitChannel: ({ channelType }) => (channelType === 'session' ? never() : true),
  agentForwarding: true,
}

/** All that a client can wait for of such a server. */
const waits: Readonly<Record<string, (client: Client, options: WaitOptions) => Promise<unknown>>> =
  {
    exec: (client, options) => client.exec('x', options as { signal: AbortSignal }),
    run: (client, options) => client.run('x', options as { signal: AbortSignal }),
    shell: (client, options) => client.shell(options as { signal: AbortSignal }),
    subsystem: (client, options) => client.subsystem('x', options as { signal: AbortSignal }),
    session: (client, options) => client.session(options),
    directTcpip: (client, options) => client.directTcpip('x', 1, undefined, options),
    directStreamlocal: (client, options) => client.directStreamlocal('/x', options),
    listen: (client, options) => client.listen('', 1, options),
    listenStreamlocal: (client, options) => client.listenStreamlocal('/x', options),
    openChannel: (client, options) => client.openChannel('session', undefined, options),
    globalRequest: (client, options) => client.globalRequest('x', undefined, options),
  }

for (const [name, wait] of Object.entries(waits)) {
  it(`${name} is given up when its signal fires, and the connection goes on`, async () => {
    const both = await connected({ server: undecided })
    // Replies to global requests come in order: this one holds up those behind it.
    if (name === 'globalRequest') both.client.listen('', 2).catch(() => {})
    const before = await rejection(wait(both.client, { signal: AbortSignal.abort() }))
    assert.is(codeOf(before), 'SSH_ABORTED')
    const controller = new AbortController()
    const waiting = rejection(wait(both.client, { signal: controller.signal }))
    await both.client.ping()
    const cause = new Error('enough')
    controller.abort(cause)
    const error = (await waiting) as Error
    assert.is(codeOf(error), 'SSH_ABORTED')
    assert.is(error.cause, cause)
    assert.match(error.message, 'enough')
    assert.ok((await both.client.ping()) >= 0)
    await hangUp(both)
  })
}

it('a read that is given up takes nothing, and the channel goes on', async () => {
  const both = await connected({
    server: {
      exec: async (session) => {
        const controller = new AbortController()
        const waiting = rejection(session.read({ signal: controller.signal }))
        controller.abort()
        assert.is(codeOf(await waiting), 'SSH_ABORTED')
        for (let chunk = await session.read(); chunk !== undefined; chunk = await session.read()) {
          await Promise.all([session.write(chunk), session.writeStderr(chunk)])
        }
        return 0
      },
    },
  })
  const process = await both.client.exec('x')
  for (const read of ['read', 'readStderr'] as const) {
    assert.is(
      codeOf(await rejection(process[read]({ signal: AbortSignal.abort() }))),
      'SSH_ABORTED',
    )
    const controller = new AbortController()
    const waiting = rejection(process[read]({ signal: controller.signal }))
    controller.abort()
    assert.is(codeOf(await waiting), 'SSH_ABORTED')
  }
  await process.write(new TextEncoder().encode('hello'))
  const { signal } = new AbortController()
  assert.is(new TextDecoder().decode(await process.read({ signal })), 'hello')
  assert.is(new TextDecoder().decode(await process.readStderr({ signal })), 'hello')
  await process.end()
  assert.is(await process.read({ signal }), undefined)
  assert.equal(await process.exit, { code: 0 })
  await hangUp(both)
})

it('closing a listener is given up while the server does not answer', async () => {
  let cancelled = (): void => {}
  const both = await connected({
    server: {
      tcpipForward: async () => ({
        port: 7,
        accept: never,
        close: () => new Promise<void>((resolve) => (cancelled = resolve)),
      }),
    },
  })
  const listener = await both.client.listen('', 0)
  const controller = new AbortController()
  const closing = rejection(listener.close({ signal: controller.signal }))
  controller.abort()
  assert.is(codeOf(await closing), 'SSH_ABORTED')
  cancelled()
  await listener.close()
  await hangUp(both)
})

it('a channel that opens after it was given up is closed', async () => {
  let open: (() => void) | undefined
  const [ours, theirs] = memoryPair()
  const both = await connected({
    server: {
      directTcpip: () =>
        new Promise((resolve) => {
          open = () => resolve(theirs)
        }),
    },
  })
  const controller = new AbortController()
  const opening = both.client.directTcpip('x', 1, undefined, { signal: controller.signal })
  const waiting = rejection(opening)
  await both.client.ping()
  controller.abort()
  assert.is(codeOf(await waiting), 'SSH_ABORTED')
  open?.()
  // The target is let go, for the channel is closed as soon as it is confirmed.
  await rejection(readToEnd(ours))
  await hangUp(both)
})

async function readToEnd(transport: { read(): Promise<Uint8Array | undefined> }): Promise<never> {
  while ((await transport.read()) !== undefined);
  throw new Error('ended')
}

it('a server that connects for a client hears when the client is gone', async () => {
  let stopped = (): void => {}
  const hung = new Promise<void>((resolve) => {
    stopped = resolve
  })
  const both = await connected({
    server: {
      directTcpip: (_, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            stopped()
            reject(signal.reason)
          })
        }),
    },
  })
  const opening = rejection(both.client.directTcpip('x', 1))
  await both.client.ping()
  await hangUp(both)
  assert.is(codeOf(await opening), 'SSH_CONNECTION_LOST')
  await hung
})

it('a forward that comes about after it was given up is cancelled', async () => {
  let decide: (() => void) | undefined
  let closed = (): void => {}
  const cancelled = new Promise<void>((resolve) => {
    closed = resolve
  })
  const listener = {
    port: 4022,
    accept: never,
    close: async () => closed(),
  }
  const both = await connected({
    server: {
      tcpipForward: () =>
        new Promise((resolve) => {
          decide = () => resolve(listener)
        }),
    },
  })
  const controller = new AbortController()
  const waiting = rejection(both.client.listen('', 0, { signal: controller.signal }))
  await both.client.ping()
  controller.abort()
  assert.is(codeOf(await waiting), 'SSH_ABORTED')
  decide?.()
  await cancelled
  await hangUp(both)
})

it('accept is given up without losing the connection that comes next', async () => {
  let deliver: ((connection: unknown) => void) | undefined
  const [ours, theirs] = memoryPair()
  const listener = {
    accept: () =>
      new Promise<never>((resolve) => {
        deliver = resolve as (connection: unknown) => void
      }),
    close: async () => {},
  }
  const both = await connected({ server: { tcpipForward: () => listener } })
  const remote = await both.client.listen('', 1)
  const controller = new AbortController()
  const waiting = rejection(remote.accept({ signal: controller.signal }))
  controller.abort()
  assert.is(codeOf(await waiting), 'SSH_ABORTED')
  deliver?.({ transport: theirs, originatorHost: 'x', originatorPort: 1 })
  const connection = await remote.accept()
  assert.is(connection?.originatorHost, 'x')
  ours.abort()
  await hangUp(both)
})

it('a server gives up waiting for its client too', async () => {
  const both = await connected({ client: { channels: { x: never } } })
  const signal = AbortSignal.abort()
  for (const attempt of [
    both.server.openChannel('x', undefined, { signal }),
    both.server.globalRequest('x', undefined, { signal }),
    both.server.ping({ signal }),
  ]) {
    assert.is(codeOf(await rejection(attempt)), 'SSH_ABORTED')
  }
  await hangUp(both)
})

it('an agent that does not answer is given up, request by request', async () => {
  const agent = agentClient(memoryPair()[0])
  const controller = new AbortController()
  const { signal } = controller
  const waiting = [
    agent.list({ signal }),
    agent.sign(userKey.publicKey, new Uint8Array(1), 'ssh-ed25519', { signal }),
    agent.add(userKey, { signal }),
    agent.remove(userKey.publicKey, { signal }),
    agent.removeAll({ signal }),
    agent.lock('x', { signal }),
    agent.unlock('x', { signal }),
    agent.extension('x', undefined, { signal }),
  ].map((attempt) => rejection(attempt))
  controller.abort()
  for (const error of await Promise.all(waiting)) assert.is(codeOf(error), 'SSH_ABORTED')
  await agent.close()
})

const overdue = (error: unknown, phase: RegExp): void => {
  assert.instance(error, SshError)
  assert.is(codeOf(error), 'SSH_TIMEOUT')
  assert.match((error as Error).message, phase)
}

it('identification has its own deadline', async () => {
  const [left] = memoryPair()
  const options = clientOptions({ deadlines: { identificationMs: 20 } })
  overdue(await rejection(connect(left, options)), /^identification took over 20 ms/)
})

it('the key exchange has its own deadline', async () => {
  const [left, right] = memoryPair()
  const connecting = connect(left, clientOptions({ deadlines: { keyExchangeMs: 20 } }))
  const waiting = rejection(connecting)
  await right.write(new TextEncoder().encode('SSH-2.0-silent\r\n'))
  overdue(await waiting, /^key-exchange took over 20 ms/)
})

it('authentication has its own deadline, for either side', async () => {
  const auth = { publickey: never }
  const [left, right] = memoryPair()
  const serving = rejection(
    serve(right, serverOptions({ auth, deadlines: { authenticationMs: 20 } })),
  )
  const connecting = rejection(connect(left, clientOptions()))
  overdue(await serving, /^authentication took over 20 ms/)
  await connecting
  const [third, fourth] = memoryPair()
  const hung = rejection(serve(fourth, serverOptions({ auth })))
  const options = clientOptions({ deadlines: { authenticationMs: 20 } })
  overdue(await rejection(connect(third, options)), /^authentication took over 20 ms/)
  await hung
})

it('opening a channel and the answer to a request have their own', async () => {
  const both = await connected({
    server: { ...undecided, permitChannel: ({ channelType }) => channelType !== 'session' },
    client: { deadlines: { channelOpenMs: 20, replyMs: 30 } },
  })
  const opening = await rejection(both.client.directTcpip('x', 1))
  overdue(opening, /^opening a direct-tcpip channel took over 20 ms/)
  const listening = await rejection(both.client.listen('', 1))
  overdue(listening, /^the answer to tcpip-forward took over 30 ms/)
  // The connection is none the worse.
  assert.ok((await both.client.ping()) >= 0)
  await hangUp(both)
})

it('both sides measure the round trip with pings of the transport layer', async () => {
  const both = await connected({ server: undecided })
  // A global request would wait behind this one.
  const waiting = rejection(both.client.listen('', 1))
  assert.ok((await both.client.ping()) >= 0)
  assert.ok((await both.server.ping()) >= 0)
  const seen = (name: string): number => both.trace.filter((line) => line.includes(name)).length
  assert.is(seen('< PING'), 1)
  assert.is(seen('> PING'), 1)
  assert.is(seen('PONG'), 2)
  const many = Array.from({ length: UNANSWERED_REQUESTS_MAX + 1 }, () => both.client.ping())
  const refused = (await Promise.allSettled(many)).filter(({ status }) => status === 'rejected')
  assert.is(refused.length, 1, 'those under way are bounded')
  await hangUp(both)
  assert.is(codeOf(await waiting), 'SSH_CONNECTION_LOST')
})

test.run()
