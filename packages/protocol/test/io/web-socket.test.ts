// With an in-memory WebSocket that keeps the rules of the real ones: states, events, asynchronous
// delivery, a bufferedAmount that falls only as the peer takes.
// Also on: chromium

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { SshError } from '../../src/errors.ts'
import { type WebSocketLike, webSocket } from '../../src/io/web-socket.ts'
import { transportSuite } from '../suites/transport.ts'
import { rejection, within } from '../within.ts'

class MemoryWebSocket implements WebSocketLike {
  binaryType = 'blob'
  readyState = 0
  bufferedAmount = 0
  peer: MemoryWebSocket | undefined
  #listeners: { readonly type: string; readonly listener: (event: never) => void }[] = []

  addEventListener(type: string, listener: (event: never) => void): void {
    this.#listeners.push({ type, listener })
  }

  dispatch(type: string, event: object): void {
    for (const entry of this.#listeners) {
      if (entry.type === type) entry.listener(event as never)
    }
  }

  open(): void {
    this.readyState = 1
    this.dispatch('open', {})
  }

  send(data: Uint8Array<ArrayBuffer>): void {
    if (this.readyState === 0) throw new Error('InvalidStateError')
    if (this.readyState !== 1) return
    this.bufferedAmount += data.length
    const copy = data.slice()
    setTimeout(() => {
      this.bufferedAmount -= copy.length
      if (this.peer?.readyState !== 1) return
      const data = this.peer.binaryType === 'arraybuffer' ? copy.buffer : 'a Blob'
      this.peer.dispatch('message', { data })
    }, 0)
  }

  close(code = 1005): void {
    if (this.readyState >= 2) return
    this.readyState = 2
    setTimeout(() => {
      for (const end of [this, this.peer as MemoryWebSocket]) {
        if (end.readyState === 3) continue
        end.readyState = 3
        end.dispatch('close', { code })
      }
    }, 0)
  }
}

function socketPair(): [MemoryWebSocket, MemoryWebSocket] {
  const left = new MemoryWebSocket()
  const right = new MemoryWebSocket()
  left.peer = right
  right.peer = left
  return [left, right]
}

transportSuite(
  'WebSocket',
  async () => {
    const [left, right] = socketPair()
    const pair = [webSocket(left), webSocket(right)] as const
    setTimeout(() => {
      left.open()
      right.open()
    }, 0)
    return pair
  },
  { halfClose: false, bufferedBytesMax: undefined },
)

test('a write before the connection is open waits for it', async () => {
  const [left, right] = socketPair()
  right.readyState = 1
  const transport = webSocket(left)
  const other = webSocket(right)
  const writing = transport.write(new Uint8Array([1, 2]))
  left.open()
  await writing
  assert.equal(await other.read(), new Uint8Array([1, 2]))
})

test('a connection that fails to open rejects reads and writes', async () => {
  const [left] = socketPair()
  const transport = webSocket(left)
  const outcomes = Promise.all([
    rejection(transport.read()),
    rejection(transport.write(new Uint8Array(1))),
  ])
  left.dispatch('error', {})
  left.dispatch('close', { code: 1006 })
  for (const error of (await within(1000, outcomes)) as SshError[]) {
    assert.is(error.code, 'SSH_TRANSPORT')
  }
})

test('a write waits while too much is unsent', async () => {
  const [left, right] = socketPair()
  right.readyState = 1
  left.open()
  webSocket(right)
  const transport = webSocket(left)
  left.bufferedAmount = 10_000_000
  let written = false
  const writing = transport.write(new Uint8Array(10)).then(() => {
    written = true
  })
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.is(written, false)
  left.bufferedAmount = 0
  await within(1000, writing)
})

test('a text message ends the connection', async () => {
  const [left, right] = socketPair()
  right.readyState = 1
  left.open()
  const transport = webSocket(left)
  const reading = rejection(transport.read())
  left.dispatch('message', { data: 'text' })
  assert.match(((await reading) as SshError).message, 'text message')
  assert.ok(left.readyState >= 2)
})

test('a peer that floods an unread connection is cut off', async () => {
  const [left, right] = socketPair()
  right.readyState = 1
  left.open()
  const transport = webSocket(left)
  const chunk = new ArrayBuffer(16 * 1024 * 1024)
  for (let count = 0; count < 5; count++) left.dispatch('message', { data: chunk })
  assert.ok(left.readyState >= 2)
  for (let count = 0; count < 4; count++) assert.is((await transport.read())?.length, 16777216)
  assert.is(((await rejection(transport.read())) as SshError).code, 'SSH_TRANSPORT')
})

test('an unclean end is a failure, a clean one the end', async () => {
  const [left] = socketPair()
  left.readyState = 1
  const lost = webSocket(left)
  left.dispatch('close', { code: 1006 })
  assert.match(((await rejection(lost.read())) as SshError).message, '1006')
  const [clean] = socketPair()
  clean.readyState = 1
  const ended = webSocket(clean)
  clean.dispatch('close', { code: 1000 })
  assert.is(await ended.read(), undefined)
})

test.run()
