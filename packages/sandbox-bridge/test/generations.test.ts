// SSH into agents of every generation, and behind the relay of old: what each can do works, what it
// cannot is one clear error, and nothing is sent that it would die of.

import { randomBytes } from 'node:crypto'
import { type AddressInfo, createServer } from 'node:net'
import { ChannelOpenError, OPEN_FAILURE } from '@sandbox-ssh/protocol'
import { openSftp } from '@sandbox-ssh/sftp'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { nativeSession } from '../src/native-session.ts'
import { sandbox } from '../src/sandbox.ts'
import { temporaryDirectory } from './memory-sandbox.ts'
import { OldAgent, type RelayKind } from './old-agent.ts'
import { rejection } from './rejection.ts'
import { within } from './within.ts'

const PATIENT_MS = 20_000

type Session = Awaited<ReturnType<typeof nativeSession>>

async function enter(agent: OldAgent): Promise<Session> {
  const options = { home: temporaryDirectory(), shell: '/bin/sh' }
  return nativeSession(sandbox(async () => agent.dial(), options))
}

/** What every agent can do. */
async function programsRun({ client }: Session): Promise<void> {
  const command = 'cat; echo err >&2; exit 5'
  const data = randomBytes(300_000)
  const result = await client.run(command, { stdin: data })
  assert.equal([result.code, Buffer.from(result.stderr).toString()], [5, 'err\n'])
  assert.is(Buffer.from(result.stdout).compare(data), 0)
  const terminal = await client.run('stty size; tty', { pty: { columns: 71, rows: 13 } })
  assert.match(terminal.text(), /^13 71\r\n\/dev\/pts\//)
  const sleeper = await client.exec('echo up; exec sleep 100')
  await sleeper.read()
  sleeper.kill('TERM')
  assert.is((await sleeper.exit).signal, 'TERM')
  const shell = await client.shell()
  await shell.write(new TextEncoder().encode('exit 4\n'))
  assert.is((await shell.exit).code, 4)
}

async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await rejection(work)
  assert.instance(error, ChannelOpenError)
  const { reason, message } = error as ChannelOpenError
  assert.is(reason, OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED)
  return message
}

async function check(generation: number, kind: RelayKind): Promise<void> {
  const server = createServer((socket) => socket.end('from the guest'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const agent = new OldAgent(generation, kind)
  const session = await enter(agent)
  const { client } = session
  try {
    await programsRun(session)

    if (generation >= 2) {
      const sftp = await openSftp(client)
      assert.ok(((await sftp.stat('/etc/passwd')).size ?? 0) > 0)
      await sftp.close()
    } else {
      const said = await rejection(openSftp(client))
      assert.match(`${said}`, /: error: the agent of this sandbox is too old for SFTP; restart the/)
    }
    if (generation >= 4) {
      const channel = await client.directTcpip('127.0.0.1', port)
      assert.is(Buffer.from((await channel.read()) ?? []).toString(), 'from the guest')
    } else {
      const said = await refusal(client.directTcpip('127.0.0.1', port))
      const why = `speaks agent protocol generation ${generation} and core.tcp.connect needs generation 4`
      assert.match(said, new RegExp(`this sandbox ${why}; restart the sandbox`))
    }
    // And everything else goes on.
    assert.is((await client.run('echo on')).text(), 'on\n')
    assert.is(agent.asked.has('core.ping'), generation >= 6)
    assert.is(agent.asked.has('core.fs.request'), generation >= 2)
    assert.equal(agent.deaths, [])
  } finally {
    await session.close()
    server.close()
  }
}

for (let generation = 1; generation <= 7; generation++) {
  test(`generation ${generation}`, () => within(PATIENT_MS, () => check(generation, 'current')))
}
test('the relay of old', () => within(PATIENT_MS, () => check(1, 'legacy')))

test.run()
