// The client against relays and agents of every generation, and against the recorded answers.
// Also on: bun

import { memoryPair, type Transport } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AgentClient } from '../../src/agent/client.ts'
import { decodeMessage } from '../../src/agent/envelope.ts'
import { AgentError, type AgentErrorKind } from '../../src/agent/error.ts'
import { encodeFrame, FrameDecoder, writeUint32 } from '../../src/agent/frame.ts'
import type { FsOp, Message } from '../../src/agent/messages.ts'
import { fromHex, type Line, lines, linesOf } from '../recorded.ts'
import { rejection } from '../rejection.ts'
import { within } from '../within.ts'
import { type Script, ScriptedAgent } from './scripted-agent.ts'

async function connected(script: Script = {}): Promise<[AgentClient, ScriptedAgent]> {
  const [agent, transport] = ScriptedAgent.start(script)
  return [await within(2000, () => AgentClient.connect(transport)), agent]
}

async function kindOf(promise: Promise<unknown>): Promise<AgentErrorKind> {
  const error = await within(3000, () => rejection(promise))
  if (!(error instanceof AgentError)) throw error
  return error.kind
}

const STAT = { path: '/x', follow_symlink: true } as const

test('the recorded handshake gives the range, the generation and the version', async () => {
  const [ours, theirs] = memoryPair()
  for (const line of linesOf('handshake', 'client-preamble'))
    await ours.write(fromHex(line.hex ?? ''))
  const client = await AgentClient.connect(theirs)
  assert.is(client.generation, 7)
  assert.is(client.ready.agent_version, '0.6.18')
  assert.is(client.has('window'), false)
  await client.close()
})

test('a legacy relay is recognised, stamped with 1, and its limits are one clear error', async () => {
  for (const legacyOffset of [0, 268_435_455, 4_026_531_825]) {
    const [client, agent] = await connected({
      legacyOffset,
      generation: 1,
      on: ({ id, type }, self) => {
        if (type === 'core.exec.request') self.say(id, 'core.exec.started', { pid: 5 })
        if (type === 'core.exec.stdin') self.say(id, 'core.exec.exited', { code: 0 })
      },
    })
    assert.is(client.generation, 1)
    const error = await rejection(client.fs('Stat', STAT))
    assert.instance(error, AgentError)
    assert.is((error as AgentError).kind, 'unsupported')
    assert.match((error as AgentError).message, /generation 1 .* generation 2; restart the sandbox/)
    assert.is(await kindOf(client.tcpConnect('h', 1)), 'unsupported')
    assert.is(await kindOf(client.ping()), 'unsupported')
    const program = await client.exec({ command: 'true' })
    await program.write(new Uint8Array(10))
    assert.equal(await program.exited, { code: 0 })
    assert.equal([...agent.stamps], [1])
    assert.equal(
      agent.received.map(({ type }) => type),
      ['core.exec.request', 'core.exec.stdin'],
    )
    const id = agent.received[0]?.id ?? 0
    assert.ok(id > legacyOffset && id < legacyOffset + 268_435_455)
    await client.close()
  }
})

test('each generation has what it brought, and nothing of a later one is sent', async () => {
  const calls = {
    fs: (client: AgentClient) => client.fs('Stat', STAT),
    tcp: (client: AgentClient) => client.tcpConnect('h', 1),
    ping: (client: AgentClient) => client.ping(),
    touch: (client: AgentClient) => client.touch(),
  }
  const since = { fs: 2, tcp: 4, ping: 6, touch: 6 }
  for (let generation = 1; generation <= 9; generation++) {
    const [client, agent] = await connected({ generation, on: refuseAll })
    assert.is(client.generation, Math.min(generation, 7))
    for (const name of ['fs', 'tcp', 'ping', 'touch'] as const) {
      const error = await calls[name](client).then(
        () => undefined,
        (reason: AgentError) => reason.kind,
      )
      assert.is(error === 'unsupported', generation < since[name], `${name} at ${generation}`)
    }
    assert.equal([...agent.stamps], generation === 1 ? [] : [7])
    await client.close()
  }
})

