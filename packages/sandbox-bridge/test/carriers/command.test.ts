/** Commands as carriers, and WebSockets where the runtime has them. */
// Also on: bun
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { memoryPair, type Transport } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
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

const hasWebSocket = 'WebSocket' in globalThis

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

/** A WebSocket server of one connection at a time, which passes binary messages both ways. */
async function serveWebSocket(serve: (transport: Transport) => void): Promise<string> {
  const server = createServer()
  server.on('upgrade', (request, socket: Socket) => {
    const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
    const accept = createHash('sha1').update(key).digest('base64')
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
        `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
    )
    socket.on('error', () => undefined)
    const [ours, theirs] = memoryPair()
    serve(theirs)
    let buffer = Buffer.alloc(0)
    socket.on('data', (chunk) => {
      buffer = Buffer.concat([buffer, chunk])
      for (let message = takeMessage(); message !== undefined; message = takeMessage()) {
        ours.write(message).catch(() => socket.destroy())
      }
    })
    socket.on('close', () => ours.abort())
    const takeMessage = (): Uint8Array | undefined => {
      const short = (buffer[1] ?? 0) & 0x7f
      const at = short < 126 ? 2 : 4
      if (buffer.length < at + 4) return undefined
      const length = short < 126 ? short : buffer.readUInt16BE(2)
      if (short === 127 || buffer.length < at + 4 + length) return undefined
      const isData = ((buffer[0] ?? 0) & 0x0f) === 2
      const mask = buffer.subarray(at, at + 4)
      const data = Uint8Array.from(
        buffer.subarray(at + 4, at + 4 + length),
        (byte, index) => byte ^ (mask[index % 4] ?? 0),
      )
      buffer = buffer.subarray(at + 4 + length)
      if (isData) return data
      socket.destroy()
      return undefined
    }
    void (async () => {
      for (let chunk = await ours.read(); chunk !== undefined; chunk = await ours.read()) {
        const head =
          chunk.length < 126
            ? [0x82, chunk.length]
            : [0x82, 126, chunk.length >> 8, chunk.length & 255]
        socket.write(Buffer.concat([Buffer.from(head), chunk]))
      }
      socket.end()
    })().catch(() => socket.destroy())
  })
  server.unref()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return `ws://127.0.0.1:${port}/relay`
}

const withWebSocket = hasWebSocket ? test : test.skip

withWebSocket('a relay behind a WebSocket is a way in', async () => {
  const guest = guestAgent()
  const url = await serveWebSocket((transport) => void guest.serve(transport))
  const box = sandbox(url, { home: temporaryHome() })
  const agent = await within(10_000, () => box.connectAgent())
  const program = await agent.exec({ command: 'echo', args: ['through a WebSocket'] })
  assert.is(await textOf(program), 'through a WebSocket\n')
  await agent.close()
  guest.close()
})

test('a WebSocket that cannot be had says why, without what is secret in its address', async () => {
  const answer = await refusal(dialWebSocket('ws://ada:secret@127.0.0.1:1/path?token=secret'))
  assert.match(answer, /^SANDBOX_UNREACHABLE: ws:\/\/127\.0\.0\.1:1: /)
  assert.ok(!answer.includes('secret'))
  if (!hasWebSocket) assert.match(answer, /this runtime has no WebSocket; Node has one from/)
})

test.run()
