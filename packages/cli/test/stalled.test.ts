/**
 * Clients that do not read: what the server holds for them is bounded, the programs stand still, and
 * nobody else notices. With our guest, which waits to be asked for output, and with an agent like
 * microsandbox's, which never waits.
 */
// Time limit: 240 s
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { guestAgent } from '../../sandbox-bridge/src/guest/agent.ts'
import { listenRelay } from '../../sandbox-bridge/src/guest/relay.ts'
import { finished, msb, temporaryDirectory } from './msb.ts'
import { endServers, makeKey, options, serve, ssh } from './serving.ts'

test.after(endServers)

const STALLED = 6
/** What each asks for: all together, far more than is ever held. */
const BYTES = 50_000_000
/** Six clients with windows of two megabytes, and a collector that takes its time. */
const GROWTH_BYTES_MAX = 96 * 1024 * 1024
const PATIENT_MS = 60_000

function memoryOf({ pid }: ChildProcess): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024
}

/** Processor time that a process has used, in ticks. */
function ticksOf(pid: number): number {
  const [, rest = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')
  const fields = rest.split(' ')
  return Number(fields[11]) + Number(fields[12])
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** The programs that our guest, which is this process, has started. */
function programs(): readonly number[] {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
  return children.split(' ').map(Number).filter(isOutput)
}

function isOutput(pid: number): boolean {
  try {
    return pid > 0 && readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('head\0')
  } catch {
    // It has ended meanwhile.
    return false
  }
}

/** Resolves once there are that many, none of which has computed for a while. */
async function standStill(count: number): Promise<void> {
  const deadline = Date.now() + PATIENT_MS
  let [last, since] = ['', Date.now()]
  while (Date.now() - since < 1000) {
    if (Date.now() > deadline) throw new Error(`they go on and on: ${last}`)
    await pause(50)
    const pids = programs()
    const now = pids.map((pid) => `${pid} ${ticksOf(pid)}`).join()
    if (now !== last || pids.length !== count) [last, since] = [now, Date.now()]
  }
}

for (const [name, features] of [
  ['our guest', undefined],
  ["an agent like microsandbox's", []],
] as const) {
  test(`${name}: stalled clients are bounded, others are served, and go on where they stood`, async () => {
    const home = temporaryDirectory()
    const socket = join(home, 'agent.sock')
    const guest = guestAgent({
      env: { PATH: process.env['PATH'], HOME: home },
      ...(features === undefined ? {} : { features }),
    })
    const relay = await listenRelay(guest, { path: socket })
    const key = makeKey()
    await msb(['ssh', 'authorize', '--file', `${key}.pub`], { home })
    const server = await serve(home, [`unix:${socket}`])
    assert.is((await ssh(server.port, 'true', key)).code, 0)

    const start = (command: string): ChildProcess => {
      const to = ['-p', `${server.port}`, 'root@127.0.0.1', command]
      return spawn('ssh', [...options(key), ...to], { stdio: ['pipe', 'pipe', 'inherit'] })
    }
    const before = memoryOf(server.child)
    // Each on a connection of its own; nobody reads the pipe behind ssh.
    const command = `exec head -c ${BYTES} /dev/zero`
    const stalled = Array.from({ length: STALLED }, () => start(command))
    await standStill(STALLED)
    const growth = memoryOf(server.child) - before
    assert.ok(growth < GROWTH_BYTES_MAX, `${Math.round(growth / 1024)} KiB more`)

    const stranger = await ssh(server.port, 'head -c 4000000 /dev/zero; exit 3', key)
    assert.equal([stranger.code, stranger.stdout.length], [3, 4_000_000])

    for (const result of await Promise.all(stalled.map(finished))) {
      assert.equal([result.code, result.stdout.length], [0, BYTES])
    }
    await server.stop()
    await relay.close()
  })
}

test.run()
