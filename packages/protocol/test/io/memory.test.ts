import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isMemoryPair, memoryPair } from '../../src/io/memory.ts'
import { transportSuite } from '../suites/transport.ts'
import { rejection, within } from '../within.ts'

transportSuite('memory pair', async () => memoryPair(), {
  halfClose: true,
  bufferedBytesMax: 256 * 1024,
})
transportSuite('memory pair of one byte', async () => memoryPair({ capacityBytes: 1 }), {
  halfClose: true,
  bufferedBytesMax: 64 * 1024,
})

test('only the ends themselves are known as such, not what wraps or imitates one', () => {
  const [left, right] = memoryPair()
  assert.ok(isMemoryPair(left) && isMemoryPair(right))
  const { read, write, close, abort } = left
  assert.not(isMemoryPair({ read, write, close, abort }))
  assert.not(isMemoryPair(Object.create(left)))
})

test('a capacity that is none is refused, naming the argument', () => {
  for (const capacityBytes of [0, -1, 1.5, Number.NaN]) {
    assert.throws(() => memoryPair({ capacityBytes }), /capacityBytes/)
  }
})

test('what was ended in good order survives the abort of its writer', async () => {
  const [left, right] = memoryPair()
  await left.write(new Uint8Array([1]))
  await left.close()
  left.abort()
  assert.equal(await right.read(), new Uint8Array([1]))
  assert.is(await right.read(), undefined)
})

test('two busy ends leave timers their turn', async () => {
  const [left, right] = memoryPair()
  let fired = false
  setTimeout(() => {
    fired = true
  }, 0)
  const chunk = new Uint8Array(64 * 1024)
  const writing = (async () => {
    while (!fired) await left.write(chunk)
    await left.close()
  })()
  const reading = (async () => {
    while ((await right.read()) !== undefined) {
      // Only taking.
    }
  })()
  await within(10_000, Promise.all([writing, reading]))
})

test('a second read while one is pending is refused', async () => {
  const [left, right] = memoryPair()
  const first = left.read()
  assert.instance(await rejection(left.read()), TypeError)
  await right.write(new Uint8Array([1]))
  assert.equal(await first, new Uint8Array([1]))
})

test.run()
