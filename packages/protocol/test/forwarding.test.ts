import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Channel, pullStream } from '../src/channel.ts'
import type { RemoteListener } from '../src/client-forwards.ts'
import { chosenPort, forwardedStreamlocal, forwardedTcpip } from '../src/connection/forwarding.ts'
import { ChannelOpenError, SshError } from '../src/errors.ts'
import { Backlog, type IncomingConnection, type Listener } from '../src/io/listener.ts'
import { memoryPair } from '../src/io/memory.ts'
import type { Transport } from '../src/io/transport.ts'
import { BACKLOG_MAX, FORWARDS_MAX } from '../src/limits.ts'
import type { ServerOptions } from '../src/server-options.ts'
import { OPEN_FAILURE } from '../src/wire/numbers.ts'
import { codeOf, connected, gate, hangUp, text, utf8 } from './connected.ts'
import { readAll } from './suites/transport.ts'
import { rejection, within } from './within.ts'

const LIMIT_MS = 10_000
const NOTHING = new Uint8Array(0)

function it(name: string, run: () => Promise<void>): void {
  test(name, () => within(LIMIT_MS, run(), name))
}

/** A listener that tests connect to. */
class Desk implements Listener {
  readonly closed = gate()
  readonly port: number
  readonly #backlog = new Backlog<IncomingConnection>(({ transport }) => transport.abort())

  constructor(port = 4022) {
    this.port = port
  }

  accept(): Promise<IncomingConnection | undefined> {
    return this.#backlog.accept()
  }

  async close(): Promise<void> {
    this.#backlog.end()
    this.closed.open()
  }

  connect(originatorHost = '10.0.0.9', originatorPort = 777): Transport {
    const [ours, theirs] = memoryPair()
    this.#backlog.offer({ transport: theirs, originatorHost, originatorPort })
    return ours
  }
}

async function next(listener: RemoteListener): Promise<Channel> {
  const connection = await listener.accept()
  if (connection === undefined) throw new Error('no connection came')
  return connection.transport
}

it('a port that the server listens on brings connections, and their origin', async () => {
  const desk = new Desk()
  const asked: unknown[] = []
  const server: Partial<ServerOptions> = {
    tcpipForward: (request) => {
      asked.push({ ...request })
      return desk
    },
  }
  const both = await connected({ server })
  const listener = await both.client.listen('localhost', 8080)
  assert.equal(asked, [{ host: 'localhost', port: 8080, username: both.server.username }])
  assert.is(listener.port, 8080)
  const outside = desk.connect()
  const connection = await listener.accept()
  assert.is(connection?.originatorHost, '10.0.0.9')
  assert.is(connection?.originatorPort, 777)
  await outside.write(utf8('question'))
  await outside.close()
  assert.is(text(await readAll(connection?.transport as Transport)), 'question')
  await connection?.transport.write(utf8('answer'))
  await connection?.transport.close()
  assert.is(text(await readAll(outside)), 'answer')
  await hangUp(both)
  assert.equal(both.errors, [])
})

it('port 0 is answered with the port that was chosen, and cancelled by it', async () => {
  const desk = new Desk(40_123)
  const both = await connected({ server: { tcpipForward: () => desk } })
  const listener = await both.client.listen('', 0)
  assert.is(listener.port, 40_123)
  desk.connect()
  await next(listener)
  await listener.close()
  await desk.closed.opened
  assert.is(await listener.accept(), undefined)
  await hangUp(both)
})

it('a Unix socket is listened on and connected to by its path', async () => {
  const desk = new Desk()
  const [ours, theirs] = memoryPair()
  const paths: string[] = []
  const both = await connected({
    server: {
      streamlocalForward: ({ path }) => {
        paths.push(path)
        return desk
      },
      directStreamlocal: ({ path }) => {
        paths.push(path)
        return theirs
      },
    },
  })
  const listener = await both.client.listenStreamlocal('/run/a')
  const outside = desk.connect('', 0)
  const channel = await next(listener)
  await channel.write(utf8('in'))
  assert.is(text(await outside.read()), 'in')
  const direct = await both.client.directStreamlocal('/run/b')
  await direct.write(utf8('out'))
  assert.is(text(await ours.read()), 'out')
  assert.equal(paths, ['/run/a', '/run/b'])
  await listener.close()
  await desk.closed.opened
  await hangUp(both)
})

