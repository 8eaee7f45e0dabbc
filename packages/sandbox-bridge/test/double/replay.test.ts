// Every recorded frame that a client of ours can bring about, in both directions: what we send is
// what was recorded, and what comes of the recorded answers is what they say. Each frame that is
// not played here is named, with the reason.
// Also on: bun

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  decodeEnvelope,
  decodeMessage,
  decodePayload,
  encodeMessage,
} from '../../src/agent/envelope.ts'
import { SESSION_START, writeUint32 } from '../../src/agent/frame.ts'
import { fromHex, type Line, lines, linesOf, toHex } from '../recorded.ts'
import { frameOf } from './recorded-agent.ts'
import { play } from './recorded-client.ts'
import { strangeness } from './recorded-shapes.ts'

/** Why no client of ours can be made to take part in a case. */
const LEFT_OUT: ReadonlyMap<string, string> = new Map([
  ['handshake/boot', 'said to the relay; our relay hears it in relay.test.ts'],
  ['core/guest-only-type-from-host', 'a type of the guest, which we never say'],
  ['core/request-with-older-generation', 'another generation than ours on a current relay'],
  ['core/request-with-newer-generation', 'another generation than ours on a current relay'],
  ['exec/environment', 'has a variable without a value, which we never send'],
  ['exec/rlimit', 'has a resource limit, which we never set'],
  ['exec-failed/rlimit-soft-above-hard', 'has a resource limit, which we never set'],
  ['exec-failed/rlimit-soft-above-hard-tty', 'has a resource limit, which we never set'],
  ['exec-failed/rlimit-unknown', 'has a resource limit, which we never set'],
  ['exec-failed/rlimit-unknown-tty', 'has a resource limit, which we never set'],
  ['exec-failed/argument-too-long', 'its request was too long to be recorded'],
  ['exec-failed/argument-too-long-tty', 'its request was too long to be recorded'],
  ['exec-stdin/data-after-eof', 'input after its end, which we refuse to write'],
  ['exec-stdin/after-exit', 'input to a program that has ended, which we drop'],
  ['exec-stdin/unknown-id', 'input to no program'],
  ['exec-tty/empty-stdin-is-not-eof', 'a terminal gets its end-of-file character instead'],
  ['exec-signal/signal-0', 'no signal, so that we send none'],
  ['exec-signal/invalid-99', 'no signal, so that we send none'],
  ['exec-signal/rt-34', 'a signal without a name, which we send none'],
  ['exec-signal/unknown-id', 'a signal to no program'],
  ['fs-handle/write-two-chunks-one-stream', 'a write in two pieces; ours are one'],
  ['fs-handle/write-length-mismatch-short', 'another length than was promised'],
  ['fs-handle/write-length-mismatch-long', 'another length than was promised'],
  ['fs-handle/write-len-null', 'a write of any length; ours have one'],
  ['fs-handle/data-without-stream', 'data for no write; answers what we send behind a refusal'],
  ['fs-dir/readdir-default-limit-300-entries', 'its answers were too long to be recorded'],
  ['fs-chunks/read-5MB', 'its answers were too long to be recorded'],
  ['tcp/chunk-sizes-1MB-from-guest', 'its answers were too long to be recorded'],
  ['tcp/close-twice-and-data-after-close', 'data behind the close, which we refuse to write'],
  ['tcp/eof-unknown-id', 'the end of no connection'],
  ['tcp/data-unknown-id', 'data for no connection'],
  ['client/out-of-range-id-closes-the-connection', 'an id that is not ours'],
  ['client/id-equal-to-range-end', 'an id that is not ours'],
  ['client/highest-id-of-range', 'one certain id; ours begin anywhere'],
  ['fatal/unknown-message-type', 'a type that does not exist'],
  ['exec-chunks/stdout-20kB-pipe', 'its answers were too long to be recorded'],
])

/** Requests that were recorded because they are wrong, and a sound one that we do send. */
const REFUSED = [
  ['core/invalid-flags', 'core/ping', 'invalid_flags'],
  ['core/invalid-payload', 'exec/true', 'invalid_payload'],
  ['core/invalid-payload-not-cbor', 'fs/realpath', 'invalid_payload'],
  ['core/invalid-fs-op', 'fs/realpath', 'invalid_payload'],
  ['tcp/port-out-of-range', 'tcp/refused', 'invalid_payload'],
] as const

const cases = new Map<string, Line[]>()
for (const line of lines) {
  const key = `${line.group}/${line.case}`
  cases.set(key, [...(cases.get(key) ?? []), line])
}

