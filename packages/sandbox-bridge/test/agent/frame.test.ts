// Framing: cut anywhere, the same frames come out; nothing else gets through.

import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AgentError } from '../../src/agent/error.ts'
import {
  encodeFrame,
  FRAME_LENGTH_MAX,
  type Frame,
  FrameDecoder,
  writeUint32,
} from '../../src/agent/frame.ts'
import { toHex } from '../recorded.ts'

function decodeAll(decoder: FrameDecoder, chunks: readonly Uint8Array[]): Frame[] {
  const frames: Frame[] = []
  for (const chunk of chunks) {
    decoder.push(chunk)
    for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) frames.push(frame)
  }
  return frames
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

const frame = fc.record({
  id: fc.nat(0xffff_ffff),
  flags: fc.nat(7),
  body: fc.uint8Array({ maxLength: 300 }),
})

test('frames are the same wherever the stream is cut', () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 8 }), fc.array(fc.nat(40)), (sent, cuts) => {
      const all = concat(sent.map(({ id, flags, body }) => encodeFrame(id, flags, body)))
      const chunks: Uint8Array[] = []
      let at = 0
      for (const cut of cuts) {
        chunks.push(all.slice(at, at + cut))
        at = Math.min(at + cut, all.length)
      }
      chunks.push(all.slice(at))
      const got = decodeAll(new FrameDecoder(), chunks)
      assert.equal(
        got.map(({ id, flags, body }) => [id, flags, toHex(body)]),
        sent.map(({ id, flags, body }) => [id, flags, toHex(body)]),
      )
      assert.is(toHex(concat(got.map(({ bytes }) => bytes))), toHex(all))
    }),
  )
})

test('a frame inside one chunk is a view of it, one across chunks is a copy', () => {
  const bytes = encodeFrame(1, 0, new Uint8Array(100))
  const [whole] = decodeAll(new FrameDecoder(), [bytes])
  assert.is(whole?.bytes.buffer, bytes.buffer)
  const [copied] = decodeAll(new FrameDecoder(), [bytes.slice(0, 50), bytes.slice(50)])
  assert.is(toHex(copied?.bytes ?? new Uint8Array()), toHex(bytes))
})

test('one megabyte byte by byte is one frame', () => {
  const bytes = encodeFrame(7, 1, new Uint8Array(1024 * 1024).fill(3))
  const decoder = new FrameDecoder()
  const frames = decodeAll(
    decoder,
    Array.from(bytes, (_, index) => bytes.subarray(index, index + 1)),
  )
  assert.is(frames.length, 1)
  assert.is(frames[0]?.body.length, 1024 * 1024)
  assert.is(decoder.idle, true)
})

test('a length below 5 or above 4 MiB ends the stream, before its bytes are waited for', () => {
  for (const length of [0, 4, FRAME_LENGTH_MAX + 1, 0xffff_ffff]) {
    for (const size of [4, 9, 20]) {
      const bytes = new Uint8Array(size)
      writeUint32(bytes, 0, length)
      assert.throws(
        () => decodeAll(new FrameDecoder(), [bytes]),
        (error: unknown) => error instanceof AgentError && error.kind === 'protocol',
        `${length} in ${size}`,
      )
    }
  }
})

test('a promised length is not allocated before its bytes come', () => {
  const decoder = new FrameDecoder()
  const head = new Uint8Array(9)
  writeUint32(head, 0, FRAME_LENGTH_MAX)
  const before = process.memoryUsage().arrayBuffers
  const decoders = Array.from({ length: 64 }, () => new FrameDecoder())
  for (const each of [decoder, ...decoders]) assert.is(decodeAll(each, [head.slice()]).length, 0)
  assert.ok(process.memoryUsage().arrayBuffers - before < 16 * 1024 * 1024)
  assert.is(decoder.idle, false)
})

test('bytes before the first frame can be taken raw', () => {
  const decoder = new FrameDecoder()
  const bytes = concat([
    new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]),
    encodeFrame(1, 0, new Uint8Array(3)),
  ])
  decoder.push(bytes.slice(0, 3))
  assert.is(decoder.takeRaw(8), undefined)
  decoder.push(bytes.slice(3, 20))
  assert.equal([...(decoder.takeRaw(8) ?? [])], [1, 2, 3, 4, 5, 6, 7, 8])
  assert.is(decoder.next()?.id, 1)
})

test('a frame too large to be sent is our own mistake', () => {
  assert.throws(() => encodeFrame(1, 0, new Uint8Array(FRAME_LENGTH_MAX)), RangeError)
})

test.run()
