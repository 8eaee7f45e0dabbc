// Also on: chromium
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ServerSession } from '../src/server-session.ts'
import { codeOf, connected, gate, hangUp, text, utf8 } from './connected.ts'
import { readAll } from './suites/transport.ts'
import { rejection, within } from './within.ts'

const LIMIT_MS = 10_000

function it(name: string, run: () => Promise<void>): void {
  test(name, () => within(LIMIT_MS, run(), name))
}

for (const code of [0, 3, 255]) {
  it(`exit status ${code} arrives with what was written before it`, async () => {
    const both = await connected({
      server: {
        exec: async (session) => {
          await session.write(utf8('out'))
          return code
        },
      },
    })
    const result = await both.client.run('x')
    assert.is(result.code, code)
    assert.is(result.signal, undefined)
    assert.is(result.text(), 'out')
    await hangUp(both)
  })
}

it('stdout and stderr are flushed before the end, though the handler waited for nothing', async () => {
  const both = await connected({
    server: {
      exec: (session) => {
        for (let count = 0; count < 100; count++) {
          void session.write(new Uint8Array(50_000).fill(1))
          void session.writeStderr(new Uint8Array(20_000).fill(2))
        }
        return 7
      },
    },
  })
  const result = await both.client.run('x')
  assert.is(result.code, 7)
  assert.is(result.stdout.length, 5_000_000)
  assert.is(result.stderr.length, 2_000_000)
  assert.ok(result.stdout.every((byte) => byte === 1))
  assert.ok(result.stderr.every((byte) => byte === 2))
  await hangUp(both)
})

