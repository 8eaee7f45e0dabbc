// What every Transport must do, registered as tests for one implementation.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Transport } from '../../src/io/transport.ts'
import { seededRandom } from '../sim/random.ts'
import { rejection, within } from '../within.ts'

export interface TransportCapabilities {
  /** Whether one direction can end while the other goes on. */
  readonly halfClose: boolean
  /** Bytes that may pass into the transport while nobody reads; undefined: no bound. */
  readonly bufferedBytesMax: number | undefined
}

const LIMIT_MS = 20_000

export function randomBytes(length: number, seed: number): Uint8Array {
  const random = seededRandom(seed)
  return Uint8Array.from({ length }, () => random.below(256))
}

/** Everything up to the end. */
export async function readAll(transport: Pick<Transport, 'read'>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for (let chunk = await transport.read(); chunk; chunk = await transport.read()) {
    assert.ok(chunk.length > 0, 'a chunk is never empty')
    chunks.push(chunk)
  }
  const all = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}

/** Exactly `length` bytes. */
async function readBytes(transport: Transport, length: number): Promise<Uint8Array> {
  const all = new Uint8Array(length)
  for (let at = 0; at < length; ) {
    const chunk = await transport.read()
    assert.ok(chunk, 'the stream ended early')
    all.set(chunk as Uint8Array, at)
    at += (chunk as Uint8Array).length
  }
  return all
}

/** Registers the suite; `makePair` gives two connected ends, afresh for each test. */
export function transportSuite(
  name: string,
  makePair: () => Promise<readonly [Transport, Transport]>,
  capabilities: TransportCapabilities,
): void {
  const it = (what: string, run: (left: Transport, right: Transport) => Promise<void>): void => {
    test(`${name}: ${what}`, async () => {
      const [left, right] = await makePair()
      try {
        await within(LIMIT_MS, run(left, right), what)
      } finally {
        left.abort()
        right.abort()
      }
    })
  }

  it('bytes arrive whole and in order, whatever the pieces', async (left, right) => {
    const data = randomBytes(300_000, 1)
    const random = seededRandom(2)
    const reading = readBytes(right, data.length)
    for (let at = 0; at < data.length; ) {
      const length = Math.min(random.below(20_000), data.length - at)
      await left.write(data.subarray(at, at + length))
      at += length
    }
    assert.equal(await reading, data)
  })

  it('a writer may use its buffer again once write has resolved', async (left, right) => {
    const buffer = new Uint8Array(1000)
    const reading = readBytes(right, 10_000)
    for (let round = 0; round < 10; round++) {
      buffer.fill(round)
      await left.write(buffer)
    }
    buffer.fill(255)
    const got = await reading
    for (let at = 0; at < got.length; at++) assert.is(got[at], Math.floor(at / 1000))
  })

  it('a reader may keep and change its chunks', async (left, right) => {
    const writing = left.write(new Uint8Array(100).fill(1))
    const first = await right.read()
    await writing
    const copy = first?.slice()
    const more = left.write(new Uint8Array(100).fill(2))
    const second = await right.read()
    await more
    assert.equal(first, copy)
    // A Buffer would share its memory with what `slice` gives, and nobody expects that.
    assert.is(first?.constructor, Uint8Array)
    first?.fill(9)
    assert.ok(second?.every((byte) => byte <= 2))
  })

  it('much goes both ways at once', async (left, right) => {
    const there = randomBytes(3_000_000, 3)
    const back = randomBytes(3_000_000, 4)
    const [gotThere, gotBack] = await Promise.all([
      readBytes(right, there.length),
      readBytes(left, back.length),
      left.write(there),
      right.write(back),
    ])
    assert.equal(gotThere, there)
    assert.equal(gotBack, back)
  })

  it('writes that nobody waited for keep their order', async (left, right) => {
    const writes = Array.from({ length: 50 }, (_, at) => left.write(new Uint8Array(500).fill(at)))
    const got = await readBytes(right, 25_000)
    await Promise.all(writes)
    for (let at = 0; at < got.length; at++) assert.is(got[at], Math.floor(at / 500))
  })

  it('an empty write is no chunk', async (left, right) => {
    await left.write(new Uint8Array(0))
    const writing = left.write(new Uint8Array([7]))
    assert.equal(await right.read(), new Uint8Array([7]))
    await writing
  })

  it('the end comes behind everything written, and stays', async (left, right) => {
    const data = randomBytes(200_000, 5)
    const reading = readAll(right)
    await left.write(data)
    const closing = left.close()
    assert.equal(await reading, data)
    assert.is(await right.read(), undefined)
    assert.is(await right.read(), undefined)
    await right.close()
    await closing
  })

  it('writing after close rejects', async (left, right) => {
    const reading = readAll(right)
    const closing = left.close()
    assert.instance(await rejection(left.write(new Uint8Array(1))), Error)
    await reading
    await right.close()
    await closing
  })

  if (capabilities.halfClose) {
    it('after the end of one direction the other goes on', async (left, right) => {
      await left.close()
      assert.is(await right.read(), undefined)
      const data = randomBytes(100_000, 6)
      const reading = readAll(left)
      await right.write(data)
      await right.close()
      assert.equal(await reading, data)
    })
  }

  it('abort rejects what is pending, and what comes later, with its reason', async (left) => {
    const reason = new Error('enough')
    const reading = rejection(left.read())
    left.abort(reason)
    assert.is(await reading, reason)
    assert.is(await rejection(left.read()), reason)
    assert.is(await rejection(left.write(new Uint8Array(1))), reason)
  })

  it('abort without a reason rejects with an SshError', async (left) => {
    const reading = rejection(left.read())
    left.abort()
    assert.is(((await reading) as { code?: string }).code, 'SSH_ABORTED')
  })

  it('after abort the other side ends or fails, it does not hang', async (left, right) => {
    const reading = readAll(right).then(
      () => 'ended',
      () => 'failed',
    )
    left.abort()
    assert.ok(['ended', 'failed'].includes(await reading))
  })

  const { bufferedBytesMax } = capabilities
  if (bufferedBytesMax !== undefined) {
    it('writes wait while nobody reads', async (left, right) => {
      let written = 0
      const chunk = new Uint8Array(64 * 1024)
      const writing = (async () => {
        for (;;) {
          await left.write(chunk)
          written += chunk.length
          assert.ok(written <= bufferedBytesMax + chunk.length, `${written} bytes unread`)
        }
      })()
      const stopped = rejection(writing)
      // Until the count no longer moves; then that is the bound.
      for (let before = -1; before !== written; ) {
        before = written
        await new Promise((resolve) => setTimeout(resolve, 30))
      }
      assert.ok(written <= bufferedBytesMax)
      assert.ok((await right.read()) !== undefined)
      left.abort(new Error('done'))
      assert.is(((await stopped) as Error).message, 'done')
    })
  }
}