it('nothing is forwarded by a server that was not told to', async () => {
  const both = await connected()
  for (const attempt of [both.client.listen('', 1), both.client.listenStreamlocal('/a')]) {
    assert.is(codeOf(await rejection(attempt)), 'SSH_REQUEST_REFUSED')
  }
  const refusal = await rejection(both.client.directStreamlocal('/a'))
  assert.is((refusal as ChannelOpenError).reason, OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED)
  await hangUp(both)
})

it('a handler refuses by undefined or by throwing, which onError hears', async () => {
  const both = await connected({
    server: {
      tcpipForward: ({ port }) => {
        if (port === 1) throw new Error('in use')
        return port === 0 ? ({ ...new Desk(0), close: async () => {} } as never) : undefined
      },
    },
  })
  for (const port of [1, 2, 0]) {
    const error = await rejection(both.client.listen('', port))
    assert.is(codeOf(error), 'SSH_REQUEST_REFUSED')
  }
  assert.equal(
    both.errors.map((error) => (error as Error).message),
    ['in use', 'the listener for port 0 must tell its port'],
  )
  await hangUp(both)
})

it('a channel that no forward asked for is refused', async () => {
  const desk = new Desk()
  const both = await connected({ server: { tcpipForward: () => desk } })
  const listener = await both.client.listen('a', 5)
  const tcp = (connectedHost: string, connectedPort: number): Uint8Array =>
    forwardedTcpip.encode({ connectedHost, connectedPort, originatorHost: '', originatorPort: 1 })
  const unix = forwardedStreamlocal.encode({ path: '/never', reserved: NOTHING })
  const { server } = both
  for (const attempt of [
    server.openChannel('forwarded-tcpip', tcp('a', 6)),
    server.openChannel('forwarded-streamlocal@openssh.com', unix),
    server.openChannel('forwarded-tcpip', utf8('what')),
    server.openChannel('auth-agent@openssh.com'),
    server.openChannel('session'),
  ]) {
    assert.instance(await rejection(attempt), ChannelOpenError)
  }
  // The port is the forward's; which of its addresses was connected to is the server's to say.
  const opening = server.openChannel('forwarded-tcpip', tcp('10.1.1.1', 5))
  assert.is((await next(listener)).type, 'forwarded-tcpip')
  await opening
  await listener.close()
  assert.instance(
    await rejection(server.openChannel('forwarded-tcpip', tcp('a', 5))),
    ChannelOpenError,
  )
  await hangUp(both)
})

it('with two forwards of one port the address decides', async () => {
  const both = await connected({ server: { tcpipForward: () => new Desk() } })
  const [one, two] = [await both.client.listen('a', 5), await both.client.listen('b', 5)]
  const opened = (connectedHost: string): Promise<Channel> =>
    both.server.openChannel(
      'forwarded-tcpip',
      forwardedTcpip.encode({
        connectedHost,
        connectedPort: 5,
        originatorHost: connectedHost,
        originatorPort: 1,
      }),
    )
  void opened('b')
  assert.is((await two.accept())?.originatorHost, 'b')
  void opened('a')
  assert.is((await one.accept())?.originatorHost, 'a')
  assert.instance(await rejection(opened('c')), ChannelOpenError)
  await hangUp(both)
})

it('a server that tells port 0 for the port it chose means the one forward with such a port', async () => {
  const ports = [4022, 4023]
  const both = await connected({ server: { tcpipForward: () => new Desk(ports.shift()) } })
  const opened = (): Promise<Channel> => {
    const origin = { originatorHost: '', originatorPort: 1 }
    const claim = { connectedHost: 'a', connectedPort: 0, ...origin }
    return both.server.openChannel('forwarded-tcpip', forwardedTcpip.encode(claim))
  }
  const fixed = await both.client.listen('a', 5)
  assert.instance(await rejection(opened()), ChannelOpenError)
  const chosen = await both.client.listen('a', 0)
  void opened()
  assert.is((await next(chosen)).type, 'forwarded-tcpip')
  await both.client.listen('b', 0)
  void opened()
  assert.is((await next(chosen)).type, 'forwarded-tcpip')
  await chosen.close()
  await fixed.close()
  await hangUp(both)
})

