// Messages against the recorded frames of the real agent, and against themselves.

import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  decodeEnvelope,
  decodeMessage,
  decodePayload,
  encodeData,
  encodeMessage,
} from '../../src/agent/envelope.ts'
import { AgentError, parseErrno } from '../../src/agent/error.ts'
import { encodeFrame, type Frame, FrameDecoder } from '../../src/agent/frame.ts'
import { type DataType, isMessageType, messages } from '../../src/agent/messages.ts'
import { decodeItem, encodeItem, PayloadError } from '../../src/agent/payload.ts'
import { fromHex, lines, toHex } from '../recorded.ts'

function frameOf(bytes: Uint8Array): Frame {
  const decoder = new FrameDecoder()
  decoder.push(bytes)
  const frame = decoder.next()
  if (frame === undefined) throw new Error('not a whole frame')
  return frame
}

test('every recorded frame is encoded again to the same bytes', () => {
  let typed = 0
  for (const line of lines) {
    if (line.hex === undefined || line.dir === 'preamble') continue
    if (line.case === 'invalid-payload-not-cbor' && line.dir === 'client') continue
    const where = `${line.group}/${line.case}`
    const frame = frameOf(fromHex(line.hex))
    const { generation, type, payload } = decodeEnvelope(frame.body)
    // The recording client left out optional keys and added surplus ones on purpose, so its own
    // frames are compared as items; the agent's and the reference command line's as messages.
    assert.is(toHex(encodeItem(decodeItem(payload))), toHex(payload), where)
    const body = encodeItem(decodeItem(frame.body))
    assert.is(toHex(encodeFrame(frame.id, frame.flags, body)), line.hex, where)
    if (line.dir === 'client' && line.group !== 'cli') continue
    if (!isMessageType(type)) throw new Error(`${where}: unknown type ${type}`)
    const decoded = decodePayload(type, payload)
    assert.is(toHex(encodeMessage(frame.id, type, decoded, generation)), line.hex, where)
    assert.is(frame.flags, messages[type].flags, where)
    typed++
  }
  assert.ok(typed > 500, `only ${typed} frames compared as messages`)
})

test('what the recording client sent fits its types, except what was wrong on purpose', () => {
  for (const line of lines) {
    if (line.hex === undefined || line.dir !== 'client') continue
    const { type, payload } = decodeEnvelope(frameOf(fromHex(line.hex)).body)
    const wrong = /^(invalid-|port-out-of-range|unknown-message-type)/.test(line.case)
    const isSound = line.group === 'exec-signal' || line.case === 'invalid-flags' || !wrong
    if (line.case === 'invalid-handle') continue
    if (!isMessageType(type)) {
      assert.is(line.case, 'unknown-message-type')
    } else if (isSound) {
      decodePayload(type, payload)
    } else {
      assert.throws(
        () => decodePayload(type, payload),
        (error: unknown) => error instanceof PayloadError,
        line.case,
      )
    }
  }
})

const dataTypes: readonly DataType[] = [
  'core.exec.stdin',
  'core.exec.stdout',
  'core.exec.stderr',
  'core.fs.data',
  'core.tcp.data',
]

test('data framed in place equals data through the codec, at every size of its heads', () => {
  for (const size of [0, 1, 16, 17, 23, 24, 255, 256, 65_500, 65_529, 65_535, 65_536, 70_000]) {
    const data = new Uint8Array(size).fill(0xa5)
    for (const type of dataTypes) {
      const payload = encodeItem(messages[type].payload.toCbor({ data }))
      const body = encodeItem(
        new Map<string, unknown>([
          ['v', 7],
          ['t', type],
          ['p', payload],
        ]),
      )
      const frame = encodeData(9, type, data)
      assert.is(toHex(frame), toHex(encodeFrame(9, 0, body)), `${type} ${size}`)
      const message = decodeMessage(frameOf(frame))
      assert.equal(message, { id: 9, type, payload: { data } })
    }
  }
})

