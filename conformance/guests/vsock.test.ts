// vsock between two programs of one kernel, over its own loopback: Deno's own sockets, and socat's
// for Node. The kernels of most hosts have no such loopback; that of the guest under QEMU has.
// Time limit: 300 s

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { root } from '../../scripts/bundle.mjs'
import { msbPath } from '../../scripts/programs.ts'
import { bytes, sha256 } from '../data.ts'
import { type Daemon, startDaemon } from '../peers/daemon.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { missing } from '../peers/installed.ts'
import { msbCommand } from '../peers/msb.ts'
import { type Ran, type RunOptions, run } from '../peers/run.ts'
import { guestsMissing } from './image.ts'
import { type Machine, startMachine } from './machine.ts'

const deno = join(root, 'conformance/runtimes/node_modules/deno/deno')
const hasDeno = existsSync(deno)
const guestPath = join(root, 'packages/sandbox-bridge/dist/msb-guest.mjs')
/** This machine's own address, by its loopback. 2 is the hypervisor, and never asked. */
const LOCAL_CID = 1
const MEMORY_MIB = 1024
/** Runtimes are slow to start where a processor is emulated. */
const PATIENCE_MS = 120_000

/** How to run a program of ours on a runtime there. */
type Programs = Readonly<Record<'node' | 'deno', string>>
type Shell = (command: string, options?: RunOptions) => Promise<Ran>

const ports = { node: 1024, deno: 1025 } as const
const runtimes = hasDeno ? (['node', 'deno'] as const) : (['node'] as const)
const named = { node: 'Node through socat', deno: 'Deno' } as const

/** Every client to every guest. `shell` runs commands where they are, `on` is before `msb`. */
function vsockTests(where: string, shell: Shell, on: Programs, log: () => string): void {
  for (const client of runtimes) {
    for (const guest of runtimes) {
      test(`${where}, a client on ${named[client]} reaches a guest on ${named[guest]}`, async () => {
        const data = bytes(200_000)
        const endpoint = `vsock:${LOCAL_CID}:${ports[guest]}`
        const command = `${on[client]} ssh ${endpoint} -- 'sha256sum; exit 7'`
        const deadline = Date.now() + PATIENCE_MS
        for (;;) {
          const { code, stdout, stderr } = await shell(command, { stdin: data })
          // The machine is booting, or the guest's runtime is starting: nobody listens yet.
          const isEarly = (code === 1 || code === 255) && Date.now() < deadline
          if (isEarly) continue
          assert.is(code, 7, `${stderr}${log()}`)
          assert.is(stdout.toString(), `${sha256(data)}  -\n`)
          break
        }
      })
    }

    test(`${where}, a port nobody listens on is an error on ${named[client]}`, async () => {
      const command = `${on[client]} ssh vsock:${LOCAL_CID}:99 -- true`
      const { code, stdout, stderr } = await shell(command)
      assert.is(code, 1)
      assert.is(stdout.toString(), '')
      assert.match(stderr, /error: vsock:1:99: .*reset.*\n$/i)
    })
  }
}

function inGuest(): void {
  const home = temporaryFolder()
  const relaySocket = join(home, 'agent.sock')
  let machine: Machine
  let relay: Daemon | undefined
  const on: Programs = {
    node: 'node /opt/msb.mjs',
    deno: 'DENO_DIR=/tmp deno run -A --unstable-vsock /opt/msb.mjs',
  }
  const onDeno = `DENO_DIR=/tmp deno run -A --unstable-vsock /opt/msb-guest.mjs --vsock ${ports.deno} &`

  test.before(async () => {
    machine = startMachine(
      {
        // Guests on two ports, each kept by another runtime, and the one that the test talks to.
        start: `
node /opt/msb-guest.mjs --vsock ${ports.node} &
${hasDeno ? onDeno : ''}
node /opt/msb-guest.mjs --virtio-serial`,
        modules: ['vsock_loopback'],
        programs: ['socat', ...(hasDeno ? [deno] : [])],
        copies: { '/opt/msb.mjs': msbPath },
      },
      MEMORY_MIB,
    )
    const endpoint = `virtio-serial:${machine.console}`
    const command = msbCommand(['relay', endpoint, '--listen', relaySocket])
    relay = (await startDaemon(command, /Relaying/, { MSB_HOME: home })).daemon
  })

  test.after(async () => {
    await relay?.stop()
    await machine?.stop()
  })

  const shell: Shell = (command, options = {}) => {
    const env = { MSB_HOME: home }
    const line = msbCommand([`unix:${relaySocket}`, '--', command])
    return run(line, { env, limitMs: PATIENCE_MS, ...options })
  }
  vsockTests('in a guest', shell, on, () => machine.log())
}

/** On this machine itself, whose kernel has the loopback. */
function here(): void {
  const home = temporaryFolder()
  const guests: ChildProcess[] = []
  const on: Programs = {
    node: `'${process.execPath}' '${msbPath}'`,
    deno: `'${deno}' run -A --unstable-vsock '${msbPath}'`,
  }
  test.before(() => {
    for (const runtime of runtimes) {
      const program = runtime === 'node' ? process.execPath : deno
      const options = runtime === 'node' ? [] : ['run', '-A', '--unstable-vsock']
      const args = [...options, guestPath, '--vsock', `${ports[runtime]}`]
      guests.push(spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] }))
    }
  })
  test.after(() => {
    for (const guest of guests) guest.kill('SIGKILL')
  })
  const shell: Shell = (command, options = {}) =>
    run(['sh', '-c', command], { env: { MSB_HOME: home, DENO_DIR: home }, ...options })
  vsockTests('here', shell, on, () => '')
}

// Without the module, this address would be the hypervisor's to answer.
if (existsSync('/sys/module/vsock_loopback')) here()
else test.skip('vsock here: the kernel of this machine has no vsock_loopback', () => {})

const why = guestsMissing() ?? missing('socat', ['socat'])
if (why === undefined) inGuest()
else test.skip(`vsock in a guest under QEMU: ${why}`, () => {})

if (!hasDeno) test.skip('Deno is not installed (npm ci in conformance/runtimes)', () => {})

test.run()
