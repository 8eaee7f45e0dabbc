// What one gateway costs: the built `msb ssh serve` as a process of its own in front of several
// sandboxes, each a guest program on a Unix socket, and clients of ours in this process. Beside the
// rate it tells what the gateway itself used, by its CPU time and resident memory: that does not
// depend on how much of the machine the clients take. sshd is measured the same way where it can be.
//
//     npm run bench:gateway -- [--logins=200] [--idle=400] [--sessions=400] [--mib=512] [--only=idle]
//
// Linux only. Small by default; the figures in docs/scaling.md say with what they were made.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  type Client,
  certified,
  connect,
  generateKey,
  issueCertificate,
  nodeSocket,
  publickey,
  type Signer,
} from '@sandbox-ssh/protocol'
import { connectTo } from '../conformance/peers/connect.ts'
import { temporaryFolder } from '../conformance/peers/folder.ts'
import { type Sshd, startSshd } from '../conformance/peers/openssh.ts'
import { root } from '../scripts/bundle.mjs'
import { buildPrograms, msbPath } from '../scripts/programs.ts'
import { type Usage, usageOf } from './usage.ts'

const { values } = parseArgs({
  options: {
    logins: { type: 'string', default: '50' },
    idle: { type: 'string', default: '50' },
    sessions: { type: 'string', default: '50' },
    mib: { type: 'string', default: '64' },
    sandboxes: { type: 'string', default: '4' },
    only: { type: 'string', default: 'logins,sessions,bytes,idle' },
  },
})
const parts = new Set(values.only.split(','))
const count = {
  logins: Number(values.logins),
  idle: Number(values.idle),
  sessions: Number(values.sessions),
  bytes: Number(values.mib) * 1024 * 1024,
}
const names = Array.from({ length: Number(values.sandboxes) }, (_, index) => `box${index}`)
/** Clients at once, where many do something. */
const AT_ONCE = 8
const CHUNK = 32 * 1024

const home = temporaryFolder()
const key = generateKey('ed25519')
const authority = generateKey('ed25519')
const children: ChildProcess[] = []

/** Something that serves SSH, and what it uses. */
interface Server {
  readonly name: string
  readonly login: (index: number, signer?: Signer) => Promise<Client>
  readonly usage: () => Usage
  /** How a command writes so many zeros. */
  readonly flood: (bytes: number) => string
}

async function startGuest(name: string): Promise<string> {
  const socket = join(home, `${name}.sock`)
  const guest = join(root, 'packages/cli/dist/msb-guest.mjs')
  const child = spawn(process.execPath, [guest, '--relay', socket], { stdio: 'ignore' })
  children.push(child)
  while (!existsSync(socket)) await new Promise((go) => setTimeout(go, 20))
  return `${name}=unix:${socket}`
}

