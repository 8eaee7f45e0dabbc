// The lines that go with names.
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { longName, modeString } from '../src/attributes.ts'

test('modes are written as ls writes them', () => {
  const shown: readonly (readonly [number, string])[] = [
    [0o100644, '-rw-r--r--'],
    [0o040755, 'drwxr-xr-x'],
    [0o120777, 'lrwxrwxrwx'],
    [0o020620, 'crw--w----'],
    [0o060660, 'brw-rw----'],
    [0o010600, 'prw-------'],
    [0o140755, 'srwxr-xr-x'],
    [0o104755, '-rwsr-xr-x'],
    [0o104644, '-rwSr--r--'],
    [0o102755, '-rwxr-sr-x'],
    [0o041777, 'drwxrwxrwt'],
    [0o041776, 'drwxrwxrwT'],
    [0o000000, '?---------'],
  ]
  for (const [mode, text] of shown) assert.is(modeString(mode), text)
})

test('a line has type, links, owner, size, time and name', () => {
  const now = new Date(2026, 10, 24, 12, 0, 0).getTime() / 1000
  const recent = new Date(2026, 10, 3, 4, 5, 0).getTime() / 1000
  const old = new Date(2020, 0, 31, 4, 5, 0).getTime() / 1000
  const stat = { size: 12, uid: 0, gid: 100, mode: 0o100644, atime: 0, mtime: recent, linkCount: 2 }
  assert.is(
    longName('file', stat, now, { user: 'root', group: 'users' }),
    '-rw-r--r--   2 root     users          12 Nov  3 04:05 file',
  )
  assert.is(
    longName('file', { ...stat, mtime: old }, now),
    '-rw-r--r--   2 0        100            12 Jan 31  2020 file',
  )
})

test('what is not known is shown as such', () => {
  assert.is(longName('x', {}, 0), '?---------   ? ?        ?               0  x')
})

test.run()
