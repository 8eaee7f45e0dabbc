/** Commands as carriers, and WebSockets. */
// Also on: bun
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { webSocket } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { WebSocketServer } from 'ws'
import { dialCommand } from '../../src/carriers/command.ts'
import { dialWebSocket } from '../../src/carriers/web-socket.ts'
import { guestAgent } from '../../src/guest/agent.ts'
import { SandboxError } from '../../src/home/errors.ts'
import { findPrograms } from '../../src/local/programs.ts'
import { sandbox } from '../../src/sandbox.ts'
import { textOf } from '../guest/connect.ts'
import { temporaryHome } from '../home/temporary.ts'
import { rejection } from '../rejection.ts'
import { within } from '../within.ts'

async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await rejection(work)
  return error instanceof SandboxError ? `${error.code}: ${error.message}` : String(error)
}

test('any command whose stdin and stdout carry the protocol is a way in', async () => {
  const { node, guest } = findPrograms()
  const box = sandbox(`stdio:env A='b c' '${node}' '${guest}' --stdio`, { home: temporaryHome() })
  const agent = await within(20_000, () => box.connectAgent())
  const program = await agent.exec({ command: 'sh', args: ['-c', 'echo $PPID "$A"'] })
  const [pid = '', word] = (await textOf(program)).split(' ', 2)
  assert.is(word, 'b')
  await agent.close()
  // It is the command itself, not a shell, that was ours, and it ends with the connection.
  await within(10_000, async () => {
    while (isAlive(Number(pid))) await new Promise((resolve) => setTimeout(resolve, 10))
  })
})

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('a command that fails leaves its last words and its first word, never its arguments', async () => {
  const failing = "sh -c 'echo trying --token=secret; echo no such container >&2; exit 1' >&2"
  assert.is(await refusal(dialCommand(failing)), 'SANDBOX_UNREACHABLE: stdio:sh: no such container')
  assert.match(await refusal(dialCommand('/no/such/program x')), /^SANDBOX_UNREACHABLE: stdio:\/no/)
  assert.is(
    await refusal(dialCommand('true')),
    'SANDBOX_UNREACHABLE: stdio:true: it exited with status 0',
  )
  const late = await refusal(dialCommand('sleep 60', { timeoutMs: 30 }))
  assert.match(late, /^SANDBOX_UNREACHABLE: stdio:sleep: /)
})

test('an abort ends a command that does not greet', async () => {
  const stop = new AbortController()
  const reason = new Error('changed my mind')
  const waiting = rejection(dialCommand('sleep 60', { signal: stop.signal }))
  stop.abort(reason)
  assert.is(await waiting, reason)
})

test('a relay behind a WebSocket is a way in', async () => {
  const guest = guestAgent()
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  server.on('connection', (socket) => void guest.serve(webSocket(socket)))
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const box = sandbox(`ws://127.0.0.1:${port}/relay`, { home: temporaryHome() })
  const agent = await within(10_000, () => box.connectAgent())
  const program = await agent.exec({ command: 'echo', args: ['through a WebSocket'] })
  assert.is(await textOf(program), 'through a WebSocket\n')
  await agent.close()
  guest.close()
  server.close()
})

test('a WebSocket that cannot be had says why, without what is secret in its address', async () => {
  const answer = await refusal(dialWebSocket('ws://ada:secret@127.0.0.1:1/path?token=secret'))
  assert.match(answer, /^SANDBOX_UNREACHABLE: ws:\/\/127\.0\.0\.1:1: /)
  assert.ok(!answer.includes('secret'))
})

test.run()
