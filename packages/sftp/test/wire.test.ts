// The packets: round trips, the fast twins, and whatever bytes a peer may send.
import type { SshError } from '@sandbox-ssh/protocol'
import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BufferPool } from '../src/buffers.ts'
import * as fast from '../src/fast.ts'
import * as wire from '../src/wire.ts'

/** Plain objects, as the decoders make them. */
function record<T extends object>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>
}

const uint32 = fc.integer({ min: 0, max: 0xffffffff })
const position = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
const path = fc.string({ unit: 'binary' }).map((value) => value.replaceAll('\0', ''))
const ascii = fc.string({ unit: 'grapheme-ascii' })
const bytes = fc.uint8Array({ maxLength: 100 })
const attributes = fc.oneof(
  fc.constant({}),
  record({ size: position }),
  record({ uid: uint32, gid: uint32, mode: uint32 }),
  record({
    size: position,
    uid: uint32,
    gid: uint32,
    mode: uint32,
    atime: uint32,
    mtime: uint32,
  }),
)
const flags = record({
  read: fc.boolean(),
  write: fc.boolean(),
  append: fc.boolean(),
  create: fc.boolean(),
  truncate: fc.boolean(),
  exclusive: fc.boolean(),
})
const extensions = fc
  .uniqueArray(fc.tuple(fc.string(), fc.string()), { selector: ([name]) => name, maxLength: 8 })
  .map((pairs) => new Map(pairs))
const handleRequest = record({ id: uint32, handle: bytes })
const pathRequest = record({ id: uint32, path })
const names = fc.array(record({ name: path, longname: path, attributes }), { maxLength: 5 })

/** Values of every packet. */
const values: ReadonlyMap<string, fc.Arbitrary<object>> = new Map<string, fc.Arbitrary<object>>([
  ['INIT', record({ version: uint32, extensions })],
  ['VERSION', record({ version: uint32, extensions })],
  ['OPEN', record({ id: uint32, path, flags, attributes })],
  ['CLOSE', handleRequest],
  ['READ', record({ id: uint32, handle: bytes, position, length: uint32 })],
  ['WRITE', record({ id: uint32, handle: bytes, position, data: bytes })],
  ['LSTAT', pathRequest],
  ['FSTAT', handleRequest],
  ['SETSTAT', record({ id: uint32, path, attributes })],
  ['FSETSTAT', record({ id: uint32, handle: bytes, attributes })],
  ['OPENDIR', pathRequest],
  ['READDIR', handleRequest],
  ['REMOVE', pathRequest],
  ['MKDIR', record({ id: uint32, path, attributes })],
  ['RMDIR', pathRequest],
  ['REALPATH', pathRequest],
  ['STAT', pathRequest],
  ['RENAME', record({ id: uint32, oldPath: path, newPath: path })],
  ['READLINK', pathRequest],
  ['SYMLINK', record({ id: uint32, first: path, second: path })],
  ['STATUS', record({ id: uint32, status: uint32, message: fc.string(), language: fc.string() })],
  ['HANDLE', handleRequest],
  ['DATA', record({ id: uint32, data: bytes })],
  ['NAME', record({ id: uint32, entries: names })],
  ['ATTRS', record({ id: uint32, attributes })],
  ['EXTENDED', record({ id: uint32, request: ascii, data: bytes })],
  ['EXTENDED_REPLY', record({ id: uint32, data: bytes })],
])

for (const packet of wire.packets) {
  test(`${packet.messageName} survives encoding and decoding`, () => {
    const value = values.get(packet.messageName)
    assert.ok(value, 'no values to try')
    void fc.assert(
      fc.property(value ?? fc.constant({}), (sent) => {
        // The table cannot say which value belongs to which codec; the map above does.
        assert.equal(packet.decode(packet.encode(sent as never)), sent)
      }),
    )
  })

  test(`${packet.messageName} of any bytes is a value or SSH_PROTOCOL`, () => {
    const noise = fc.uint8Array({ maxLength: 200 })
    const value = values.get(packet.messageName) ?? fc.constant({})
    void fc.assert(
      fc.property(noise, value, fc.nat(), fc.nat(255), (random, sent, at, byte) => {
        const damaged = packet.encode(sent as never)
        damaged[1 + (at % (damaged.length - 1))] = byte
        const cut = damaged.subarray(0, at % damaged.length)
        for (const input of [Uint8Array.of(packet.number, ...random), damaged, cut]) {
          onlyProtocolErrors(() => packet.decode(input))
        }
      }),
      { numRuns: 300 },
    )
  })
}

const buffers = new BufferPool()

