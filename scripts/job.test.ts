// The test runner must notice what a test program can do wrong; each case here is such a program.

import { readFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Job, type Outcome, run } from './job.ts'

const program = (source: string, limitMs = 20_000): Promise<Outcome> => {
  const job: Job = {
    name: 'sample',
    command: [process.execPath, '--input-type=module', '--eval', source],
    limitMs,
    counts: 'uvu',
  }
  return run(job)
}

/** Whether a process runs; one that is dead but not yet collected by its parent does not. */
function isRunning(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return false
  }
}

const uvu = `import { test } from 'uvu'; import * as assert from 'uvu/assert';`

const counts = ({ passed, failed, skipped }: Outcome): readonly number[] => [
  passed,
  failed,
  skipped,
]

test('passing, failing and skipped tests are counted', async () => {
  const outcome = await program(
    `${uvu} test('a', () => {}); test('b', () => assert.is(1, 2)); test.skip('c', () => {}); test.run()`,
  )
  assert.equal(counts(outcome), [1, 1, 1])
  assert.match(outcome.output, /FAIL.*"b"/)
})

test('a file without tests fails', async () => {
  assert.equal(counts(await program(`${uvu} test.run()`)), [0, 1, 0])
  assert.equal(counts(await program(`${uvu} test('never run', () => {})`)), [0, 1, 0])
  assert.equal(counts(await program('')), [0, 1, 0])
})

test('a file that ends in the middle of a test fails', async () => {
  const outcome = await program(`${uvu} test('a', () => new Promise(() => {})); test.run()`)
  assert.equal(counts(outcome), [0, 1, 0])
})

test('a crash after the tests fails although all passed', async () => {
  const crash = `setTimeout(() => { throw new Error('late') }, 50)`
  const outcome = await program(`${uvu} test('a', () => {}); test.run(); ${crash}`)
  assert.equal(counts(outcome), [1, 1, 0])
  assert.match(outcome.output, /late/)
})

test('a file that hangs fails at its limit, and what it started is ended with it', async () => {
  const source = `import { spawn } from 'node:child_process'
    const child = spawn('sleep', ['600'], { stdio: 'inherit' })
    console.log('child ' + child.pid)`
  const outcome = await program(source, 1500)
  assert.equal(counts(outcome), [0, 1, 0])
  assert.match(outcome.output, /still running after 1.5 s/)
  const pid = Number(/child (\d+)/.exec(outcome.output)?.[1])
  assert.ok(pid > 0)
  assert.not(isRunning(pid))
})

test('a program that is not there fails', async () => {
  const job: Job = { name: 'x', command: ['./no-such'], limitMs: 1000, counts: 'one' }
  assert.equal(counts(await run(job)), [0, 1, 0])
})

test.run()