async function startGateway(): Promise<Server> {
  mkdirSync(join(home, 'ssh'), { recursive: true, mode: 0o700 })
  const lines = `${key.publicKey}\ncert-authority,principals="bench" ${authority.publicKey}\n`
  writeFileSync(join(home, 'ssh', 'authorized_keys'), lines, { mode: 0o600 })
  const sandboxes = await Promise.all(names.map(startGuest))
  const limits = ['--max-connections', '20000', '--max-per-sandbox', '20000']
  const args = ['ssh', 'serve', ...sandboxes, '--port', '0', ...limits, '--no-inactivity-timeout']
  const env = { ...process.env, MSB_HOME: home }
  const child = spawn(process.execPath, [msbPath, ...args], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  children.push(child)
  let said = ''
  while (!/SSH listening \S+:\d+\n/.test(said)) {
    if (child.exitCode !== null) throw new Error(said)
    const [data] = (await Promise.race([once(child.stderr, 'data'), once(child, 'exit')])) as [
      Buffer,
    ]
    said += data
  }
  const port = Number(/SSH listening \S+:(\d+)/.exec(said)?.[1])
  const { pid = 0 } = child
  return {
    name: 'gateway',
    usage: () => usageOf(pid),
    flood: (bytes) => `head -c ${bytes} /dev/zero`,
    login: (index, signer = key) =>
      connect(nodeSocket(connectTcp(port, '127.0.0.1')), {
        username: `root+${names[index % names.length]}`,
        hostKey: () => true,
        auth: [publickey(signer)],
      }),
  }
}

async function startOpenSsh(): Promise<{ readonly sshd: Sshd; readonly server: Server }> {
  const sshd = await startSshd(['MaxStartups 1000', 'MaxSessions 1000'])
  return {
    sshd,
    server: {
      name: 'sshd',
      usage: () => usageOf(sshd.daemon.process.pid ?? 0),
      flood: (bytes) => `head -c ${bytes} /dev/zero`,
      login: () => connectTo(sshd),
    },
  }
}

/** Does `one` for each index, `AT_ONCE` at a time. */
async function forEach(total: number, one: (index: number) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < total) await one(next++)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

function print(server: Server, what: string, figures: readonly string[]): void {
  process.stdout.write(`  ${server.name.padEnd(9)}${what.padEnd(38)}${figures.join('   ')}\n`)
}

const fixed = (value: number, digits = 1): string => value.toFixed(digits).padStart(8)

/** Logs in and out; with `command` also runs one. */
async function logins(server: Server, what: string, signer?: Signer, command = ''): Promise<void> {
  const one = async (index: number): Promise<void> => {
    const client = await server.login(index, signer)
    if (command !== '') await client.run(command)
    await client.close()
  }
  await forEach(AT_ONCE, one)
  const before = server.usage()
  const started = performance.now()
  await forEach(count.logins, one)
  const seconds = (performance.now() - started) / 1000
  // What a program used is known once it is gone.
  await new Promise((go) => setTimeout(go, 200))
  const cpu = ((server.usage().cpuSeconds - before.cpuSeconds) / count.logins) * 1000
  print(server, what, [`${fixed(count.logins / seconds)} /s`, `${fixed(cpu)} ms CPU each`])
}

/** Holds connections, and looks at what they add to memory, half of them and all. */
async function idle(server: Server, what: string): Promise<void> {
  const clients: Client[] = []
  const sizes = [server.usage().residentBytes]
  for (const part of [1, 2]) {
    await forEach(count.idle / 2, async (index) => {
      clients.push(await server.login(index))
    })
    await new Promise((go) => setTimeout(go, 1500 * part))
    sizes.push(server.usage().residentBytes)
  }
  const [none = 0, half = 0, all = 0] = sizes
  const kib = (from: number, to: number, connections: number): string =>
    fixed((to - from) / connections / 1024)
  print(server, what, [
    `${kib(none, all, count.idle)} KiB each`,
    `${kib(half, all, count.idle / 2)} KiB each of the second half`,
    `${fixed(all / 1024 / 1024)} MiB in all`,
  ])
  await Promise.all(clients.map((client) => client.close()))
}

/** Commands one after the other on connections that are open. */
async function sessions(server: Server): Promise<void> {
  const clients = await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => server.login(n)))
  const run = async (index: number): Promise<void> => {
    await clients[index % AT_ONCE]?.run('true')
  }
  await forEach(AT_ONCE, run)
  const before = server.usage()
  const started = performance.now()
  await forEach(count.sessions, run)
  const seconds = (performance.now() - started) / 1000
  const cpu = ((server.usage().cpuSeconds - before.cpuSeconds) / count.sessions) * 1000
  print(server, `\`true\` on ${AT_ONCE} open connections`, [
    `${fixed(count.sessions / seconds)} /s`,
    `${fixed(cpu)} ms CPU each`,
  ])
  await Promise.all(clients.map((client) => client.close()))
}

/** Bytes out of a sandbox, of so many connections at once. */
async function throughput(server: Server, connections: number): Promise<void> {
  const clients = await Promise.all(Array.from({ length: connections }, (_, n) => server.login(n)))
  const each = Math.ceil(count.bytes / connections)
  const drain = async (client: Client, bytes: number): Promise<void> => {
    const process = await client.exec(server.flood(bytes), { stderr: 'ignore' })
    let left = bytes
    for (let part = await process.read(); part !== undefined; part = await process.read()) {
      left -= part.length
    }
    if (left !== 0) throw new Error(`${left} bytes missing`)
  }
  await Promise.all(clients.map((client) => drain(client, CHUNK)))
  const before = server.usage()
  const started = performance.now()
  await Promise.all(clients.map((client) => drain(client, each)))
  const seconds = (performance.now() - started) / 1000
  const cpu = server.usage().cpuSeconds - before.cpuSeconds
  const total = each * connections
  print(server, `${values.mib} MiB out, ${connections} at once`, [
    `${fixed(total / seconds / 1024 / 1024)} MiB/s`,
    `${fixed((cpu / total) * 2 ** 30, 2)} s CPU for each GiB`,
  ])
  await Promise.all(clients.map((client) => client.close()))
}

await buildPrograms()
const certificate = await issueCertificate(authority, {
  ...{ key: key.publicKey, role: 'user', principals: ['bench'], keyId: 'bench' },
  validBeforeMs: Date.now() + 3_600_000,
})
try {
  const gateway = await startGateway()
  const { sshd, server: openssh } = await startOpenSsh()
  const cpu = `${cpus().length} × ${cpus()[0]?.model.trim()}`
  process.stdout.write(`Node ${process.versions.node}, ${cpu}, ${names.length} sandboxes\n\n`)
  if (parts.has('logins')) {
    await logins(gateway, 'logins by key')
    await logins(gateway, 'logins by certificate', certified(key, certificate))
    await logins(openssh, 'logins by key')
    await logins(gateway, 'logins, each with `true`', undefined, 'true')
    await logins(openssh, 'logins, each with `true`', undefined, 'true')
  }
  if (parts.has('sessions')) {
    await sessions(gateway)
    await sessions(openssh)
  }
  for (const connections of parts.has('bytes') ? [1, names.length] : []) {
    await throughput(gateway, connections)
    await throughput(openssh, connections)
  }
  if (parts.has('idle')) {
    await idle(gateway, `${count.idle} idle connections`)
    await idle(openssh, `${count.idle} idle connections`)
  }
  await sshd.daemon.stop()
} finally {
  for (const child of children) child.kill('SIGKILL')
}
// Clients hold on to nothing, but a socket may still be closing.
process.exit(0)
