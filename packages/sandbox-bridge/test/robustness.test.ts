/** Many clients and sessions at once, and every way they may end: right errors, and nothing left. */
// Time limit: 240 s
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AgentClient } from '../src/agent/client.ts'
import { AgentError } from '../src/agent/error.ts'
import { listenRelay } from '../src/carriers/relay-socket.ts'
import { dialUnix } from '../src/carriers/unix.ts'
import { findPrograms } from '../src/local/programs.ts'
import { bytesOf } from './guest/connect.ts'
import { temporaryDirectory, temporaryHome } from './home/temporary.ts'
import { rejection } from './rejection.ts'
import { within } from './within.ts'

const CLIENTS = 128
/** For each client; with the programs, 1024 sessions. */
const CONNECTIONS_EACH = 7
const PATIENT_MS = 60_000
/** Pipes that the guest keeps ready for its next programs, and what makes them. */
const SPARE_FILES = 16

const children: ChildProcess[] = []
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

/** The guest program as a process of its own, whose files and children can be counted. */
async function startGuest(path: string): Promise<ChildProcess> {
  const { node, guest } = findPrograms()
  const child = spawn(node, [guest, '--relay', path], { stdio: 'ignore' })
  children.push(child)
  await within(PATIENT_MS, async () => {
    for (;;) {
      try {
        return (await dialUnix(path)).abort()
      } catch {
        await pause()
      }
    }
  })
  return child
}

async function stopGuest(guest: ChildProcess): Promise<void> {
  const gone = new Promise<void>((resolve) => guest.once('exit', () => resolve()))
  guest.kill('SIGKILL')
  await gone
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20))
}

function filesOf(pid: number | undefined): number {
  return readdirSync(`/proc/${pid ?? 'self'}/fd`).length
}

function childrenOf(pid: number | undefined): readonly string[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text.split(' ').filter((word) => word !== '')
}

async function eventually(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + PATIENT_MS
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`still not: ${what}`)
    await pause()
  }
}

async function echoServer(): Promise<{ server: Server; port: number; open: () => number }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
    socket.pipe(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', 1024, resolve))
  const { port } = server.address() as AddressInfo
  return { server, port, open: () => sockets.size }
}

/** One client with its sessions, each of which has answered once. */
async function busyClient(path: string, port: number) {
  const client = await AgentClient.connect(await dialUnix(path), { handshakeMs: PATIENT_MS })
  const program = await client.exec({ command: 'cat' })
  const connections = await Promise.all(
    Array.from({ length: CONNECTIONS_EACH }, () => client.tcpConnect('127.0.0.1', port)),
  )
  const sessions = [program, ...connections]
  await Promise.all(
    sessions.map(async (session, index) => {
      await session.write(bytesOf(`${index}`))
      assert.is(new TextDecoder().decode(await session.read()), `${index}`)
    }),
  )
  return { client, sessions, program }
}

/** So many of them, sixteen at a time. */
async function busyClients(count: number, path: string, port: number) {
  const all: Awaited<ReturnType<typeof busyClient>>[] = []
  while (all.length < count) {
    const some = Array.from({ length: 16 }, () => busyClient(path, port))
    all.push(...(await within(PATIENT_MS, () => Promise.all(some))))
  }
  return all
}

test('128 clients with 1024 sessions: half leave, then the sandbox dies; nothing is left', async () => {
  const path = join(temporaryDirectory(), 'agent.sock')
  const guest = await startGuest(path)
  const { server, port, open } = await echoServer()
  await eventually('the guest has settled', () => childrenOf(guest.pid).length === 0)
  const [ownFiles, guestFiles] = [filesOf(undefined), filesOf(guest.pid)]
  const all = await busyClients(CLIENTS, path, port)
  assert.is(open(), CLIENTS * CONNECTIONS_EACH)
  await eventually('all programs run', () => childrenOf(guest.pid).length === CLIENTS)
  const refused = await rejection(
    dialUnix(path).then((transport) => AgentClient.connect(transport)),
  )
  assert.match(String(refused), /its 128 client connections are all in use/)

  const leaving = all.slice(0, CLIENTS / 2)
  const staying = all.slice(CLIENTS / 2)
  await Promise.all(leaving.map(({ client }) => client.close()))
  await eventually('their programs are gone', () => childrenOf(guest.pid).length === CLIENTS / 2)
  await eventually('so are connections', () => open() === (CLIENTS / 2) * CONNECTIONS_EACH)
  for (const { program } of leaving) {
    const error = await rejection(program.exited)
    assert.is(error instanceof AgentError && error.kind, 'closed')
  }
  await Promise.all(
    staying.map(async ({ sessions }) => {
      for (const session of sessions) {
        await session.write(bytesOf('again'))
        assert.is(new TextDecoder().decode(await session.read()), 'again')
      }
    }),
  )

  const quarter = staying.splice(0, CLIENTS / 4)
  await Promise.all(quarter.map(({ client }) => client.close()))
  await eventually('a quarter is left', () => childrenOf(guest.pid).length === CLIENTS / 4)
  // A carrier, three pipes, seven connections each: what is gone keeps nothing open.
  const most = guestFiles + SPARE_FILES + staying.length * (4 + CONNECTIONS_EACH)
  await eventually('its files are those of the rest', () => filesOf(guest.pid) <= most)

  const programs = childrenOf(guest.pid)
  await stopGuest(guest)
  for (const { client, program, sessions } of staying) {
    assert.is((await within(PATIENT_MS, () => client.closed))?.kind, 'closed')
    const error = await rejection(program.exited)
    assert.is(error instanceof AgentError && error.kind, 'closed')
    assert.is(client.openSessions, 0)
    await rejection(sessions[1]?.write(bytesOf('late')) ?? Promise.resolve())
  }
  await eventually('no connection is open', () => open() === 0)
  await eventually('programs have ended with the guest', () => !programs.some(isAlive))
  await eventually('no file is open', () => filesOf(undefined) <= ownFiles)
  server.close()
})

function isAlive(pid: string): boolean {
  try {
    // A zombie waits for its parent, which is not us.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

test('a relay that restarts under 128 clients with 1024 sessions: they are told, the guest is clean, new ones come', async () => {
  const guestPath = join(temporaryDirectory(), 'agent.sock')
  const guest = await startGuest(guestPath)
  const { server, port, open } = await echoServer()
  const path = join(temporaryDirectory(), 'relay.sock')
  const options = { home: temporaryHome() }
  const ownFiles = filesOf(undefined)
  const guestFiles = filesOf(guest.pid)
  for (const clients of [CLIENTS, 16]) {
    const relay = await listenRelay(`unix:${guestPath}`, path, options)
    const busy = await busyClients(clients, path, port)
    await eventually('all programs run', () => childrenOf(guest.pid).length === clients)
    await relay.close()
    for (const { client, program } of busy) {
      assert.is((await within(PATIENT_MS, () => client.closed))?.kind, 'closed')
      await rejection(program.exited)
    }
    await eventually('the programs are gone', () => childrenOf(guest.pid).length === 0)
    await eventually('the connections are gone', () => open() === 0)
    await eventually(
      'the guest has no more open',
      () => filesOf(guest.pid) <= guestFiles + SPARE_FILES,
    )
    await eventually('nor have we', () => filesOf(undefined) <= ownFiles)
  }
  await stopGuest(guest)
  server.close()
})

test.run()
