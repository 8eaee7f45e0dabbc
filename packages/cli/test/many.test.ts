/**
 * 128 SSH clients with 1024 sessions through one server, while the relay behind it restarts and the
 * sandbox dies: every session ends with the right error, every connection goes on, and no process
 * keeps a file or a child of what is gone.
 */
// Time limit: 240 s
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  type Client,
  connect,
  nodeSocket,
  parsePrivateKey,
  publickey,
  type RemoteProcess,
} from '@sandbox-ssh/protocol'
import { openSftp, type SftpClient } from '@sandbox-ssh/sftp'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { msb, start, temporaryDirectory } from './msb.ts'
import { endServers, makeKey, type Serving, serve } from './serving.ts'

const CLIENTS = 128
/** For each client: 1024 sessions in all. Programs are what takes a guest time to start. */
const PROGRAMS = 3
const FILE_SESSIONS = 5
const PATIENT_MS = 60_000
/** Pipes that a guest keeps ready for its next programs, and what makes them. */
const SPARE = 16

const guestPath = fileURLToPath(new URL('../dist/msb-guest.mjs', import.meta.url))
const children: ChildProcess[] = []
test.after(() => {
  endServers()
  for (const child of children) child.kill('SIGKILL')
})

async function startGuest(socket: string): Promise<ChildProcess> {
  rmSync(socket, { force: true })
  const child = spawn(process.execPath, [guestPath, '--relay', socket], { stdio: 'ignore' })
  children.push(child)
  await eventually('the guest listens', () => existsSync(socket))
  return child
}

async function startRelay(home: string, from: string, to: string): Promise<ChildProcess> {
  const child = start(['ssh', 'relay', `unix:${from}`, '--listen', to], home)
  children.push(child)
  await eventually('the relay listens', () => existsSync(to))
  return child
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.kill(signal)
  await gone
}

function filesOf(child: ChildProcess): number {
  return readdirSync(`/proc/${child.pid}/fd`).length
}

function childrenOf({ pid }: ChildProcess): number {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text.split(' ').filter((word) => word !== '').length
}

async function eventually(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + PATIENT_MS
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`still not: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** One connection, and its sessions, each of which has answered once. */
interface Busy {
  readonly client: Client
  readonly programs: readonly RemoteProcess[]
  readonly sftps: readonly SftpClient[]
}

async function enter(server: Serving, key: string): Promise<Client> {
  return connect(nodeSocket(connectTcp(server.port, '127.0.0.1')), {
    username: 'root',
    hostKey: () => true,
    auth: [publickey(await parsePrivateKey(readFileSync(key, 'utf8')))],
  })
}

async function begin(client: Client): Promise<Busy> {
  const [sftps, programs] = await Promise.all([
    Promise.all(Array.from({ length: FILE_SESSIONS }, () => openSftp(client))),
    Promise.all(Array.from({ length: PROGRAMS }, () => client.exec('cat'))),
  ])
  await Promise.all(
    programs.map(async (program, index) => {
      await program.write(new TextEncoder().encode(`${index}`))
      assert.is(new TextDecoder().decode(await program.read()), `${index}`)
    }),
  )
  for (const sftp of sftps) assert.ok(await sftp.exists('/'))
  return { client, programs, sftps }
}

/** In groups: a server has a limit for those who are logging in. */
async function inGroups<T, R>(values: readonly T[], work: (value: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  for (let at = 0; at < values.length; at += 16) {
    results.push(...(await Promise.all(values.slice(at, at + 16).map(work))))
  }
  return results
}

/** What a session says when the sandbox is lost under it. */
async function checkLost({ programs, sftps }: Busy): Promise<void> {
  for (const program of programs) {
    let said = ''
    for (let chunk = await program.readStderr(); chunk; chunk = await program.readStderr()) {
      said += new TextDecoder().decode(chunk)
    }
    assert.match(said, /^error: the (sandbox closed the connection|agent connection broke)/)
    assert.is((await program.exit).code, 255)
  }
  for (const sftp of sftps) {
    const error = await sftp.stat('/').catch((caught: unknown) => caught)
    assert.match(
      `${error}`,
      /^SftpError: the (sandbox closed the connection|agent connection broke)/,
    )
  }
}

test('128 clients and 1024 sessions outlive a relay that restarts and a sandbox that dies', async () => {
  const home = temporaryDirectory()
  const [inner, outer] = [join(home, 'guest.sock'), join(home, 'agent.sock')]
  const key = makeKey()
  await msb(['ssh', 'authorize', '--file', `${key}.pub`], { home })
  let guest = await startGuest(inner)
  let relay = await startRelay(home, inner, outer)
  const server = await serve(home, [`unix:${outer}`])
  const probe = await enter(server, key)
  assert.is((await probe.run('echo up')).text(), 'up\n')
  await probe.close()
  await eventually('the guest has settled', () => childrenOf(guest) === 0)
  const before = filesOf(server.child)

  const clients = await inGroups(Array.from({ length: CLIENTS }), () => enter(server, key))
  let busy = await inGroups(clients, begin)
  // What a guest does beside, such as making pipes, is over soon.
  await eventually('all programs run', () => childrenOf(guest) === CLIENTS * PROGRAMS)

  await end(relay, 'SIGKILL')
  await Promise.all(busy.map(checkLost))
  await eventually('the programs are gone', () => childrenOf(guest) === 0)
  await eventually(
    'the server holds connections alone',
    () => filesOf(server.child) <= before + CLIENTS,
  )

  rmSync(outer, { force: true })
  relay = await startRelay(home, inner, outer)
  busy = await inGroups(clients.slice(0, CLIENTS / 4), begin)
  const some = (CLIENTS / 4) * PROGRAMS
  await eventually('a quarter runs again', () => childrenOf(guest) === some)
  await end(guest, 'SIGKILL')
  await Promise.all(busy.map(checkLost))

  guest = await startGuest(inner)
  const answers = await inGroups(clients, (client) => client.run('echo back; exit 3'))
  for (const answer of answers) assert.equal([answer.text(), answer.code], ['back\n', 3])

  await Promise.all(clients.map((client) => client.close()))
  await eventually('the server has nothing open', () => filesOf(server.child) <= before)
  await eventually('nor the guest', () => childrenOf(guest) <= SPARE)
  assert.is(childrenOf(server.child), 0)
  assert.is((await server.stop()).code, 0)
  await end(relay, 'SIGTERM')
  await end(guest, 'SIGTERM')
})

test.run()
