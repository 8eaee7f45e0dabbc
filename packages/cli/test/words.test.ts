/** From words to a command line, and lines for people. */
import { spawnSync } from 'node:child_process'
import { array, assert as check, property, string } from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { exitCodeOf, explain } from '../src/failure.ts'
import { Output } from '../src/output.ts'
import { commandLine } from '../src/words.ts'

test('a single word is a command line', () => {
  assert.is(commandLine(['ls | wc -l']), 'ls | wc -l')
})

test('several words reach a POSIX shell as they were typed', () => {
  const words = array(string({ unit: 'binary' }), { minLength: 2, maxLength: 5 })
  void check(
    property(words, (typed) => {
      const usable = typed.map((word) => word.replaceAll('\0', '').toWellFormed())
      const line = commandLine(['printf', '%s\\0', ...usable])
      const { stdout } = spawnSync('sh', ['-c', line], { encoding: 'utf8' })
      return stdout === usable.map((word) => `${word}\0`).join('')
    }),
    { numRuns: 25 },
  )
  for (const shell of ['sh', 'bash']) {
    const line = commandLine(['printf', '%s,', 'time', '', '~', "it's", '$HOME', '-n', 'a\nb'])
    const { stdout } = spawnSync(shell, ['-c', line], { encoding: 'utf8' })
    assert.is(stdout, "time,,~,it's,$HOME,-n,a\nb,")
  }
})

test('lines have the form of the reference', () => {
  let text = ''
  const output = new Output((line) => {
    text += line
  }, false)
  output.success('SSH listening', '127.0.0.1:2222')
  output.success('Key', '/path')
  output.error('it broke')
  output.warn('careful')
  output.debug('not shown')
  assert.is(
    text,
    '   ✓ SSH listening 127.0.0.1:2222\n   ✓ Key          /path\nerror: it broke\nwarn: careful\n',
  )
})

test('texts from elsewhere cannot control the terminal', () => {
  let text = ''
  new Output((line) => {
    text += line
  }, true).error('a\u001b[2Jb\nc\u0007')
  assert.is(text, '\u001b[1;31merror:\u001b[0m a?[2Jb c?\n')
})

test('an error is told with its causes, once each and without the call', () => {
  const cause = Object.assign(new Error("ENOENT: no such file or directory, open '/x'"), {
    code: 'ENOENT',
  })
  assert.is(
    explain(new Error('failed to read /x', { cause })),
    'failed to read /x: no such file or directory',
  )
  assert.is(explain(new Error('a: b', { cause: new Error('b') })), 'a: b')
  assert.is(explain('text'), 'text')
  assert.is(exitCodeOf(new Error('x')), 1)
})

test.run()
