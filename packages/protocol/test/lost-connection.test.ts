// A connection may break anywhere. Whatever was going on must then end, with an error that is ours,
// and nothing may be left unhandled (the runtime would end this test with a failure).

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { connect } from '../src/client.ts'
import { SshError } from '../src/errors.ts'
import { memoryPair } from '../src/io/memory.ts'
import type { Transport } from '../src/io/transport.ts'
import { serve } from '../src/server.ts'
import type { SessionHandler } from '../src/server-session.ts'
import { clientOptions, codeOf, connected, gate, serverOptions, utf8 } from './connected.ts'
import { seededRandom } from './sim/random.ts'
import { rejection, within } from './within.ts'

const LIMIT_MS = 20_000

function it(name: string, run: () => Promise<void>): void {
  test(name, () => within(LIMIT_MS, run(), name))
}

/** How a link breaks once it has carried so many bytes. */
type Cut = 'abort' | 'end' | 'write-fails'

function cutAfter(inner: Transport, bytes: number, how: Cut): Transport {
  let left = bytes
  const isCut = (length: number): boolean => {
    left -= length
    return left < 0
  }
  return {
    async read() {
      const chunk = await inner.read()
      if (chunk === undefined || !isCut(chunk.length)) return chunk
      if (how === 'end') return undefined
      inner.abort(new Error('cable pulled'))
      throw new Error('cable pulled')
    },
    async write(chunk) {
      if (isCut(chunk.length)) {
        if (how === 'write-fails') throw new Error('broken pipe')
        if (how === 'abort') inner.abort(new Error('cable pulled'))
        // The peer sees the end and will end its side; what is written goes nowhere.
        if (how === 'end') return inner.close()
      }
      await inner.write(chunk)
    },
    close: () => inner.close(),
    abort: (reason) => inner.abort(reason),
  }
}

const busy: SessionHandler = async (session) => {
  for (let chunk = await session.read(); chunk; chunk = await session.read()) {
    await session.write(chunk)
    await session.writeStderr(chunk.subarray(0, 10))
  }
  return 0
}

/** Everything a client may be doing, all at once; every promise of it must settle. */
async function everything(transport: Transport): Promise<unknown[]> {
  const outcomes: unknown[] = []
  const record = (promise: Promise<unknown>): Promise<void> =>
    promise.then(
      () => {},
      (error: unknown) => {
        outcomes.push(error)
      },
    )
  const client = await connect(transport, clientOptions())
  await Promise.all([
    record(client.run('x', { stdin: new Uint8Array(300_000) })),
    record(client.run('x', { stdin: new Uint8Array(5) })),
    record(client.ping()),
    record(client.globalRequest('whatever')),
    record(client.directTcpip('x', 1)),
    record(
      client.exec('x').then(async (process) => {
        void process.write(new Uint8Array(500_000))
        void process.channel.request('unheard-of')
        void process.readStderr()
        client.rekey()
        process.kill('HUP')
        await process.read()
        await process.stdout.pipeTo(new WritableStream())
      }),
    ),
  ])
  await client.close()
  outcomes.push(await client.closed)
  return outcomes
}

for (const how of ['abort', 'end', 'write-fails'] as const) {
  it(`a connection cut at random (${how}) leaves nobody waiting`, async () => {
    const random = seededRandom(how.length)
    for (let round = 0; round < 40; round++) {
      // The handshake is about 5 KB; half of the cuts fall into it.
      const bytes = round % 2 === 0 ? random.below(6000) : random.below(1_500_000)
      const [left, right] = memoryPair()
      const signals: AbortSignal[] = []
      const serving = serve(
        right,
        serverOptions({
          exec: (session) => {
            signals.push(session.signal)
            return busy(session)
          },
        }),
      ).then(
        (server) => server.closed,
        (error: unknown) => error,
      )
      const what = `cut after ${bytes} bytes`
      const client = everything(cutAfter(left, bytes, how)).catch((error: unknown) => [error])
      const outcomes = await within(10_000, client, `client, ${what}`)
      for (const error of outcomes) {
        if (error !== undefined) assert.instance(error, SshError, what)
      }
      await within(10_000, serving, `server, ${what}`)
      assert.ok(
        signals.every(({ aborted }) => aborted),
        what,
      )
    }
  })
}

it('a transport that fails is the cause of what is reported', async () => {
  const [left, right] = memoryPair()
  const cause = new Error('cable pulled')
  const { client } = await connected({ transports: [left, right], server: { exec: busy } })
  const process = await client.exec('x')
  const reading = rejection(process.read())
  left.abort(cause)
  const error = await client.closed
  assert.is(codeOf(error), 'SSH_CONNECTION_LOST')
  assert.is(error?.cause, cause)
  assert.is(await reading, error)
  assert.is(codeOf(await rejection(process.exit)), 'SSH_CONNECTION_LOST')
})

it('close waits for the goodbye to leave, but not for ever', async () => {
  const [left, right] = memoryPair({ capacityBytes: 1000 })
  const written = gate()
  let stuck = false
  // A link that takes nothing more from some point on.
  const sticky: Transport = {
    read: () => left.read(),
    write: (chunk) => {
      if (!stuck) return left.write(chunk)
      written.open()
      return new Promise((_, reject) => {
        rejectWrite = reject
      })
    },
    close: () => left.close(),
    abort: (reason) => {
      rejectWrite(reason ?? new Error('aborted'))
      left.abort(reason)
    },
  }
  let rejectWrite: (reason: unknown) => void = () => {}
  const { client, server } = await connected({
    transports: [sticky, right],
    server: { exec: busy },
  })
  stuck = true
  const closing = client.close()
  await written.opened
  await within(6000, closing, 'close')
  assert.is(await client.closed, undefined)
  await server.closed
})

it('a goodbye arrives though the other side is sending', async () => {
  const both = await connected({
    server: {
      exec: async (session) => {
        for (;;) await session.write(new Uint8Array(50_000))
      },
    },
  })
  const process = await both.client.exec('yes')
  await process.read()
  await both.client.close()
  const error = await both.server.closed
  assert.is(codeOf(error), 'SSH_DISCONNECTED')
  assert.match(error?.message ?? '', 'closed by the user')
})

it('a server that closes tells its clients why', async () => {
  const both = await connected({ server: { exec: busy } })
  const running = rejection(both.client.run('x', { stdin: new ReadableStream() }))
  await both.client.ping()
  await both.server.close(12, 'too many of you')
  const error = await both.client.closed
  assert.match(error?.message ?? '', 'too many of you')
  assert.ok(codeOf(await running) !== undefined)
  assert.is(await both.server.closed, undefined)
})

it('what was written before a goodbye is read before the loss', async () => {
  const both = await connected({
    server: {
      exec: async (session) => {
        await session.write(utf8('last words'))
        return new Promise(() => {})
      },
    },
  })
  const process = await both.client.exec('x')
  await both.client.ping()
  await both.server.close()
  assert.equal(await process.read(), utf8('last words'))
  assert.is(codeOf(await rejection(process.read())), 'SSH_DISCONNECTED')
})

test.run()
