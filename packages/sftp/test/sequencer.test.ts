// Which requests wait for which.
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Claim, mustWait, Sequencer } from '../src/sequencer.ts'

const read = (file: string, from: number, to: number): Claim => ({ kind: 'read', file, from, to })
const write = (file: string, from: number, to: number): Claim => ({ kind: 'write', file, from, to })
const look: Claim = { kind: 'look' }
const change = (...paths: string[]): Claim => ({ kind: 'change', paths })
const fstat = (file: string): Claim => ({ kind: 'handle', files: [file], changes: false })
const close = (file: string): Claim => ({ kind: 'handle', files: [file], changes: true })

test('reads never wait for reads, nor anything for other files', () => {
  assert.not.ok(mustWait(read('a', 0, 10), read('a', 0, 10)))
  assert.not.ok(mustWait(read('a', 0, 10), write('b', 0, 10)))
  assert.not.ok(mustWait(write('a', 0, 10), write('b', 0, 10)))
  assert.not.ok(mustWait(close('a'), write('b', 0, 10)))
  assert.not.ok(mustWait(write('a', 0, 10), change('b')))
})

test('overlapping writes and reads keep their order, others do not', () => {
  assert.ok(mustWait(write('a', 5, 15), write('a', 0, 10)))
  assert.ok(mustWait(read('a', 9, 15), write('a', 0, 10)))
  assert.ok(mustWait(write('a', 9, 15), read('a', 0, 10)))
  assert.not.ok(mustWait(write('a', 10, 15), write('a', 0, 10)))
  assert.not.ok(mustWait(read('a', 10, 15), write('a', 0, 10)))
})

test('closing waits for everything on its file, and what looks at it for closing', () => {
  assert.ok(mustWait(close('a'), read('a', 0, 1)))
  assert.ok(mustWait(close('a'), write('a', 0, 1)))
  assert.ok(mustWait(close('a'), fstat('a')))
  assert.ok(mustWait(fstat('a'), write('a', 0, 1)))
  assert.ok(mustWait(look, close('a')))
  assert.ok(mustWait(change('a'), close('a')))
})

test('looks wait for changes, changes for looks', () => {
  assert.not.ok(mustWait(look, look))
  assert.not.ok(mustWait(look, read('a', 0, 1)))
  assert.ok(mustWait(look, write('a', 0, 1)))
  assert.ok(mustWait(look, change('a')))
  assert.ok(mustWait(change('a'), look))
  assert.ok(mustWait(change('a'), change('b')))
  assert.ok(mustWait(change('a'), read('a', 0, 1)))
  assert.ok(mustWait(read('a', 0, 1), change('a')))
})

test('tasks run at once where they may and in order where they must', async () => {
  const sequencer = new Sequencer()
  const log: string[] = []
  const gates = new Map<string, () => void>()
  const start = (name: string, claim: Claim): Promise<void> =>
    sequencer.run(claim, async () => {
      log.push(`+${name}`)
      await new Promise<void>((resolve) => gates.set(name, resolve))
      log.push(`-${name}`)
    })
  const all = [
    start('w1', write('a', 0, 10)),
    start('w2', write('a', 10, 20)),
    start('r1', read('a', 5, 15)),
    start('close', close('a')),
  ]
  const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0))
  await turn()
  assert.equal(log, ['+w1', '+w2'])
  gates.get('w2')?.()
  await turn()
  assert.equal(log, ['+w1', '+w2', '-w2'])
  gates.get('w1')?.()
  await turn()
  assert.equal(log.slice(3), ['-w1', '+r1'])
  gates.get('r1')?.()
  await turn()
  assert.equal(log.slice(5), ['-r1', '+close'])
  gates.get('close')?.()
  await Promise.all(all)
  await sequencer.idle()
})

test('a task that fails lets those behind it go on', async () => {
  const sequencer = new Sequencer()
  const failing = sequencer.run(change('a'), () => Promise.reject(new Error('no')))
  const after = sequencer.run(look, async () => 'done')
  assert.instance(await failing.catch((error: unknown) => error), Error)
  assert.is(await after, 'done')
})

test.run()