/** Of the reference command line's trace, why a line is left out. */
function strayOf(line: Line, index: number, all: readonly Line[]): string | undefined {
  if (line.group !== 'cli') return undefined
  const frame = frameOf(line)
  const { type, payload } = decodeEnvelope(frame.body)
  if (type === 'core.relay.client.disconnected') return 'said by the relay'
  const request = all
    .slice(0, index + 1)
    .map(frameOf)
    .findLast(({ id, flags }) => id === frame.id && flags === SESSION_START)
  const asked = request === undefined ? undefined : decodeMessage(request)
  if (asked?.type === 'core.fs.request' && 'Write' in asked.payload.op) {
    return asked.payload.op.Write.len === undefined ? 'a write of any length' : undefined
  }
  if (type !== 'core.exec.stdin' || decodePayload(type, payload).data.length > 0) return undefined
  if (all[index - 1]?.hex === line.hex) return 'a second end of stdin'
  const isTerminal = asked?.type === 'core.exec.request' && asked.payload.tty
  return isTerminal ? 'the end of stdin on a terminal, where it is none' : undefined
}

/** The lines of a case that are frames and whatever comes before them. */
function framesOf(key: string): readonly Line[] {
  return (cases.get(key) ?? []).filter(({ dir }) => dir !== 'note')
}

const FRAMES = lines.filter(({ dir }) => dir !== 'note').length

test('of 1023 recorded frames 815 are replayed, and each other one is left out for a reason', async () => {
  let [sent, exact, said, left] = [0, 0, 0, 0]
  const strays = new Map<string, number>()
  for (const key of cases.keys()) {
    const all = framesOf(key)
    if (REFUSED.some(([name]) => name === key)) {
      // Of these, the answers are played below.
      left += all.length / 2
      said += all.length / 2
      continue
    }
    if (LEFT_OUT.has(key)) {
      left += all.length
      continue
    }
    const played = all.filter((line, index) => {
      const why = strayOf(line, index, all)
      if (why !== undefined) strays.set(why, (strays.get(why) ?? 0) + 1)
      return why === undefined
    })
    const agent = await play(played)
    exact += agent.exact
    sent += agent.exact + agent.alike
    said += agent.said
  }
  for (const key of LEFT_OUT.keys()) assert.ok(cases.has(key), key)
  assert.equal(Object.fromEntries(strays), {
    'said by the relay': 19,
    'a second end of stdin': 3,
    'the end of stdin on a terminal, where it is none': 1,
    'a write of any length': 4,
  })
  const strayed = [...strays.values()].reduce((sum, count) => sum + count, 0)
  assert.is(FRAMES, 1023)
  assert.is(sent + said + left + strayed, FRAMES)
  // Of ours, 312 are the recorded ones to the last bit.
  assert.equal({ sent, exact, said, left }, { sent: 344, exact: 312, said: 471, left: 181 })
})

test('each recorded refusal of a broken request is an error of that request, and of no other', async () => {
  for (const [broken, sound, kind] of REFUSED) {
    const answer = framesOf(broken).find(({ dir }) => dir === 'guest')
    const request = framesOf(sound).find(({ dir }) => dir === 'client')
    assert.ok(answer && request)
    const bytes = fromHex(answer.hex ?? '')
    writeUint32(bytes, 4, frameOf(request).id)
    const ping = framesOf('core/ping')
    const conversation = [request, { ...answer, hex: toHex(bytes) }, ...ping]
    const agent = await play(conversation)
    assert.is(agent.said, 2, broken)
    const refusal = decodeMessage(frameOf(answer))
    assert.is(refusal?.type === 'core.error' && refusal.payload.kind, kind)
  }
})

test('a frame that no recorded client would have sent is found out', () => {
  const request = { cmd: 'true', args: [], env: [], tty: false, rows: 24, cols: 80, rlimits: [] }
  const said = (payload: object): string | undefined =>
    strangeness(encodeMessage(1, 'core.exec.request', { ...request, ...payload }))
  assert.is(said({}), undefined)
  assert.is(said({ cwd: '/', user: 'root' }), undefined)
  assert.match(said({ window: 1 }) ?? '', /has a field \.window/)
  assert.match(strangeness(encodeMessage(0, 'core.shutdown', null)) ?? '', /never recorded/)
  const recorded = (group: string, name: string): string => {
    const line = linesOf(group, name).find(({ dir }) => dir === 'client')
    return strangeness(fromHex(line?.hex ?? '')) ?? ''
  }
  assert.match(recorded('core', 'invalid-flags'), /core.ping has flags 2/)
  assert.match(recorded('core', 'invalid-payload'), /core.exec.request lacks \.cmd/)
  assert.match(recorded('core', 'invalid-fs-op'), /NoSuchOp was never recorded/)
  assert.match(recorded('fatal', 'unknown-message-type'), /core.no.such.type was never recorded/)
})

test.run()
