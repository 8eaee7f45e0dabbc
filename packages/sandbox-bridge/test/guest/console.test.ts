/** The guest program as the agent of a machine: its port, its device, its bootstrap. */
// Also on: bun
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { memoryPair, type Transport } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AgentClient } from '../../src/agent/client.ts'
import { openDevice } from '../../src/carriers/device.ts'
import { bootSettings } from '../../src/guest/console.ts'
import { openTerminal, type Terminal } from '../../src/guest/pty.ts'
import { Source } from '../../src/guest/source.ts'
import { awaitPort, findPort } from '../../src/guest/virtio-serial.ts'
import { SandboxError } from '../../src/home/errors.ts'
import { findPrograms } from '../../src/local/programs.ts'
import { AgentRelay } from '../../src/relay/relay.ts'
import { temporaryDirectory } from '../home/temporary.ts'
import { rejection } from '../rejection.ts'
import { within } from '../within.ts'
import { textOf } from './connect.ts'

const { node, guest: program } = findPrograms()

/** Runs the guest program to its end. */
async function run(...args: readonly string[]): Promise<{ code: number | null; stderr: string }> {
  const child = spawn(node, [program, ...args], { env: { PATH: '/nowhere' } })
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, stderr }
}

/** A serial line: one end is a device of this system, the other a transport. */
function serialLine(): { readonly path: string; readonly host: Transport; close(): void } {
  const terminal: Terminal = openTerminal(80, 24)
  const source = new Source(terminal.output)
  // As the one who makes a line for a machine does: nobody is there yet, and nothing echoes.
  spawnSync('stty', ['raw', '-echo'], { stdio: [terminal.slave, 'ignore', 'ignore'] })
  return {
    path: readlinkSync(`/proc/self/fd/${terminal.slave}`),
    host: {
      read: () => source.next(),
      write: async (chunk) => {
        const error = await terminal.write(chunk)
        if (error instanceof Error) throw error
      },
      close: () => Promise.resolve(),
      abort: () => source.destroy(),
    },
    close: () => terminal.close(),
  }
}

test('a port is found by its name, when it appears', async () => {
  const folder = temporaryDirectory()
  const places = { ports: join(folder, 'ports'), devices: '/dev' }
  assert.is(findPort('agent', places), undefined)
  for (const [entry, name] of [
    ['vport0p1', 'org.qemu.guest_agent.0'],
    ['vport1p2', 'agent'],
  ] as const) {
    mkdirSync(join(places.ports, entry), { recursive: true })
    writeFileSync(join(places.ports, entry, 'name'), `${name}\n`)
  }
  mkdirSync(join(places.ports, 'vport9p9'))
  assert.is(findPort('agent', places), '/dev/vport1p2')
  assert.is(await awaitPort('agent', { places }), '/dev/vport1p2')
  const missing = await rejection(awaitPort('other', { places, timeoutMs: 0 }))
  assert.match(String(missing), /no virtio-serial port named other in /)
})

test('a bootstrap says who programs are and where; what it has no hand in it names', () => {
  const fields = new Map<string, unknown>([
    ['user', 'ada'],
    ['default_cwd', '/srv'],
    [
      'default_env',
      [
        new Map([
          ['key', 'A'],
          ['value', '1'],
        ]),
        'odd',
        new Map([['key', 'B']]),
      ],
    ],
    ['hostname', 'box'],
    ['disk_mounts', []],
  ])
  const { user, cwd, env, ignored } = bootSettings(fields)
  assert.is(user, 'ada')
  assert.is(cwd, '/srv')
  assert.equal([...env], [['A', '1']])
  assert.equal(ignored, ['hostname', 'disk_mounts'])
  assert.equal(bootSettings(null).ignored, [])
  assert.is(bootSettings(new Map([['user', ' ']])).user, undefined)
})

test('the program serves a host on a character device, every byte as it is', async () => {
  const line = serialLine()
  const child = spawn(node, [program, '--device', line.path], { stdio: 'inherit' })
  try {
    const relay = await within(30_000, () => AgentRelay.open(line.host))
    const [ours, theirs] = memoryPair()
    void relay.serve(theirs)
    const agent = await AgentClient.connect(ours)
    const bytes = new Uint8Array(20_000).map((_, index) => index % 251)
    const cat = await agent.exec({ command: 'cat' })
    const written = cat.write(bytes).then(() => cat.end())
    const back: Uint8Array[] = []
    for (let chunk = await cat.read(); chunk !== undefined; chunk = await cat.read()) {
      back.push(chunk)
    }
    await written
    assert.equal(Buffer.concat(back).compare(bytes), 0)
    const pid = await textOf(await agent.exec({ command: 'sh', args: ['-c', 'echo $PPID'] }))
    assert.is(Number(pid), child.pid)
    await agent.close()
  } finally {
    child.kill('SIGTERM')
    await new Promise((resolve) => child.once('exit', resolve))
    line.close()
  }
})

test('a device that cannot be opened, a port that is missing, a runtime without vsock: said in a line', async () => {
  const none = await run('--device', '/dev/no-such-device')
  assert.is(none.code, 1)
  assert.match(none.stderr, /^error: cannot open \/dev\/no-such-device: .*\n$/)
  const vsock = await run('--vsock', '1024')
  assert.is(vsock.code, 1)
  assert.is(
    vsock.stderr,
    'error: this runtime has no vsock of its own, and socat is not installed\n',
  )
  const both = await run('--vsock', '1024', '--virtio-serial')
  assert.is(both.code, 2)
  assert.match(both.stderr, /^error: choose one carrier\nusage: /)
  assert.match((await run('--vsock', '4294967295')).stderr, /^error: not a vsock port/)
})

test('a device is closed with its transport, and cannot be had where there is none', async () => {
  assert.throws(
    () => openDevice('/no/such/device'),
    (error: unknown) => error instanceof SandboxError && error.code === 'SANDBOX_NOT_FOUND',
  )
  const device = openDevice('/dev/null')
  const transport = device.open()
  assert.is(await transport.read(), undefined)
  await transport.write(new Uint8Array(100_000))
  await transport.close()
  device.close()
})

test.run()
