/** A virtual machine's console shared on a socket, with a stand-in for QEMU's end of it. */
// Also on: bun
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { nodeSocket } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AgentClient } from '../../src/agent/client.ts'
import { listenRelay, type RelayServer } from '../../src/carriers/relay-socket.ts'
import { dialUnix } from '../../src/carriers/unix.ts'
import { guestAgent } from '../../src/guest/agent.ts'
import { GuestConsole } from '../../src/guest/console.ts'
import { SandboxError } from '../../src/home/errors.ts'
import type { Home } from '../../src/home/home.ts'
import { findPrograms } from '../../src/local/programs.ts'
import { sandbox } from '../../src/sandbox.ts'
import { readUntil, textOf } from '../guest/connect.ts'
import { temporaryDirectory, temporaryHome } from '../home/temporary.ts'
import { rejection } from '../rejection.ts'
import { within } from '../within.ts'

const PATIENT_MS = 20_000

/**
 * QEMU's side: a chardev socket takes one connection after another, the rest wait; the guest's port
 * is whatever guest is plugged in, and a reset of the guest does not close the host's connection.
 */
class Machine {
  readonly path: string = join(temporaryDirectory(), 'console.sock')
  guest: GuestConsole = new GuestConsole(() => guestAgent())
  readonly #server: Server
  readonly #waiting: Socket[] = []
  #current: Socket | undefined
  #bytesIn: ((chunk: Uint8Array) => void) | undefined

  constructor() {
    this.#server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => undefined)
      this.#waiting.push(socket)
      if (this.#current === undefined) this.#next()
    })
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(this.path, resolve))
    return this
  }

  get hosts(): number {
    return this.#waiting.length + (this.#current === undefined ? 0 : 1)
  }

  #next(): void {
    const socket = this.#waiting.shift()
    this.#current = socket
    if (socket === undefined) return
    const host = nodeSocket(socket)
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    let ended = false
    const pending: Uint8Array[] = []
    this.#bytesIn = (chunk) => pending.push(chunk)
    void (async () => {
      for (let chunk = await host.read(); chunk !== undefined; chunk = await host.read()) {
        this.#bytesIn?.(chunk)
      }
      ended = true
      this.#bytesIn?.(new Uint8Array(0))
      await host.close()
    })().catch(() => {
      ended = true
      this.#bytesIn?.(new Uint8Array(0))
    })
    const plug = (guest: GuestConsole): void => {
      const queue = pending.splice(0)
      let wake = (): void => undefined
      let unplugged = false
      this.#bytesIn = (chunk) => {
        queue.push(chunk)
        wake()
      }
      this.unplug = () => {
        unplugged = true
        wake()
      }
      void guest.serve({
        read: async () => {
          for (;;) {
            const chunk = unplugged ? undefined : queue.shift()
            if (chunk !== undefined && chunk.length > 0) return chunk
            if (unplugged || ended) return undefined
            await new Promise<void>((resolve) => {
              wake = resolve
            })
          }
        },
        write: (chunk) => (unplugged ? Promise.resolve() : host.write(chunk)),
        close: () => Promise.resolve(),
        abort: () => undefined,
      })
    }
    this.plug = plug
    plug(this.guest)
    void closed.then(() => this.#next())
  }

  unplug: () => void = () => undefined
  plug: (guest: GuestConsole) => void = () => undefined

  /** The guest starts anew, and the host's connection to its port stays. */
  reset(): void {
    this.unplug()
    this.guest.close()
    this.guest = new GuestConsole(() => guestAgent())
    this.plug(this.guest)
  }

  /** Power off: the process of the machine is gone, and with it the socket. */
  stop(): void {
    this.guest.close()
    this.#server.close()
    this.#current?.destroy()
    for (const socket of this.#waiting) socket.destroy()
  }
}

async function relayOf(
  machine: Machine,
  home: Home = temporaryHome(),
): Promise<{ relay: RelayServer; path: string; failures: string[] }> {
  const path = join(temporaryDirectory(), 'agent.sock')
  const failures: string[] = []
  const relay = await listenRelay(`virtio-serial:${machine.path}`, path, {
    home,
    onClientFailure: (why) => failures.push(why),
  })
  return { relay, path, failures }
}

async function connect(path: string): Promise<AgentClient> {
  return within(PATIENT_MS, async () => AgentClient.connect(await dialUnix(path)))
}

async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await rejection(work)
  return error instanceof SandboxError ? `${error.code}: ${error.message}` : String(error)
}

test('one console serves a process directly, any number of connections, again and again', async () => {
  const machine = await new Machine().start()
  const home = temporaryHome()
  const box = sandbox(`virtio-serial:${machine.path}`, { home })
  for (let round = 0; round < 2; round++) {
    const agents = await within(PATIENT_MS, () =>
      Promise.all([box.connectAgent(), box.connectAgent(), box.connectAgent()]),
    )
    assert.is(machine.hosts, 1)
    for (const agent of agents) await agent.ping()
    await Promise.all(agents.map((agent) => agent.close()))
  }
  await within(PATIENT_MS, async () => {
    while (machine.hosts > 0) await new Promise((resolve) => setImmediate(resolve))
  })
  machine.stop()
})

