// Much at once: large transfers, many sessions and connections, rekeying meanwhile, slow readers.
// Time limit: 240 s

import { sha256 } from '@noble/hashes/sha2.js'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { CryptoProvider } from '../src/crypto/provider.ts'
import { WINDOW_BYTES } from '../src/limits.ts'
import type { SessionHandler } from '../src/server-session.ts'
import { connected, gate, hangUp, providers, text, utf8 } from './connected.ts'
import { randomBytes } from './suites/transport.ts'
import { within } from './within.ts'

const MIB = 1024 * 1024

function it(name: string, limitMs: number, run: () => Promise<void>): void {
  test(name, () => within(limitMs, run(), name))
}

/** The default provider moves much; the portable one is slow, and shows the same with less. */
const sizes = (crypto: CryptoProvider, mib: number): number =>
  (crypto.fast.has('aes-gcm') ? mib : Math.ceil(mib / 50)) * MIB

const cat: SessionHandler = async (session) => {
  for (let chunk = await session.read(); chunk; chunk = await session.read()) {
    await session.write(chunk)
  }
  return 0
}

/** Sends `length` bytes through an echo and compares hashes of both directions. */
async function echo(
  process: {
    write(chunk: Uint8Array): Promise<void>
    end(): Promise<void>
    read(): Promise<Uint8Array | undefined>
  },
  length: number,
): Promise<void> {
  const block = randomBytes(MIB, length)
  const sent = sha256.create()
  const received = sha256.create()
  let bytes = 0
  const writing = (async () => {
    for (let at = 0; at < length; at += block.length) {
      block[at % 1000] = at / MIB
      sent.update(block)
      await process.write(block)
    }
    await process.end()
  })()
  for (let chunk = await process.read(); chunk; chunk = await process.read()) {
    received.update(chunk)
    bytes += chunk.length
  }
  await writing
  assert.is(bytes, length)
  assert.equal(received.digest(), sent.digest())
}

for (const crypto of providers) {
  const length = sizes(crypto, 100)
  it(`${length / MIB} MiB there and back on ${crypto.name} are the same`, 120_000, async () => {
    const both = await connected({ crypto, server: { exec: cat } })
    const process = await both.client.exec('cat')
    await echo(process, length)
    assert.equal(await process.exit, { code: 0 })
    await hangUp(both)
  })

  it(`keys are replaced while data flows on ${crypto.name}`, 60_000, async () => {
    const both = await connected({
      crypto,
      server: { exec: cat, rekey: { bytes: sizes(crypto, 12) / 4 } },
      client: { rekey: { packets: 300 } },
    })
    const process = await both.client.exec('cat')
    const nudging = setInterval(() => both.client.rekey(), 20)
    await echo(process, sizes(crypto, 12)).finally(() => clearInterval(nudging))
    assert.equal(await process.exit, { code: 0 })
    const exchanges = both.trace.filter((line) => line.startsWith('< NEWKEYS')).length
    assert.ok(exchanges >= 3, `${exchanges} key exchanges`)
    await hangUp(both)
  })
}

it('twenty sessions at once on one connection do not mix', 60_000, async () => {
  const both = await connected({ server: { exec: cat } })
  await Promise.all(
    Array.from({ length: 20 }, async (_, at) => {
      const process = await both.client.exec('cat')
      await echo(process, (1 + (at % 3)) * MIB)
      assert.equal(await process.exit, { code: 0 })
    }),
  )
  await hangUp(both)
})

it('fifty connections at once', 60_000, async () => {
  await Promise.all(
    Array.from({ length: 50 }, async (_, at) => {
      const both = await connected({ server: { exec: cat } })
      const { stdout } = await both.client.run('cat', { stdin: `number ${at}` })
      assert.is(text(stdout), `number ${at}`)
      await hangUp(both)
    }),
  )
})

it('two hundred short sessions one after the other leave nothing behind', 60_000, async () => {
  const both = await connected({ server: { exec: ({ command }) => Number(command) } })
  for (let count = 0; count < 200; count++) {
    assert.is((await both.client.run(String(count))).code, count)
  }
  const opened = both.trace.filter((line) => line.startsWith('< CHANNEL_OPEN ')).length
  const closed = both.trace.filter((line) => line.startsWith('< CHANNEL_CLOSE ')).length
  assert.is(opened, 200)
  assert.is(closed, 200)
  await hangUp(both)
})

it('what nobody reads is held back by the window, and holds nobody else up', 30_000, async () => {
  let written = 0
  const stalled = gate()
  const both = await connected({
    server: {
      exec: async (session) => {
        if (session.command !== 'flood') return cat(session)
        const chunk = new Uint8Array(10_000)
        for (;;) {
          await session.write(chunk)
          written += chunk.length
          if (written + 2 * chunk.length > WINDOW_BYTES) stalled.open()
        }
      },
    },
  })
  const flood = await both.client.exec('flood')
  await stalled.opened
  const other = await both.client.exec('cat')
  await echo(other, 3 * MIB)
  assert.ok(written <= WINDOW_BYTES, `${written} bytes written`)
  assert.ok(written > WINDOW_BYTES - 20_000, `${written} bytes written`)
  // Taking some lets it go on, by as much and no more.
  let taken = 0
  while (taken < WINDOW_BYTES) taken += (await flood.read())?.length ?? 0
  await both.client.ping()
  assert.ok(written <= WINDOW_BYTES + taken, `${written} written, ${taken} taken`)
  flood.close()
  await hangUp(both)
})

it('unread stderr stalls stdout until it is discarded', 30_000, async () => {
  const both = await connected({
    server: {
      exec: async (session) => {
        await session.writeStderr(new Uint8Array(3 * MIB))
        await session.write(utf8('through'))
        return 0
      },
    },
  })
  const process = await both.client.exec('x')
  const reading = process.read()
  let read = false
  void reading.then(() => {
    read = true
  })
  await both.client.ping()
  await both.client.ping()
  assert.is(read, false)
  process.channel.discardStderr()
  assert.is(text(await reading), 'through')
  await hangUp(both)
})

it('web streams carry the same, and are not read ahead', 60_000, async () => {
  const started = gate()
  const both = await connected({
    server: {
      exec: async ({ stdin, stdout }) => {
        started.open()
        await stdin.pipeTo(stdout)
        return 0
      },
    },
  })
  const process = await both.client.exec('cat')
  await started.opened
  const data = randomBytes(5 * MIB, 9)
  const source = new ReadableStream<Uint8Array>({
    start(controller) {
      for (let at = 0; at < data.length; at += 100_000) {
        controller.enqueue(data.subarray(at, at + 100_000))
      }
      controller.close()
    },
  })
  const piping = source.pipeTo(process.stdin)
  const received = new Uint8Array(await new Response(process.stdout).arrayBuffer())
  await piping
  assert.equal(sha256(received), sha256(data))
  assert.equal(await process.exit, { code: 0 })
  await hangUp(both)
})

test.run()