it('the end of a session is status, EOF and CLOSE in this order', async () => {
  const both = await connected({
    server: {
      exec: async ({ stdin, stdout }) => {
        await stdin.pipeTo(stdout)
        return 0
      },
    },
  })
  assert.is((await both.client.run('cat', { stdin: 'hello' })).text(), 'hello')
  const names = both.trace.map((line) => line.replace(/ \(.*/, ''))
  const tail = names.slice(names.lastIndexOf('> CHANNEL_DATA'))
  assert.equal(
    tail.filter((name) => name.startsWith('>')),
    ['> CHANNEL_DATA', '> CHANNEL_REQUEST', '> CHANNEL_EOF', '> CHANNEL_CLOSE'],
  )
  await hangUp(both)
})

it('a signal that ended the program is told with its text', async () => {
  const both = await connected({
    server: { exec: () => ({ signal: 'SEGV', coreDumped: true, message: 'oops' }) },
  })
  const process = await both.client.exec('x')
  assert.equal(await process.exit, { signal: 'SEGV', coreDumped: true, message: 'oops' })
  assert.is((await both.client.run('x')).signal, 'SEGV')
  await hangUp(both)
})

it('exit waits until both streams were read', async () => {
  const both = await connected({
    server: {
      exec: async (session) => {
        await session.write(utf8('out'))
        await session.writeStderr(utf8('err'))
        return 0
      },
    },
  })
  const process = await both.client.exec('x')
  let exited = false
  void process.exit.then(() => {
    exited = true
  })
  await process.channel.closed
  await both.client.ping()
  assert.is(exited, false)
  assert.is(text(await readAll(process)), 'out')
  await both.client.ping()
  assert.is(exited, false)
  assert.is(text(await process.readStderr()), 'err')
  assert.equal(await process.exit, { code: 0 })
  await hangUp(both)
})

it('exit does not wait for a stream that was discarded', async () => {
  const both = await connected({
    server: {
      exec: async (session) => {
        await session.write(new Uint8Array(3_000_000))
        await session.writeStderr(new Uint8Array(3_000_000))
        return 0
      },
    },
  })
  const process = await both.client.exec('x')
  process.channel.discardStderr()
  process.channel.discard()
  assert.equal(await process.exit, { code: 0 })
  await hangUp(both)
})

it('a lost connection is an error, not a status', async () => {
  const started = gate()
  const both = await connected({
    server: {
      exec: async () => {
        started.open()
        return new Promise(() => {})
      },
    },
  })
  const process = await both.client.exec('x')
  await started.opened
  const reading = rejection(process.read())
  await both.server.close(2, 'going down')
  const error = await rejection(process.exit)
  assert.is(codeOf(error), 'SSH_CONNECTION_LOST')
  assert.match(String(((error as Error).cause as Error).message), 'going down')
  assert.is(codeOf(await reading), 'SSH_DISCONNECTED')
})

it('a session closed without a status is an error too', async () => {
  const both = await connected({
    server: {
      exec: async (session) => {
        session.transport.abort()
        return 0
      },
    },
  })
  const process = await both.client.exec('x')
  assert.is(codeOf(await rejection(process.exit)), 'SSH_CONNECTION_LOST')
  assert.is(codeOf(await rejection(both.client.run('x'))), 'SSH_CONNECTION_LOST')
  await hangUp(both)
})

it('writing to a program that ended rejects, and nobody need look', async () => {
  const both = await connected({ server: { exec: () => 0 } })
  const process = await both.client.exec('x')
  await process.exit
  assert.is(codeOf(await rejection(process.write(utf8('x')))), 'SSH_CHANNEL_CLOSED')
  void process.write(utf8('ignored'))
  void process.channel.request('ignored')
  const writer = process.stdin.getWriter()
  assert.is(codeOf(await rejection(writer.write(utf8('x')))), 'SSH_CHANNEL_CLOSED')
  process.kill('TERM')
  process.resize(1, 1)
  await process.end()
  await hangUp(both)
})

it('a stalled write rejects when the program ends without reading', async () => {
  const go = gate()
  const both = await connected({
    server: {
      exec: async () => {
        await go.opened
        return 0
      },
    },
  })
  const process = await both.client.exec('x')
  const writing = rejection(process.write(new Uint8Array(10_000_000)))
  await both.client.ping()
  go.open()
  assert.is(codeOf(await writing), 'SSH_CHANNEL_CLOSED')
  assert.equal(await process.exit, { code: 0 })
  await hangUp(both)
})

it('signals arrive, after the end of stdin too, and those that came early', async () => {
  const got: string[] = []
  const listen = gate()
  const both = await connected({
    server: {
      exec: async (session) => {
        await listen.opened
        await new Promise<void>((resolve) => {
          session.onSignal((name) => {
            got.push(name)
            if (name === 'TERM') resolve()
          })
        })
        return { signal: 'TERM' }
      },
    },
  })
  const process = await both.client.exec('x')
  process.kill('HUP')
  process.kill('USR1')
  await process.end()
  await both.client.ping()
  listen.open()
  process.kill('TERM')
  assert.is((await process.exit).signal, 'TERM')
  assert.equal(got, ['HUP', 'USR1', 'TERM'])
  assert.throws(() => process.kill('SIGTERM'), /signal/)
  await hangUp(both)
})

it('an AbortSignal sends TERM, then KILL, then closes, and rejects at once', async () => {
  const seen: string[] = []
  const ended = gate()
  const started = gate()
  const both = await connected({
    server: {
      exec: async (session) => {
        session.onSignal((name) => seen.push(name))
        session.signal.addEventListener('abort', () => ended.open())
        started.open()
        await ended.opened
        return 0
      },
    },
  })
  const controller = new AbortController()
  const process = await both.client.exec('x', { signal: controller.signal, graceMs: 20 })
  await started.opened
  const reading = rejection(process.read())
  controller.abort()
  assert.is(codeOf(await reading), 'SSH_ABORTED')
  assert.is(codeOf(await rejection(process.exit)), 'SSH_ABORTED')
  assert.is(codeOf(await rejection(process.write(utf8('x')))), 'SSH_ABORTED')
  await ended.opened
  assert.equal(seen, ['TERM', 'KILL'])
  await process.channel.closed
  await hangUp(both)
})

it('a program that ends at TERM is not killed, whatever it still writes', async () => {
  const seen: string[] = []
  const started = gate()
  const both = await connected({
    client: { limits: { windowBytes: 64 * 1024 } },
    server: {
      exec: async (session) => {
        started.open()
        await new Promise<void>((resolve) => {
          session.onSignal((name) => {
            seen.push(name)
            resolve()
          })
        })
        // More than the window: it must be credited though nobody reads.
        for (let at = 0; at < 8; at++) await session.write(new Uint8Array(32 * 1024))
        return { signal: 'TERM' }
      },
    },
  })
  const controller = new AbortController()
  const running = both.client.run('x', { signal: controller.signal, graceMs: 60_000 })
  await started.opened
  controller.abort()
  assert.is(codeOf(await rejection(running)), 'SSH_ABORTED')
  const { signal } = await both.client.exec('y').then(async (process) => {
    void process.terminate(60_000)
    for (let chunk = await process.read(); chunk; chunk = await process.read());
    return process.exit
  })
  assert.is(signal, 'TERM')
  assert.equal(seen, ['TERM', 'TERM'])
  await hangUp(both)
  assert.equal(both.errors, [])
})

it('an AbortSignal that fired before, or while the session opens, leaves nothing open', async () => {
  const both = await connected({ server: { exec: () => new Promise(() => {}) } })
  const before = AbortSignal.abort()
  assert.is(codeOf(await rejection(both.client.exec('x', { signal: before }))), 'SSH_ABORTED')
  const controller = new AbortController()
  const opening = rejection(both.client.exec('x', { signal: controller.signal }))
  controller.abort()
  assert.is(codeOf(await opening), 'SSH_ABORTED')
  const timed = both.client.run('x', { signal: AbortSignal.timeout(10), graceMs: 1 })
  assert.is(codeOf(await rejection(timed)), 'SSH_TIMEOUT')
  const count = (start: string): number =>
    both.trace.filter((line) => line.startsWith(start)).length
  const opened = count('< CHANNEL_OPEN ')
  // The program that did start gets its time to end first. Pings over memory would leave Bun and
  // Deno no turn for the timers which that takes.
  while (count('< CHANNEL_CLOSE ') < opened) await new Promise((resolve) => setTimeout(resolve, 1))
  const closed = count('< CHANNEL_CLOSE ')
  assert.ok(opened >= 1)
  assert.is(closed, opened)
  await hangUp(both)
})

it('a terminal has its size and modes, and resizing is told', async () => {
  const resized = gate()
  let session: ServerSession | undefined
  const both = await connected({
    server: {
      shell: async (given) => {
        session = given
        given.onWindowChange(() => resized.open())
        await resized.opened
        return 0
      },
    },
  })
  const process = await both.client.shell({
    pty: { term: 'vt100', columns: 100, rows: 30, modes: { ECHO: 0, VINTR: 3, OP99: 5 } },
  })
  assert.equal(session?.pty, {
    term: 'vt100',
    columns: 100,
    rows: 30,
    widthPixels: 0,
    heightPixels: 0,
    modes: { ECHO: 0, VINTR: 3, OP99: 5 },
  })
  assert.is(session?.kind, 'shell')
  process.resize(120, 40, 960, 800)
  await process.exit
  const { columns, rows, widthPixels, heightPixels } = session?.pty ?? {}
  assert.equal([columns, rows, widthPixels, heightPixels], [120, 40, 960, 800])
  await hangUp(both)
})

it('environment passes only as far as acceptEnv lets it', async () => {
  const both = await connected({
    server: {
      acceptEnv: (name) => name.startsWith('LC_'),
      exec: async ({ env, stdout }) => {
        const writer = stdout.getWriter()
        await writer.write(utf8(JSON.stringify([...env])))
        return 0
      },
    },
  })
  const env = { LC_ALL: 'C', LD_PRELOAD: '/x', LC_TIME: 'ä' }
  const { stdout } = await both.client.run('env', { env })
  assert.equal(JSON.parse(text(stdout)), [
    ['LC_ALL', 'C'],
    ['LC_TIME', 'ä'],
  ])
  await hangUp(both)
})

it('stderr can be apart, merged or ignored', async () => {
  const both = await connected({
    server: {
      exec: async (session) => {
        await session.write(utf8('a'))
        await session.writeStderr(utf8('b'))
        await session.write(utf8('c'))
        // More than a window: unless it is dropped, this stalls.
        await session.writeStderr(new Uint8Array(5_000_000))
        return 0
      },
    },
  })
  const merged = await both.client.exec('x', { stderr: 'merge' })
  const all = await readAll(merged)
  assert.is(text(all.subarray(0, 3)), 'abc')
  assert.is(all.length, 5_000_003)
  const ignored = await both.client.exec('x', { stderr: 'ignore' })
  assert.is(text(await readAll(ignored)), 'ac')
  assert.equal(await ignored.exit, { code: 0 })
  const apart = await both.client.run('x')
  assert.is(apart.text(), 'ac')
  assert.is(apart.stderr.length, 5_000_001)
  await hangUp(both)
})

it('a client that stops reading stdout ends the producer', async () => {
  const both = await connected({
    server: {
      exec: async (session) => {
        const line = utf8('y\n')
        let error: unknown
        while (error === undefined) {
          await session.write(line).catch((reason: unknown) => {
            error = reason
          })
        }
        assert.is(session.outputClosed.aborted, true)
        assert.is(codeOf(error), 'SSH_CHANNEL_CLOSED')
        await session.writeStderr(utf8('broken pipe'))
        return { signal: 'PIPE' }
      },
    },
  })
  const process = await both.client.exec('yes')
  const reader = process.stdout.getReader()
  await reader.read()
  await reader.cancel()
  assert.is(text(await process.readStderr()), 'broken pipe')
  assert.is((await process.exit).signal, 'PIPE')
  assert.equal(both.errors, [])
  await hangUp(both)
})

it('a program that stops reading stdin ends the sender', async () => {
  const go = gate()
  const both = await connected({
    server: {
      exec: async ({ stdin }) => {
        const reader = stdin.getReader()
        await reader.read()
        await reader.cancel()
        await go.opened
        return 0
      },
    },
  })
  const process = await both.client.exec('head')
  const error = await rejection(
    (async () => {
      for (;;) await process.write(new Uint8Array(10_000))
    })(),
  )
  assert.is(codeOf(error), 'SSH_CHANNEL_CLOSED')
  go.open()
  assert.equal(await process.exit, { code: 0 })
  await hangUp(both)
})

it('run gives up on a program that writes too much', async () => {
  const gone = gate<boolean>()
  const both = await connected({
    server: {
      exec: async (session) => {
        session.signal.addEventListener('abort', () => gone.open(true))
        for (;;) await session.write(new Uint8Array(10_000))
      },
    },
  })
  const error = await rejection(both.client.run('yes', { maxBytes: 100_000 }))
  assert.is(codeOf(error), 'SSH_LIMIT')
  assert.match((error as Error).message, 'stdout')
  assert.is(await gone.opened, true)
  await hangUp(both)
})

it('run takes its input from bytes, text or a stream, and does not mind who does not read it', async () => {
  const both = await connected({
    server: {
      exec: async ({ command, stdin, stdout }) => {
        if (command === 'true') return 0
        await stdin.pipeTo(stdout)
        return 0
      },
    },
  })
  const { client } = both
  assert.is((await client.run('cat', { stdin: 'text' })).text(), 'text')
  assert.is((await client.run('cat', { stdin: utf8('bytes') })).text(), 'bytes')
  assert.is((await client.run('cat')).text(), '')
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(utf8('str'))
      controller.enqueue(utf8('eam'))
      controller.close()
    },
  })
  assert.is((await client.run('cat', { stdin: stream })).text(), 'stream')
  assert.is((await client.run('true', { stdin: new Uint8Array(10_000_000) })).code, 0)
  let cancelled = false
  const endless = new ReadableStream<Uint8Array>({
    cancel() {
      cancelled = true
    },
  })
  assert.is((await client.run('true', { stdin: endless })).code, 0)
  assert.is(cancelled, true)
  await hangUp(both)
})

it('a source that fails while it is piped into stdin closes the session', async () => {
  const seen = gate<boolean>()
  const both = await connected({
    server: {
      exec: async (session) => {
        await session.read()
        session.signal.addEventListener('abort', () => seen.open(true))
        await seen.opened
        return 0
      },
    },
  })
  const process = await both.client.exec('sink')
  const source = new ReadableStream<Uint8Array>({
    pull(controller) {
      controller.enqueue(utf8('half'))
      controller.error(new Error('disk full'))
    },
  })
  assert.match(((await rejection(source.pipeTo(process.stdin))) as Error).message, 'disk full')
  assert.is(await seen.opened, true)
  await rejection(process.exit)
  await hangUp(both)
})

it('disposing of a process closes its session', async () => {
  const gone = gate()
  const both = await connected({
    server: {
      exec: async (session) => {
        session.signal.addEventListener('abort', () => gone.open())
        await gone.opened
        return 0
      },
    },
  })
  const process = await both.client.exec('x')
  await process[Symbol.asyncDispose]()
  await gone.opened
  assert.is(codeOf(await rejection(process.exit)), 'SSH_ABORTED')
  await hangUp(both)
})

test.run()
