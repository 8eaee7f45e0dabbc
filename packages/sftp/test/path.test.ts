// Names as strings without loss.
import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  baseName,
  decodePath,
  encodePath,
  isEntryName,
  joinPath,
  normalizePath,
  parentPath,
  printablePath,
} from '../src/path.ts'

/** Bytes rich in the beginnings and middles of UTF-8 sequences. */
const bytes = fc
  .array(
    fc.oneof(
      fc.integer({ min: 0, max: 255 }),
      fc.constantFrom(0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0x80, 0x9f, 0xa0, 0xbf, 0x2f),
    ),
    { maxLength: 40 },
  )
  .map((values) => Uint8Array.from(values))

test('any bytes survive decoding and encoding', () => {
  void fc.assert(
    fc.property(bytes, (value) => assert.equal(encodePath(decodePath(value)), value)),
    { numRuns: 2000 },
  )
})

test('any well-formed text survives encoding and decoding', () => {
  void fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (value) => {
      assert.is(decodePath(encodePath(value)), value)
    }),
  )
})

test('valid UTF-8 is text, every other byte a lone surrogate', () => {
  assert.is(decodePath(Uint8Array.of(0x61, 0xc3, 0xa9)), 'aé')
  assert.is(decodePath(Uint8Array.of(0x61, 0xc3)), 'a\udcc3')
  assert.is(decodePath(Uint8Array.of(0xed, 0xa0, 0x80)), '\udced\udca0\udc80')
  assert.is(decodePath(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61)), '\ufeffa')
})

test('a lone surrogate that stands for no byte is refused', () => {
  assert.throws(() => encodePath('a\ud800'), TypeError)
  assert.throws(() => encodePath('a\udc41'), TypeError)
})

test('names are shown without control characters', () => {
  assert.is(printablePath('a\udcff\u001b[31m\u0085é'), 'a\\xff\\x1b[31m\\x85é')
})

test('paths are joined, split and normalized', () => {
  assert.is(joinPath('/a', 'b'), '/a/b')
  assert.is(joinPath('/', 'b'), '/b')
  assert.is(joinPath('a', '/b'), '/b')
  assert.is(joinPath('', 'b'), 'b')
  assert.equal(['/a/b/', 'a', '/', 'a//'].map(baseName), ['b', 'a', '/', 'a'])
  assert.equal(['/a/b/', 'a', '/', '/a', 'a//b'].map(parentPath), ['/a', '.', '/', '/', 'a'])
  assert.is(normalizePath('/../a/./b//../c'), '/a/c')
})

test('only plain names can be entries', () => {
  assert.ok(['a', '...', '.a', 'a b'].every(isEntryName))
  assert.not.ok(['', '.', '..', 'a/b', '/', 'a\0'].some(isEntryName))
})

test.run()