test('any way of writing the same envelope is read alike', () => {
  const payload = encodeItem(new Map([['data', new Uint8Array([1, 2, 3])]]))
  const orders = [
    ['t', 'p', 'v'],
    ['p', 'v', 't'],
  ]
  const values: Record<string, unknown> = { v: 7, t: 'core.fs.data', p: payload, later: 1 }
  for (const keys of orders) {
    const body = encodeItem(new Map([...keys, 'later'].map((key) => [key, values[key]])))
    assert.equal(decodeEnvelope(body), { generation: 7, type: 'core.fs.data', payload })
  }
  // Indefinite map, two-byte integer, two-byte text head: legal, if nobody writes it.
  const wide = fromHex('bf61761807617478046162636461705801a0ff')
  assert.equal(decodeEnvelope(wide), { generation: 7, type: 'abcd', payload: fromHex('a0') })
})

test('a cut, changed or deeply nested message gives a clear error and nothing else', () => {
  const recorded = lines.filter((line) => line.dir === 'guest' && line.hex !== undefined)
  fc.assert(
    fc.property(
      fc.nat(recorded.length - 1),
      fc.array(fc.tuple(fc.nat(4000), fc.nat(255)), { maxLength: 4 }),
      fc.nat(4000),
      (index, changes, cut) => {
        const bytes = fromHex(recorded[index]?.hex ?? '').slice(9)
        for (const [at, value] of changes) bytes[at % bytes.length] = value
        const body = bytes.subarray(0, 1 + (cut % bytes.length))
        try {
          decodeMessage({ id: 1, flags: 0, body, bytes })
        } catch (error) {
          assert.instance(error, AgentError)
        }
      },
    ),
    { numRuns: 2000 },
  )
  const nested = new Uint8Array(1_000_000).fill(0x81)
  assert.throws(
    () => decodeMessage({ id: 1, flags: 0, body: nested, bytes: nested }),
    (error: unknown) => error instanceof AgentError && error.kind === 'protocol',
  )
})

test('a duplicate key, a tag, an undefined value and bytes behind the item are errors', () => {
  for (const hex of ['a2617601617602', 'c100', 'f7', 'a000', '']) {
    assert.throws(
      () => decodeItem(fromHex(hex)),
      (error: unknown) => error instanceof PayloadError,
      hex,
    )
  }
})

test('a key named __proto__ is just an unknown key', () => {
  const payload = encodeItem(new Map<string, unknown>([['__proto__', 1]]))
  assert.equal(decodePayload('core.ping', payload), {})
  assert.is(({} as Record<string, unknown>)['0'], undefined)
})

test('numbers beyond their field are refused, never rounded or wrapped', () => {
  assert.throws(() => encodeMessage(1, 'core.tcp.connect', { host: 'x', port: 65_536 }), RangeError)
  assert.throws(() => encodeMessage(1, 'core.exec.signal', { signal: 1.5 }), RangeError)
  const huge = encodeItem(new Map([['activity_seq', 2n ** 60n]]))
  assert.throws(() => decodePayload('core.touched', huge), /integer `1152921504606846976`/)
})

test('the extensions are absent unless they are used', () => {
  const plain = encodeMessage(1, 'core.ping', {})
  assert.is(toHex(plain), '000000190000000100a3617607617469636f72652e70696e67617041a0')
  const exited = encodeMessage(1, 'core.exec.exited', { code: -1, signal: 'TERM' })
  assert.equal(decodeMessage(frameOf(exited))?.payload, { code: -1, signal: 'TERM' })
})

test('the error number is read out of any text that has one', () => {
  assert.is(parseErrno('stat: No such file or directory (os error 2)'), 2)
  assert.is(parseErrno('open /x (os error 13)/y: oops (os error 28)'), 28)
  assert.is(parseErrno('handle 3 is a directory'), undefined)
  assert.is(parseErrno('(os error 123456)'), undefined)
  assert.is(parseErrno('(os error )'), undefined)
})

test.run()