/** Answers everything, so that what was sent can be told from what was not. */
function refuseAll({ id, type }: Message, agent: ScriptedAgent): void {
  if (type === 'core.fs.request') agent.say(id, 'core.fs.response', { ok: false, error: 'no' })
  if (type === 'core.tcp.connect') agent.say(id, 'core.tcp.failed', { error: 'no' })
  if (type === 'core.ping') agent.say(id, 'core.pong', {})
  if (type === 'core.touch') agent.say(id, 'core.touched', { activity_seq: 1 })
}

test('a relay that is full, mute, broken or talks something else is a clear error', async () => {
  const against = async (act: (peer: Transport) => void): Promise<AgentErrorKind> => {
    const [ours, theirs] = memoryPair()
    act(ours)
    return kindOf(AgentClient.connect(theirs, { handshakeMs: 100 }))
  }
  const write = (peer: Transport, bytes: Uint8Array) => void peer.write(bytes).catch(() => {})
  const words = (first: number, second: number): Uint8Array => {
    const bytes = new Uint8Array(8)
    writeUint32(bytes, 0, first)
    writeUint32(bytes, 4, second)
    return bytes
  }
  assert.is(await against((peer) => void peer.close()), 'closed')
  assert.is(await against(() => {}), 'timeout')
  assert.is(await against((peer) => write(peer, words(9, 3))), 'protocol')
  assert.is(await against((peer) => write(peer, words(0, 1))), 'protocol')
  assert.is(
    await against((peer) => {
      write(peer, words(1, 100_000_000))
      write(peer, encodeFrame(0, 0, fromHex('ffff')))
    }),
    'protocol',
  )
  assert.is(
    await against((peer) => write(peer, new TextEncoder().encode('SSH-2.0-OpenSSH_9.2\r\n'))),
    'protocol',
  )
  const [shell, ours] = memoryPair()
  write(shell, new TextEncoder().encode('Welcome to box!\r\n'))
  assert.match(
    `${await rejection(AgentClient.connect(ours))}`,
    /what answers does not speak the agent protocol: it began with "Welcome "$/,
  )
  const [echo, nearEcho] = memoryPair()
  write(echo, new TextEncoder().encode('hi\n'))
  void echo.close()
  assert.match(`${await rejection(AgentClient.connect(nearEcho))}`, /it began with "hi\\n"$/)
  const abort = new AbortController()
  const pending = AgentClient.connect(memoryPair()[1], { signal: abort.signal })
  abort.abort()
  assert.is(await kindOf(pending), 'aborted')
})

test('ids are in range, start anywhere, are never 0 and never reused while open', async () => {
  const [client, agent] = await connected({ ids: [0, 4] })
  const pending = [1, 2, 3].map(() => client.ping())
  await agent.next('core.ping', () => agent.count('core.ping') === 3)
  assert.equal(agent.received.map(({ id }) => id).sort(), [1, 2, 3])
  const free = agent.received[1]?.id ?? 0
  agent.say(free, 'core.pong', {})
  await within(1000, () => pending[1] ?? Promise.reject())
  const another = client.ping()
  await agent.next('core.ping', () => agent.count('core.ping') === 4)
  assert.is(agent.received[3]?.id, free)
  for (const { id } of agent.received) agent.say(id, 'core.pong', {})
  await within(1000, () => Promise.all([...pending, another]))
  await client.close()
  const firsts = new Set<number>()
  for (let index = 0; index < 5; index++) {
    const [each, peer] = await connected({ on: refuseAll })
    await each.ping()
    firsts.add(peer.received[0]?.id ?? 0)
    await each.close()
  }
  assert.ok(firsts.size > 1, 'five clients began with the same id')
  for (const id of firsts) assert.ok(id >= 33_554_432 && id < 67_108_862)
})

