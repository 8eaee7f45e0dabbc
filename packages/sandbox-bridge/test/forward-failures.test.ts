// Every way a forward may fail, as `ssh -W`, `-L` and `-D` and our own client tell it: RFC 4254 §5.1
// has a code for each, and the agent's words are the text. The agent is a real guest, but for the
// connections that are asked of it, which fail as agents were seen to fail.
// Also on: bun

import { spawnSync } from 'node:child_process'
import { connect } from 'node:net'
import { ChannelOpenError, memoryPair, OPEN_FAILURE, type Transport } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { decodeMessage, encodeMessage } from '../src/agent/envelope.ts'
import { type Frame, FrameDecoder } from '../src/agent/frame.ts'
import { guestAgent } from '../src/guest/agent.ts'
import { nativeSession } from '../src/native-session.ts'
import { sandbox } from '../src/sandbox.ts'
import { RecordedAnswers } from './double/recorded-answers.ts'
import { temporaryDirectory } from './memory-sandbox.ts'
import { OldAgent } from './old-agent.ts'
import { type Listening, listen, run, start, user } from './openssh.ts'
import { rejection } from './rejection.ts'
import { within } from './within.ts'

const { CONNECT_FAILED, RESOURCE_SHORTAGE, ADMINISTRATIVELY_PROHIBITED } = OPEN_FAILURE
/** As OpenSSH words the codes. */
const WORDS: Readonly<Record<number, string>> = {
  [CONNECT_FAILED]: 'connect failed',
  [RESOURCE_SHORTAGE]: 'resource shortage',
  [ADMINISTRATIVELY_PROHIBITED]: 'administratively prohibited',
}

/** What the agent says of hosts that were not in the recording. */
const TOLD: Readonly<Record<string, string>> = {
  'slow.test': 'connect slow.test:80 timed out',
  'late.test': 'connect late.test:80: Operation timed out (os error 110)',
  'far.test': 'connect far.test:80: Host is unreachable (os error 113)',
  'many.test': 'connect many.test:80: No file descriptors available (os error 24)',
}

interface Failure {
  readonly host: string
  readonly port: number
  readonly code: number
  readonly text: RegExp
}

const FAILURES: readonly Failure[] = [
  { host: '127.0.0.1', port: 1, code: CONNECT_FAILED, text: /127.0.0.1:1: Connection refused$/ },
  { host: '::1', port: 1, code: CONNECT_FAILED, text: /::1:1: Connection refused$/ },
  { host: '203.0.113.1', port: 80, code: CONNECT_FAILED, text: /:80: Network unreachable$/ },
  { host: 'far.test', port: 80, code: CONNECT_FAILED, text: /:80: Host is unreachable$/ },
  { host: 'slow.test', port: 80, code: CONNECT_FAILED, text: /slow.test:80 timed out$/ },
  { host: 'late.test', port: 80, code: CONNECT_FAILED, text: /:80: Operation timed out$/ },
  {
    host: 'no-such-host.invalid',
    port: 80,
    code: CONNECT_FAILED,
    text: /:80: failed to lookup address information: Try again$/,
  },
  {
    host: 'many.test',
    port: 80,
    code: RESOURCE_SHORTAGE,
    text: /:80: No file descriptors available$/,
  },
  {
    host: 'secret.test',
    port: 80,
    code: ADMINISTRATIVELY_PROHIBITED,
    text: /this destination is not permitted$/,
  },
]

const recorded = new RecordedAnswers()

function permitted(host: string): boolean {
  return host !== 'secret.test'
}

/** A guest that cannot connect anywhere. */
function agentWithout(): () => Promise<Transport> {
  const agent = guestAgent({ features: [], env: { PATH: process.env['PATH'] } })
  return async () => {
    const [ours, guest] = memoryPair()
    const [outer, client] = memoryPair()
    void agent.serve(guest)
    void copy(ours, outer)
    void intercept(outer, ours)
    return client
  }
}

async function copy(from: Transport, to: Transport): Promise<void> {
  for (;;) {
    const chunk = await from.read().catch(() => undefined)
    if (chunk === undefined) break
    await to.write(chunk).catch(() => {})
  }
  await to.close().catch(() => {})
}

async function intercept(client: Transport, guest: Transport): Promise<void> {
  const decoder = new FrameDecoder()
  for (;;) {
    const chunk = await client.read().catch(() => undefined)
    if (chunk === undefined) break
    decoder.push(chunk)
    for (let frame = decoder.next(); frame; frame = decoder.next()) {
      const answer = answerTo(frame)
      const [to, bytes] = answer === undefined ? [guest, frame.bytes.slice()] : [client, answer]
      await to.write(bytes).catch(() => {})
    }
  }
  await guest.close().catch(() => {})
}