test('the fast READ, WRITE and DATA equal their declarative twins', () => {
  void fc.assert(
    fc.property(uint32, bytes, position, uint32, bytes, (id, handle, at, length, data) => {
      const read = fast.encodeRead(id, handle, at, length)
      assert.equal(read.subarray(4), wire.read.encode({ id, handle, position: at, length }))
      assert.is(fast.getUint32(read, 0), read.length - 4)
      assert.equal(fast.decodeRead(read.subarray(4)), wire.read.decode(read.subarray(4)))

      const draft = fast.draftWrite(handle, data.length + 10, buffers)
      draft.body.set(data)
      const write = fast.sealWrite(draft, id, at, data.length)
      assert.equal(write.subarray(4), wire.write.encode({ id, handle, position: at, data }))
      assert.is(fast.getUint32(write, 0), write.length - 4)
      assert.equal(fast.decodeWrite(write.subarray(4)), wire.write.decode(write.subarray(4)))

      const reply = fast.draftData(data.length + 10, buffers)
      reply.body.set(data)
      const sealed = fast.sealData(reply, id, data.length)
      assert.equal(sealed.subarray(4), wire.data.encode({ id, data }))
      assert.is(fast.getUint32(sealed, 0), sealed.length - 4)
      assert.equal(fast.decodeData(sealed.subarray(4)), wire.data.decode(sealed.subarray(4)))
    }),
  )
})

test('the fast decoders accept and refuse what their twins do', () => {
  const twins = [
    [wire.FXP.READ, fast.decodeRead, wire.read.decode],
    [wire.FXP.WRITE, fast.decodeWrite, wire.write.decode],
    [wire.FXP.DATA, fast.decodeData, wire.data.decode],
  ] as const
  // Small numbers make lengths that fit now and then.
  const noise = fc.array(fc.oneof(fc.nat(3), fc.nat(255)), { maxLength: 40 })
  void fc.assert(
    fc.property(noise, fc.constantFrom(...twins), (random, [number, quick, slow]) => {
      const input = Uint8Array.of(number, 0, 0, 0, 1, 0, 0, 0, ...random)
      const ours = onlyProtocolErrors(() => quick(input))
      const theirs = onlyProtocolErrors(() => slow(input))
      // Bytes after the data of a WRITE are the one thing the fast decoder lets pass.
      if (number === wire.FXP.WRITE && ours !== undefined && theirs === undefined) {
        const cut = withoutRest(input, ours as wire.Write)
        assert.equal(ours, wire.write.decode(cut))
      } else assert.equal(ours, theirs)
    }),
    { numRuns: 5000 },
  )
})

test('rclone: bytes after the data of a WRITE are ignored', () => {
  const sent = { id: 7, handle: Uint8Array.of(1), position: 9, data: Uint8Array.of(2, 3) }
  const packet = Uint8Array.of(...wire.write.encode(sent), 4, 5, 6)
  assert.equal(fast.decodeWrite(packet), sent)
})

test('a path with a NUL byte is malformed', () => {
  const packet = wire.stat.encode({ id: 1, path: 'a?b' })
  packet[packet.indexOf('?'.charCodeAt(0))] = 0
  assert.throws(() => wire.stat.decode(packet), /NUL/)
})

test('a status without texts is understood', () => {
  const packet = Uint8Array.of(wire.FXP.STATUS, 0, 0, 0, 7, 0, 0, 0, 4)
  assert.equal(wire.status.decode(packet), { id: 7, status: 4, message: '', language: '' })
})

test('extended attributes are skipped, and a false count is found at once', () => {
  const head = [wire.FXP.ATTRS, 0, 0, 0, 1, 0x80, 0, 0, 0]
  const good = Uint8Array.of(...head, 0, 0, 0, 1, 0, 0, 0, 1, 0x61, 0, 0, 0, 1, 0x62)
  assert.equal(wire.attrs.decode(good).attributes, {})
  const bad = Uint8Array.of(...head, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0)
  assert.throws(() => wire.attrs.decode(bad), /extended attributes/)
})

test('bodies of extensions survive encoding and decoding', () => {
  void fc.assert(
    fc.property(
      path,
      path,
      bytes,
      position,
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      (a, b, c, n, f) => {
        assert.equal(wire.twoPaths.decode(wire.twoPaths.encode({ oldPath: a, newPath: b })), {
          oldPath: a,
          newPath: b,
        })
        const copy = {
          source: c,
          sourcePosition: n,
          length: n,
          destination: c,
          destinationPosition: n,
        }
        assert.equal(wire.copyData.decode(wire.copyData.encode(copy)), copy)
        const stat = {
          blockSize: n,
          fragmentSize: n,
          blocks: n,
          blocksFree: n,
          blocksAvailable: n,
          files: n,
          filesFree: n,
          filesAvailable: n,
          fileSystemId: f,
          flags: 3,
          nameBytesMax: 255,
        }
        assert.equal(wire.fileSystemStat.decode(wire.fileSystemStat.encode(stat)), stat)
        const found = { users: [a === '' ? undefined : a, undefined], groups: ['x'] }
        assert.equal(wire.usersAndGroups.decode(wire.usersAndGroups.encode(found)), found)
        const ids = { uids: [1, 2, 4_000_000_000], gids: [] }
        assert.equal(wire.usersGroupsById.decode(wire.usersGroupsById.encode(ids)), ids)
      },
    ),
  )
})

function withoutRest(packet: Uint8Array, { handle, data }: wire.Write): Uint8Array {
  return packet.subarray(0, 1 + 4 + 4 + handle.length + 8 + 4 + data.length)
}

/** The value, or undefined for SSH_PROTOCOL; anything else is a fault. */
function onlyProtocolErrors<T>(decode: () => T): T | undefined {
  try {
    return decode()
  } catch (error) {
    assert.is((error as SshError).code, 'SSH_PROTOCOL')
    return undefined
  }
}

test.run()