test('strays are dropped, whatever they are: late ends, unknown types, broken bodies', async () => {
  const [client, agent] = await connected({ on: refuseAll })
  agent.say(40_000_000, 'core.exec.exited', { code: 9 })
  agent.say(0, 'core.exec.exited', { code: 9 })
  agent.raw(encodeFrame(40_000_001, 1, fromHex('ff')))
  await within(1000, () => client.ping())
  // A type of a later generation for an id that is open is nobody's business either.
  const ping = client.ping()
  const { id } = await agent.next('core.ping', () => agent.count('core.ping') === 2)
  agent.raw(encodeFrame(id, 0, fromHex('a361760861746178617041a0')))
  await within(1000, () => ping)
  await client.close()
})

test('a broken message for an open id, or a broken frame, ends the connection', async () => {
  for (const bytes of [encodeFrame(1, 1, fromHex('ff')), fromHex('00000001')]) {
    const [client, agent] = await connected({ ids: [1, 2], generation: 7 })
    const ping = client.ping()
    await agent.next('core.ping')
    agent.raw(bytes)
    assert.is(await kindOf(ping), 'protocol')
    assert.is((await within(1000, () => client.closed))?.kind, 'protocol')
    assert.is(await kindOf(client.ping()), 'protocol')
  }
})

test('the end of the carrier fails everything that waits, and close is not an error', async () => {
  const [client, agent] = await connected({
    on: ({ id, type }, self) => {
      if (type === 'core.exec.request') self.say(id, 'core.exec.started', { pid: 5 })
    },
  })
  const program = await client.exec({ command: 'sleep' })
  const waiting = [program.read(), program.exited, client.fs('Stat', STAT), client.ping()]
  const starting = client.exec({ command: 'other' })
  void starting.catch(() => {})
  await agent.next('core.ping')
  agent.end()
  for (const each of waiting) assert.is(await kindOf(each), 'closed')
  assert.is((await within(1000, () => client.closed))?.kind, 'closed')
  const [another] = await connected()
  const ping = kindOf(another.ping())
  await within(2000, () => another.close())
  assert.is(await ping, 'closed')
  assert.is(await another.closed, undefined)
})

test('every recorded answer about a file gives its value, or its error with the number', async () => {
  let compared = 0
  for (const [, caseLines] of recordedCases('fs')) {
    const [request, answer] = caseLines
    if (request?.hex === undefined || answer?.hex === undefined) continue
    const { op } = requestOf(request)
    const [client] = await connected({ on: answering([answer]) })
    const [name, fields] = Object.entries(op)[0] ?? []
    const expected = responseOf(answer)
    // The operation and its fields were recorded together.
    const outcome = await client
      .fs(name as 'Stat', fields as typeof STAT)
      .catch((error: AgentError) => error)
    if (expected.ok) {
      assert.equal(outcome, Object.values(expected.data ?? {})[0])
    } else {
      assert.instance(outcome, AgentError)
      const { kind, message, errno } = outcome as unknown as AgentError
      assert.is(kind, 'fs')
      assert.is(message, expected.error)
      const number = /os error (\d+)/.exec(message)?.[1]
      assert.is(errno, number === undefined ? undefined : Number(number))
    }
    compared++
    await client.close()
  }
  assert.ok(compared > 60, `only ${compared} answers compared`)
})

test('every recorded failure to start a program is an error of its kind', async () => {
  let compared = 0
  for (const [, caseLines] of recordedCases('exec-failed')) {
    const answer = caseLines.find(({ dir }) => dir === 'guest')
    if (answer?.hex === undefined) continue
    const message = messageOf(answer)
    if (message.type !== 'core.exec.failed') continue
    const [client] = await connected({ on: answering([answer]) })
    const error = await rejection(client.exec({ command: 'x' }))
    assert.instance(error, AgentError)
    assert.is((error as AgentError).kind, message.payload.kind)
    assert.is((error as AgentError).errno, message.payload.errno)
    assert.is(client.openSessions, 0)
    compared++
    await client.close()
  }
  assert.ok(compared > 20, `only ${compared} failures compared`)
})