it('the same forward twice, one too many, and the cancelling of none are refused', async () => {
  const both = await connected({ server: { tcpipForward: () => new Desk() } })
  const { client } = both
  for (let port = 1; port <= FORWARDS_MAX; port++) await client.listen('', port)
  assert.is(codeOf(await rejection(client.listen('', 1))), 'SSH_REQUEST_REFUSED')
  assert.is(codeOf(await rejection(client.listen('', 60_000))), 'SSH_REQUEST_REFUSED')
  const nothing = chosenPort.encode({ port: 0 })
  for (const name of ['cancel-tcpip-forward', 'cancel-streamlocal-forward@openssh.com']) {
    const error = await rejection(client.globalRequest(name, nothing))
    assert.is(codeOf(error), 'SSH_REQUEST_REFUSED')
  }
  await hangUp(both)
})

it('connections that nobody accepts are bounded', async () => {
  const desk = new Desk()
  const both = await connected({ server: { tcpipForward: () => desk } })
  const listener = await both.client.listen('', 5)
  const outside = Array.from({ length: BACKLOG_MAX }, () => desk.connect())
  // Each is offered to the client before the next reply comes.
  await both.client.ping()
  await both.client.ping()
  await rejection(desk.connect().read())
  await outside[0]?.write(utf8('first'))
  assert.is(text(await (await next(listener)).read()), 'first')
  await listener.close()
  await rejection((outside[1] as Transport).read())
  await hangUp(both)
})

it('everything ends with the connection, at both ends', async () => {
  const desk = new Desk()
  const both = await connected({ server: { tcpipForward: () => desk } })
  const listener = await both.client.listen('', 5)
  const outside = desk.connect()
  const channel = await next(listener)
  const accepting = listener.accept()
  await hangUp(both)
  await desk.closed.opened
  assert.is(await accepting, undefined)
  assert.instance(await rejection(channel.read()), SshError)
  await rejection(outside.read())
  await listener.close()
})

it('a lost connection is an error to who waits for connections', async () => {
  const [left, right] = memoryPair()
  const both = await connected({
    transports: [left, right],
    server: { tcpipForward: () => new Desk() },
  })
  const listener = await both.client.listen('', 5)
  const accepting = rejection(listener.accept())
  right.abort()
  assert.is(codeOf(await accepting), 'SSH_CONNECTION_LOST')
  await both.server.closed
})

it('a listener that is ready only after the connection went is closed', async () => {
  const desk = new Desk()
  const [asked, ready] = [gate(), gate()]
  const both = await connected({
    server: {
      tcpipForward: async () => {
        asked.open()
        await ready.opened
        return desk
      },
    },
  })
  const listening = rejection(both.client.listen('', 5))
  await asked.opened
  await hangUp(both)
  ready.open()
  await desk.closed.opened
  assert.instance(await listening, SshError)
})

it('replies keep their order though a forward takes its time', async () => {
  const ready = gate()
  const both = await connected({
    server: {
      tcpipForward: async () => {
        await ready.opened
        return new Desk(4711)
      },
    },
  })
  const listening = both.client.listen('', 0)
  // Its failure must not be taken for that of the forward, nor the forward's success for its.
  const refused = rejection(both.client.globalRequest('nothing@example.com'))
  ready.open()
  assert.is((await listening).port, 4711)
  assert.is(codeOf(await refused), 'SSH_REQUEST_REFUSED')
  await hangUp(both)
})

it('leaving the loop over a listener closes it', async () => {
  const desk = new Desk()
  const both = await connected({ server: { tcpipForward: () => desk } })
  const listener = await both.client.listen('', 5)
  desk.connect()
  for await (const { transport } of listener) {
    transport.abort()
    break
  }
  await desk.closed.opened
  await hangUp(both)
})

it('a forward is passed on through another connection', async () => {
  const desk = new Desk()
  const outer = await connected({ server: { tcpipForward: () => desk } })
  const inner = await connected({
    server: { tcpipForward: ({ host, port }) => outer.client.listen(host, port) },
  })
  const listener = await inner.client.listen('', 0)
  assert.is(listener.port, 4022)
  const outside = desk.connect()
  const channel = await next(listener)
  await channel.write(utf8('far'))
  await channel.close()
  assert.is(
    await new Response(
      pullStream(
        () => outside.read(),
        () => {},
      ),
    ).text(),
    'far',
  )
  await hangUp(inner)
  await desk.closed.opened
  await hangUp(outer)
})

test.run()