/** In the recorded words where there are any. */
function answerTo(frame: Frame): Uint8Array | undefined {
  const message = decodeMessage(frame)
  if (message?.type !== 'core.tcp.connect') return undefined
  const error = TOLD[message.payload.host]
  const failed =
    error === undefined ? undefined : encodeMessage(frame.id, 'core.tcp.failed', { error })
  return failed ?? recorded.to(message)?.[0]
}

async function served(body: (listening: Listening) => Promise<void>): Promise<void> {
  const place = sandbox(agentWithout(), { home: temporaryDirectory(), shell: '/bin/sh' })
  const listening = await listen(place, permitted)
  try {
    await body(listening)
  } finally {
    await listening.close()
  }
}

/** Arguments before the others: of two settings the first counts. */
function loud({ options, port }: Listening): readonly string[] {
  return ['-o', 'LogLevel=INFO', ...options, '-p', String(port)]
}

function expected({ code, text }: Failure): RegExp {
  return new RegExp(`open failed: ${WORDS[code]}: .*${text.source.slice(0, -1)}\r?$`, 'm')
}

function destination({ host, port }: Failure): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

test('our client gets the code and the words', () =>
  within(20_000, async () => {
    const place = sandbox(agentWithout(), { home: temporaryDirectory(), shell: '/bin/sh' })
    const session = await nativeSession(place)
    // A native session may do anything.
    const failures = FAILURES.filter(({ host }) => permitted(host))
    for (const { host, port, code, text } of failures) {
      const error = await rejection(session.client.directTcpip(host, port))
      assert.instance(error, ChannelOpenError)
      assert.is((error as ChannelOpenError).reason, code, host)
      assert.match((error as Error).message, text)
    }
    await session.close()
  }))

if (spawnSync('ssh', ['-V']).error !== undefined) {
  test.skip('OpenSSH is not installed', () => {})
} else {
  test('ssh -W tells each, and ends with 255', () =>
    within(60_000, () =>
      served(async (listening) => {
        for (const failure of FAILURES) {
          const args = [...loud(listening), '-W', destination(failure), `${user}@127.0.0.1`]
          const { code, stdout, stderr } = await run('ssh', args)
          assert.is(code, 255)
          assert.is(stdout.length, 0)
          assert.match(stderr, expected(failure))
        }
      }),
    ))

  test('ssh -L and -D tell each, end that connection, and go on', () =>
    within(60_000, () =>
      served(async (listening) => {
        const local = 20_000 + Math.floor(Math.random() * 10_000)
        const forwards = FAILURES.flatMap((failure, index) => [
          '-L',
          `127.0.0.1:${local + index}:${destination(failure)}`,
        ])
        const proxy = local + FAILURES.length
        const args = [...loud(listening), ...forwards, '-D', `127.0.0.1:${proxy}`]
        const child = start('ssh', [...args, `${user}@127.0.0.1`, 'echo up; cat'])
        let said = ''
        child.stderr?.on('data', (chunk: Buffer) => {
          said += chunk.toString()
        })
        await new Promise((resolve) => child.stdout?.once('data', resolve))
        for (const [index, failure] of FAILURES.entries()) {
          said = ''
          await ended(local + index)
          assert.match(said, expected(failure))
        }
        for (const failure of FAILURES) {
          said = ''
          const url = `http://${destination(failure)}/`
          const { code } = await run('curl', [
            ...['-s', '--max-time', '20', '--socks5-hostname', `127.0.0.1:${proxy}`, url],
          ])
          // The proxy, or nobody behind it, answered.
          assert.ok(code !== 0 && code !== 28, `${code}`)
          assert.match(said, expected(failure))
        }
        const output = new Promise((resolve) => child.stdout?.once('data', resolve))
        child.stdin?.end('still here')
        assert.is(`${await output}`, 'still here')
        await new Promise((resolve) => child.once('close', resolve))
      }),
    ))

  test('an agent too old for connections: prohibited, and why', () =>
    within(20_000, async () => {
      const agent = new OldAgent(3)
      const options = { home: temporaryDirectory(), shell: '/bin/sh' }
      const listening = await listen(sandbox(async () => agent.dial(), options))
      const args = [...loud(listening), '-W', '127.0.0.1:80', `${user}@127.0.0.1`]
      const { code, stderr } = await run('ssh', args)
      assert.is(code, 255)
      assert.match(stderr, /open failed: administratively prohibited: this sandbox speaks agent/)
      assert.match(stderr, /generation 3 and core.tcp.connect needs generation 4; restart the/)
      assert.equal(agent.deaths, [])
      await listening.close()
    }))
}

/** Connects, and waits for the end. */
function ended(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1').on('error', reject)
    socket.on('close', () => resolve()).resume()
  })
}

test.run()