test('recorded programs give their output and their end', async () => {
  const outcomes: Record<string, [number, string, string]> = {
    'stdout-stderr-exit-code': [42, 'out\n', 'err\n'],
    'exit-255': [255, '', ''],
    'background-child-keeps-stdout-open': [3, 'parent done\n', ''],
    cwd: [0, '/usr/share\n', ''],
  }
  for (const [name, [code, stdout, stderr]] of Object.entries(outcomes)) {
    const answers = linesOf('exec', name).filter(({ dir }) => dir === 'guest')
    const [client] = await connected({ on: answering(answers) })
    const program = await client.exec({ command: 'x' })
    assert.is(await textOf(() => program.read()), stdout)
    assert.is(await textOf(() => program.readStderr()), stderr)
    assert.equal(await program.exited, { code })
    await client.close()
  }
})

test('recorded TCP failures carry the number that tells why', async () => {
  const numbers: Record<string, number | undefined> = {
    refused: 111,
    'refused-ipv6': 111,
    unreachable: 101,
    unresolvable: undefined,
  }
  for (const [name, errno] of Object.entries(numbers)) {
    const answers = linesOf('tcp', name).filter(({ dir }) => dir === 'guest')
    const [client] = await connected({ on: answering(answers) })
    const error = await rejection(client.tcpConnect('h', 1))
    assert.is((error as AgentError).kind, 'tcp')
    assert.is((error as AgentError).errno, errno)
    await client.close()
  }
})

test('a request over 1 MiB is refused here, and the connection goes on', async () => {
  const [client, agent] = await connected({ on: refuseAll })
  const args = ['x'.repeat(1024 * 1024)]
  assert.is(await kindOf(client.exec({ command: 'x', args })), 'limit')
  assert.is(client.openSessions, 0)
  await client.ping()
  assert.is(agent.count('core.exec.request'), 0)
  await client.close()
})

test('an abort stops waiting: a program is killed, an answer is dropped', async () => {
  const [client, agent] = await connected()
  const abort = new AbortController()
  const starting = client.exec({ command: 'x' }, { signal: abort.signal })
  const looking = client.fs('Stat', STAT, { signal: abort.signal })
  const dialling = client.tcpConnect('h', 1, { signal: abort.signal })
  const all = Promise.all([starting, looking, dialling].map(kindOf))
  const exec = await agent.next('core.exec.request')
  await agent.next('core.tcp.connect')
  abort.abort()
  assert.equal(await all, ['aborted', 'aborted', 'aborted'])
  const { id, payload } = await within(1000, () => agent.next('core.exec.signal'))
  assert.is(id, exec.id)
  assert.is(payload.signal, 9)
  await within(1000, () => agent.next('core.tcp.close'))
  await client.close()
})

function recordedCases(group: string): Map<string, Line[]> {
  const cases = new Map<string, Line[]>()
  for (const line of lines) {
    if (line.group !== group) continue
    cases.set(line.case, [...(cases.get(line.case) ?? []), line])
  }
  return cases
}

/** Answers the first request with recorded frames, under its id. */
function answering(answers: readonly Line[]): NonNullable<Script['on']> {
  let answered = false
  return ({ id }, agent) => {
    if (answered) return
    answered = true
    for (const { hex = '' } of answers) {
      const bytes = fromHex(hex)
      writeUint32(bytes, 4, id)
      agent.raw(bytes)
    }
  }
}

function messageOf(line: Line): Message {
  const decoder = new FrameDecoder()
  decoder.push(fromHex(line.hex ?? ''))
  const frame = decoder.next()
  const message = frame === undefined ? undefined : decodeMessage(frame)
  if (message === undefined) throw new Error(`no message in ${line.case}`)
  return message
}

function requestOf(line: Line): { op: FsOp } {
  const message = messageOf(line)
  if (message.type !== 'core.fs.request') throw new Error(`${line.case} begins otherwise`)
  return message.payload
}

function responseOf(line: Line): { ok: boolean; error?: string; data?: object } {
  const message = messageOf(line)
  if (message.type !== 'core.fs.response') throw new Error(`${line.case} ends otherwise`)
  return message.payload as { ok: boolean; error?: string; data?: object }
}

async function textOf(read: () => Promise<Uint8Array | undefined>): Promise<string> {
  let text = ''
  for (let chunk = await read(); chunk !== undefined; chunk = await read()) {
    text += new TextDecoder().decode(chunk)
  }
  return text
}

test.run()
