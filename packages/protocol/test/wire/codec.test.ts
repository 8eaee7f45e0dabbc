// Every declared codec: what is encoded is decoded, and nothing else ever comes out but an SshError.

import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SshError } from '../../src/errors.ts'
import * as connection from '../../src/wire/connection.ts'
import { dataOf, recipientOf, writeChannelData } from '../../src/wire/fast.ts'
import type { Field } from '../../src/wire/fields.ts'
import * as fields from '../../src/wire/fields.ts'
import { message, type Struct } from '../../src/wire/message.ts'
import { Reader } from '../../src/wire/reader.ts'
import * as transport from '../../src/wire/transport.ts'
import * as userauth from '../../src/wire/userauth.ts'
import { Writer } from '../../src/wire/writer.ts'

const bytes = fc.uint8Array({ maxLength: 64 })
const text = fc.string({ unit: 'grapheme', maxLength: 20 })
const name = fc
  .string({ minLength: 1, maxLength: 20 })
  .map((value) => value.replace(/[^!-+.-~]/g, 'x'))

/** A magnitude as it is read: without leading zeros. */
function withoutZeros(value: Uint8Array): Uint8Array {
  const start = value.findIndex((byte) => byte !== 0)
  return start < 0 ? new Uint8Array(0) : value.subarray(start)
}

/** An arbitrary for each shared field; lists of one message are below. */
const byField = new Map<unknown, fc.Arbitrary<unknown>>([
  [fields.uint8, fc.integer({ min: 0, max: 255 })],
  [fields.boolean, fc.boolean()],
  [fields.uint32, fc.integer({ min: 0, max: 2 ** 32 - 1 })],
  [fields.uint64, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })],
  [fields.string, bytes],
  [fields.utf8, text],
  [fields.lastUtf8, text],
  [fields.ascii, name],
  [fields.nameList, fc.array(name, { maxLength: 8 })],
  [fields.mpint, bytes.map(withoutZeros)],
  [fields.rest, bytes],
])

const byName: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  cookie: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  extensions: fc.array(fc.record({ name, value: bytes }), { maxLength: 8 }),
  prompts: fc.array(fc.record({ prompt: text, echo: fc.boolean() }), { maxLength: 8 }),
  responses: fc.array(text, { maxLength: 8 }),
}

/** Views become arrays of their own, so that they compare by contents. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value]
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]))
}

const codecs = Object.entries<unknown>({ ...transport, ...userauth, ...connection }).filter(
  (entry): entry is [string, Struct<object>] =>
    typeof entry[1] === 'object' && entry[1] !== null && 'fields' in entry[1],
)

test('all codecs are known to this test', () => {
  assert.ok(codecs.length >= 39, `${codecs.length} codecs`)
})

for (const [codecName, codec] of codecs) {
  const arbitrary = fc.record(
    Object.fromEntries(
      Object.entries(codec.fields as Record<string, Field<unknown>>).map(([key, field]) => {
        const known = byField.get(field) ?? byName[key]
        if (known === undefined) throw new Error(`${codecName}.${key}: no arbitrary`)
        return [key, known]
      }),
    ),
  )

  test(`${codecName}: decoding undoes encoding`, () => {
    fc.assert(
      fc.property(arbitrary, (value) => {
        assert.equal(plain(codec.decode(codec.encode(value))), plain(value))
      }),
      { numRuns: 50 },
    )
  })

  test(`${codecName}: a message cut short or grown is refused with an SshError`, () => {
    const last = Object.values(codec.fields).at(-1)
    const open = last === fields.rest
    const mayLackLast = last === fields.lastUtf8
    fc.assert(
      fc.property(arbitrary, fc.nat(), (value, at) => {
        const whole = codec.encode(value)
        const cut = whole.subarray(0, whole.length === 0 ? 0 : at % whole.length)
        const grown = Uint8Array.of(...whole, 0)
        for (const wrong of open ? [] : mayLackLast ? [grown] : [cut, grown]) {
          if (wrong.length === whole.length) continue
          assert.throws(
            () => codec.decode(wrong),
            (error: unknown) => error instanceof SshError && error.code === 'SSH_PROTOCOL',
          )
        }
      }),
      { numRuns: 50 },
    )
  })

  test(`${codecName}: random bytes are decoded or refused, nothing else`, () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (random) => {
        try {
          codec.decode(random)
        } catch (error) {
          if (!(error instanceof SshError)) throw error
        }
      }),
      { numRuns: 100 },
    )
  })
}

test('data written in place equals its declared twin', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      bytes,
      fc.boolean(),
      (channel, data, err) => {
        const header = err ? 13 : 9
        const target = new Uint8Array(header + data.length)
        writeChannelData(target, 0, channel, err ? 1 : 0, data)
        const declared = err
          ? connection.channelExtendedData.encode({
              recipientChannel: channel,
              dataTypeCode: 1,
              data,
            })
          : connection.channelData.encode({ recipientChannel: channel, data })
        assert.equal([...target], [...declared])
        assert.is(recipientOf(target), channel)
        assert.equal([...dataOf(target, header)], [...data])
        assert.throws(() => dataOf(target.subarray(0, -1), header))
      },
    ),
  )
})

test('mpints are minimal and never negative (RFC 4251 §5)', () => {
  const written = (...magnitude: number[]): number[] => [
    ...new Writer().mpint(Uint8Array.from(magnitude)).finish(),
  ]
  assert.equal(written(), [0, 0, 0, 0])
  assert.equal(written(0, 0), [0, 0, 0, 0])
  assert.equal(written(0x80), [0, 0, 0, 2, 0, 0x80])
  assert.equal(written(0, 0x7f), [0, 0, 0, 1, 0x7f])
  const read = (...body: number[]): number[] => [
    ...new Reader(Uint8Array.of(0, 0, 0, body.length, ...body)).mpint(),
  ]
  assert.equal(read(0, 0x80), [0x80])
  assert.throws(() => read(0x80), /negative/)
  assert.throws(() => read(0, 0x7f), /unnecessary/)
  assert.throws(() => read(0), /unnecessary/)
})

test('names are printable ASCII, lists are bounded, and empty names in them passed over', () => {
  const list = (value: string): readonly string[] =>
    new Reader(new Writer().string(value).finish()).nameList()
  assert.equal(list(''), [])
  assert.equal(list('a,b'), ['a', 'b'])
  assert.equal(list('a,,b,'), ['a', 'b'])
  assert.equal(list(','), [])
  assert.throws(() => list('a\n'), /in a name/)
  assert.throws(() => list('é'), /in a name/)
  assert.throws(() => list('a,'.repeat(600)), /name/)
})

test('a length beyond the end allocates nothing and is refused', () => {
  const huge = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 1)
  assert.throws(() => new Reader(huge).string(), /expected/)
  assert.throws(() => new Reader(huge).string(100), /at most 100/)
})

test('a message of another number is refused', () => {
  const other = message<{ value: number }>(200, 'OTHER', { value: fields.uint8 })
  assert.throws(() => other.decode(Uint8Array.of(201, 1)), /where OTHER was expected/)
})

test.run()
