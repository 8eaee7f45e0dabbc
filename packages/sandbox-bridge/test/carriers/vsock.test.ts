/** vsock: sockets that behave as Firecracker's and as libkrun's, and the way without any. */
// Also on: bun
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { nodeSocket } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { dialVsock, dialVsockUnix } from '../../src/carriers/vsock.ts'
import { type GuestAgent, guestAgent } from '../../src/guest/agent.ts'
import { SandboxError } from '../../src/home/errors.ts'
import { findPrograms } from '../../src/local/programs.ts'
import { sandbox } from '../../src/sandbox.ts'
import { temporaryDirectory, temporaryHome } from '../home/temporary.ts'
import { rejection } from '../rejection.ts'
import { within } from '../within.ts'

const servers: Server[] = []
const guests: GuestAgent[] = []
test.after(() => {
  for (const server of servers) server.close()
  for (const guest of guests) guest.close()
})

async function listen(onSocket: (socket: Socket) => void): Promise<string> {
  const path = join(temporaryDirectory(), 'v.sock')
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined)
    onSocket(socket)
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return path
}

/** How a hypervisor may deliver its answer and the guest's first words. */
type Delivery = 'at once' | 'byte by byte' | 'line alone'

/**
 * A hypervisor's socket as Firecracker has it: one command of at most 32 bytes, whatever its case,
 * read byte by byte after the first ten; what follows the line feed is the guest's. A command that
 * is none, or a port nobody listens on, is answered by hanging up.
 */
function firecracker(guest: GuestAgent, guestPort: number, delivery: Delivery): Promise<string> {
  let hostPort = 2 ** 30
  return listen((socket) => {
    void (async () => {
      let command = ''
      while (!command.endsWith('\n') && command.length < 32) {
        const byte = socket.read(command.length === 0 ? 10 : 1)
        if (byte !== null) command += String(byte)
        else if (socket.readableEnded) return
        else await new Promise((resolve) => socket.once('readable', resolve))
      }
      const match = /^CONNECT (\d+)\n$/i.exec(command)
      if (match === null || Number(match[1]) !== guestPort) {
        socket.destroy()
        return
      }
      const answer = `OK ${hostPort++}\n`
      if (delivery === 'byte by byte') {
        for (const char of answer) await new Promise((resolve) => socket.write(char, resolve))
      } else if (delivery === 'line alone') {
        await new Promise((resolve) => socket.write(answer, resolve))
      } else {
        socket.cork()
        socket.write(answer)
        process.nextTick(() => process.nextTick(() => socket.uncork()))
      }
      await guest.serve(nodeSocket(socket))
    })()
  })
}

function newGuest(): GuestAgent {
  const guest = guestAgent()
  guests.push(guest)
  return guest
}

async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await rejection(work)
  return error instanceof SandboxError ? `${error.code}: ${error.message}` : String(error)
}

for (const delivery of ['at once', 'byte by byte', 'line alone'] as const) {
  test(`a guest behind Firecracker's socket, its answer ${delivery}`, async () => {
    const path = await firecracker(newGuest(), 1024, delivery)
    const box = sandbox(`vsock-unix:${path}:1024`, { home: temporaryHome() })
    const agents = await within(10_000, () => Promise.all([box.connectAgent(), box.connectAgent()]))
    for (const agent of agents) {
      assert.is(agent.generation, 7)
      await agent.ping()
      await agent.close()
    }
  })
}

test('a port nobody listens on, a socket that is none, and one that says nothing', async () => {
  const path = await firecracker(newGuest(), 1024, 'at once')
  assert.match(
    await refusal(dialVsockUnix(path, 1025)),
    /^SANDBOX_NOT_RUNNING: nothing in the guest of .* listens on vsock port 1025$/,
  )
  const other = await listen((socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'))
  assert.match(
    await refusal(dialVsockUnix(other, 1)),
    /^SANDBOX_UNREACHABLE: .* is not the vsock socket .*answered "HTTP\/1\.1 400/,
  )
  const endless = await listen((socket) => socket.write('O'.repeat(100_000)))
  assert.match(await refusal(dialVsockUnix(endless, 1)), /it answered "O{32}"$/)
  const half = await listen((socket) => socket.end('OK 12'))
  assert.match(await refusal(dialVsockUnix(half, 1)), /it answered "OK 12"$/)
  const mute = await listen(() => undefined)
  assert.match(await refusal(dialVsockUnix(mute, 1, { timeoutMs: 20 })), /no answer in 20 ms$/)
  const reason = new Error('changed my mind')
  const signal = AbortSignal.abort(reason)
  assert.is(await rejection(dialVsockUnix(mute, 1, { signal })), reason)
  const stop = new AbortController()
  const waiting = rejection(dialVsockUnix(mute, 1, { signal: stop.signal }))
  stop.abort(reason)
  assert.is(await waiting, reason)
  assert.match(await refusal(dialVsockUnix('/no/such.sock', 1)), /^SANDBOX_NOT_FOUND/)
})

test("a guest behind libkrun's socket, one for each port and without a prologue", async () => {
  const guest = newGuest()
  const path = await listen((socket) => void guest.serve(nodeSocket(socket)))
  const agent = await sandbox(`unix:${path}`, { home: temporaryHome() }).connectAgent()
  await agent.ping()
  await agent.close()
})

test("the host's own vsock goes through socat, and without it that is said", async () => {
  const { PATH: path } = process.env
  const bin = temporaryDirectory()
  try {
    process.env['PATH'] = bin
    assert.is(
      await refusal(dialVsock(3, 1024)),
      'SANDBOX_UNREACHABLE: vsock:3:1024: this runtime has no vsock of its own, ' +
        'and socat is not installed',
    )
    // In its place, a program that checks what it is asked and is the guest itself.
    const { node, guest } = findPrograms()
    const script = `#!/bin/sh
[ "$*" = '- VSOCK-CONNECT:3:1024' ] || { echo "socat: no route to $2" >&2; exit 1; }
exec '${node}' '${guest}' --stdio
`
    mkdirSync(bin, { recursive: true })
    writeFileSync(join(bin, 'socat'), script)
    chmodSync(join(bin, 'socat'), 0o755)
    const agent = await sandbox('vsock:3:1024', { home: temporaryHome() }).connectAgent()
    await agent.ping()
    await agent.close()
    assert.is(
      await refusal(dialVsock(4, 1)),
      'SANDBOX_UNREACHABLE: vsock:4:1: socat: no route to VSOCK-CONNECT:4:1',
    )
  } finally {
    process.env['PATH'] = path
  }
})

test.run()