test('a relay shares it among processes, and its socket is the owner’s alone', async () => {
  const machine = await new Machine().start()
  const home = temporaryHome()
  const { relay, path, failures } = await relayOf(machine, home)
  assert.is(statSync(path).mode & 0o777, 0o600)
  const [one, two] = [await connect(path), await connect(path)]
  const program = await one.exec({ command: 'echo', args: ['shared'] })
  assert.is(await textOf(program), 'shared\n')
  await two.ping()
  // The console is the relay's: whoever else wants it is told how to get it.
  const other = sandbox(`virtio-serial:${machine.path}`, { home })
  assert.match(
    await refusal(other.connectAgent()),
    /^SANDBOX_UNREACHABLE: .* is in use by another process; .*msb ssh relay virtio-serial:/,
  )
  await one.close()
  await two.close()
  assert.equal(failures, [])
  await relay.close()
  assert.not(existsSync(path))
  machine.stop()
})

test('a guest that restarts ends its sessions with the reason, and the next ones work', async () => {
  const machine = await new Machine().start()
  const { relay, path } = await relayOf(machine)
  const before = await connect(path)
  const program = await before.exec({ command: 'sh', args: ['-c', 'echo up; exec cat'] })
  await readUntil(program, 'up\n')
  machine.reset()
  // Whatever is sent next meets a guest that knows nothing of it.
  before.ping().catch(() => undefined)
  assert.is((await within(PATIENT_MS, () => before.closed))?.kind, 'closed')
  const after = await connect(path)
  await after.ping()
  await after.close()
  await relay.close()
  machine.stop()
})

test('a machine that is gone is told so, and one that comes back is met', async () => {
  const machine = await new Machine().start()
  const { relay, path, failures } = await relayOf(machine)
  const agent = await connect(path)
  machine.stop()
  assert.is((await within(PATIENT_MS, () => agent.closed))?.kind, 'closed')
  const refused = await rejection(connect(path))
  assert.match(String(refused), /closed the connection before its handshake/)
  assert.match(failures.at(-1) ?? '', /no socket at|nothing listens/)
  await relay.close()
})

test('a relay that restarts takes the place of the dead one, but of nothing else', async () => {
  const machine = await new Machine().start()
  const { node } = findPrograms()
  const path = join(temporaryDirectory(), 'agent.sock')
  // A listener that is killed leaves its socket behind.
  const script = `require('net').createServer().listen(${JSON.stringify(path)},()=>process.kill(process.pid,'SIGKILL'))`
  const dead = spawn(node, ['-e', script])
  await new Promise((resolve) => dead.once('exit', resolve))
  assert.ok(statSync(path).isSocket())
  const endpoint = `virtio-serial:${machine.path}`
  const relay = await listenRelay(endpoint, path, { home: temporaryHome() })
  const agent = await connect(path)
  await agent.ping()
  const again = listenRelay(endpoint, path, { home: temporaryHome() })
  assert.match(await refusal(again), /^HOME_UNUSABLE: cannot listen on .*: it is in use$/)
  await relay.close()
  assert.is((await within(PATIENT_MS, () => agent.closed))?.kind, 'closed')
  const file = join(temporaryDirectory(), 'file')
  writeFileSync(file, 'precious')
  await rejection(listenRelay(endpoint, file, { home: temporaryHome() }))
  assert.is(readFileSync(file, 'utf8'), 'precious')
  machine.stop()
})

test('endpoints that take many connections are dialled for each client', async () => {
  const { node, guest } = findPrograms()
  const path = join(temporaryDirectory(), 'agent.sock')
  const failures: string[] = []
  const options = { home: temporaryHome(), onClientFailure: (why: string) => failures.push(why) }
  const relay = await listenRelay(`stdio:'${node}' '${guest}' --stdio`, path, options)
  const [one, two] = await Promise.all([connect(path), connect(path)])
  const pids = await Promise.all(
    [one, two].map(async (agent) =>
      textOf(await agent.exec({ command: 'sh', args: ['-c', 'echo $PPID'] })),
    ),
  )
  assert.is.not(pids[0], pids[1])
  await one.close()
  await two.close()
  await relay.close()
  const failing = await listenRelay('unix:/no/such.sock', path, options)
  await rejection(connect(path))
  assert.equal(failures, ['no socket at /no/such.sock'])
  await failing.close()
})

test('an agent that never comes up is given up, and asked again by the next client', async () => {
  const silent = createServer((socket) => socket.on('error', () => undefined))
  const console = join(temporaryDirectory(), 'console.sock')
  await new Promise<void>((resolve) => silent.listen(console, resolve))
  silent.unref()
  const path = join(temporaryDirectory(), 'agent.sock')
  const failures: string[] = []
  const relay = await listenRelay(`virtio-serial:${console}`, path, {
    home: temporaryHome(),
    bootMs: 30,
    onClientFailure: (why) => failures.push(why),
  })
  for (let round = 1; round <= 2; round++) {
    await rejection(connect(path))
    assert.is(failures.length, round)
    assert.match(failures.at(-1) ?? '', /within 30 ms/)
  }
  await relay.close()
  silent.close()
})

test.run()
