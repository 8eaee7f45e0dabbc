/** The detach sequence. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  DEFAULT_DETACH_KEYS,
  DetachMatcher,
  parseDetachKeys,
} from '../../src/terminal/detach-keys.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (value: Uint8Array): string => new TextDecoder().decode(value)

function run(keys: string, pieces: readonly string[]): { sent: string; detached: boolean } {
  const matcher = new DetachMatcher(parseDetachKeys(keys))
  let sent = ''
  for (const piece of pieces) {
    const { forward, detached } = matcher.push(bytes(piece))
    sent += text(forward)
    if (detached) return { sent, detached }
  }
  return { sent, detached: false }
}

test('sequences are read as in the reference', () => {
  assert.equal([...parseDetachKeys(DEFAULT_DETACH_KEYS)], [0x1d])
  assert.equal([...parseDetachKeys('ctrl-p, ctrl-Q')], [0x10, 0x11])
  assert.equal(
    [...parseDetachKeys('ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_')],
    [0, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f],
  )
  assert.equal([...parseDetachKeys('~,.')], [0x7e, 0x2e])
})

test('anything else is an error that names the part', () => {
  for (const wrong of ['', 'a,', 'ctrl-1', 'ctrl-', 'ab', 'é', 'Ctrl-a']) {
    assert.throws(() => parseDetachKeys(wrong), /invalid config: invalid detach key: /)
  }
})

test('bytes before the sequence are sent, those after it are dropped', () => {
  assert.equal(run('ctrl-]', ['ls\r\u001dwhatever']), { sent: 'ls\r', detached: true })
  assert.equal(run('ctrl-p,ctrl-q', ['abc\u0010\u0011d']), { sent: 'abc', detached: true })
})

test('a sequence may arrive in pieces, and a failed match is ordinary input', () => {
  assert.equal(run('ctrl-p,ctrl-q', ['\u0010', '\u0011']), { sent: '\u0010', detached: true })
  assert.equal(run('ctrl-p,ctrl-q', ['\u0010x', '\u0011']), {
    sent: '\u0010x\u0011',
    detached: false,
  })
  assert.equal(run('ctrl-p,ctrl-q', ['\u0010\u0010\u0011']), { sent: '\u0010', detached: true })
})

test.run()
