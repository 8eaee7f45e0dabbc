// A real Linux under QEMU, with the guest program on a real virtio-serial port. Emulated in
// software it is slow, and needs nothing of the host's kernel.
// Time limit: 300 s

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { connectTo } from '../peers/connect.ts'
import { type Daemon, startDaemon } from '../peers/daemon.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { type Msb, msbCommand, startMsb } from '../peers/msb.ts'
import { freePort, OpenSsh } from '../peers/openssh.ts'
import { type Ran, type RunOptions, run } from '../peers/run.ts'
import { Terminal } from '../peers/terminal.ts'
import { guestsMissing } from './image.ts'
import { type Machine, startMachine } from './machine.ts'

const home = temporaryFolder()
const relaySocket = join(home, 'agent.sock')
const shared = `unix:${relaySocket}`
const PAYLOAD_BYTES = 3 * 1024 * 1024

/** Started by init, as a VMM's user would; the web server is there for forwarded connections. */
const START = `
mkdir /srv
echo 'a page of the guest' >/srv/index.html
httpd -p 127.0.0.1:8080 -h /srv
node /opt/msb-guest.mjs --virtio-serial`

let machine: Machine
/** The endpoint of the machine's console. */
let console: string
let relay: Daemon
let served: Msb
let openssh: OpenSsh

/** Runs `msb ssh SANDBOX -- COMMAND`. */
function msb(sandbox: string, command: string, options: RunOptions = {}): Promise<Ran> {
  return run(msbCommand([sandbox, '--', command]), { env: { MSB_HOME: home }, ...options })
}

async function text(sandbox: string, command: string): Promise<string> {
  const { code, stdout, stderr } = await msb(sandbox, command)
  assert.is(code, 0, stderr)
  return stdout.toString()
}

async function waitFor(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`still not: ${what}; ${machine.log()}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** A program that runs beside the test, and what it says. */
class Running {
  readonly child: ChildProcess
  readonly ended: Promise<number | null>
  stdout = ''
  stderr = ''

  constructor([program = '', ...args]: readonly string[]) {
    this.child = spawn(program, args, { env: { ...process.env, MSB_HOME: home } })
    this.child.stdin?.on('error', () => undefined)
    this.child.stdout?.on('data', (chunk) => {
      this.stdout += chunk
    })
    this.child.stderr?.on('data', (chunk) => {
      this.stderr += chunk
    })
    this.ended = new Promise((resolve) => this.child.once('close', resolve))
  }
}

function guestTests(): void {
  test.before(() => {
    machine = startMachine({ start: START })
    console = `virtio-serial:${machine.console}`
  })

  test.after(async () => {
    await served?.daemon.stop()
    await relay?.stop()
    await machine?.stop()
  })

  test('the guest boots for the first client, and is there again for the next', async () => {
    assert.match(await text(console, 'uname -r'), /-cloud-amd64\n$/)
    const { code, stdout, stderr } = await msb(console, 'cat; echo to stderr >&2; exit 7', {
      stdin: 'through a real port\n',
    })
    assert.equal([code, stdout.toString(), stderr], [7, 'through a real port\n', 'to stderr\n'])
    assert.match(machine.log(), /^(?!.*error)/s)
  })

  test('a server in front of the port: OpenSSH runs programs and copies files', async () => {
    const server = await startMsb(console, home)
    const ssh = new OpenSsh(server)
    const data = bytes(PAYLOAD_BYTES)
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'up'), data)
    const { code, stdout } = await ssh.ssh('cat; exit 3', { stdin: data })
    assert.equal([code, sha256(stdout)], [3, sha256(data)])
    const copied = await ssh.sftp([`put ${folder}/up /tmp/copy`, `get /tmp/copy ${folder}/down`])
    assert.is(copied.code, 0, copied.stderr)
    assert.is(await ssh.text('sha256sum </tmp/copy'), `${sha256(data)}  -\n`)
    assert.is(sha256(readFileSync(join(folder, 'down'))), sha256(data))
    // While the server uses the port, who cannot share it is told how to.
    const user = new Running(ssh.command([], ['echo up; cat']))
    await waitFor('the port is in use', () => user.stdout.length > 0)
    const refused = await msb(console, 'true')
    user.child.stdin?.end()
    assert.is(await user.ended, 0)
    assert.is(refused.code, 1)
    assert.match(refused.stderr, /in use by another process.*msb ssh relay virtio-serial:/)
    await server.daemon.stop()
  })

  test('a relay shares the port: a server, and clients beside it', async () => {
    const command = msbCommand(['relay', console, '--listen', relaySocket])
    relay = (await startDaemon(command, /Relaying/, { MSB_HOME: home })).daemon
    served = await startMsb(shared, mkdtempSync(join(home, 'serve-')))
    openssh = new OpenSsh(served)
    const kernels = await Promise.all([
      text(shared, 'uname -r'),
      text(shared, 'uname -r'),
      openssh.text('uname -r'),
    ])
    for (const kernel of kernels) assert.match(kernel, /-cloud-amd64\n$/)
  })

  test('a shell in a terminal', async () => {
    for (const command of [openssh.command(['-tt']), msbCommand([shared])]) {
      const terminal = new Terminal(command, 91, 37)
      terminal.type("PS1=; echo 're''ady'\n")
      await terminal.expect(/ready\r\n/)
      terminal.type('tty; stty size\n')
      await terminal.expect(/\/dev\/pts\/\d+\r\n37 91\r\n/)
      terminal.resize(120, 50)
      terminal.type('sh -c \'echo run""ning; exec sleep 100\'\n')
      await terminal.expect(/running\r\n/)
      terminal.type('\x03')
      terminal.type('stty size\n')
      await terminal.expect(/50 120\r\n/)
      terminal.type('exit 9\n')
      assert.is(await terminal.exited, 9)
    }
  })

  test('connections are forwarded to servers inside', async () => {
    const port = await freePort()
    const { daemon } = await startDaemon(
      openssh.command(['-N', '-o', 'LogLevel=DEBUG1', '-L', `${port}:127.0.0.1:8080`]),
      /Entering interactive session/,
    )
    const pages = await Promise.all(Array.from({ length: 4 }, () => fetchPage(port)))
    for (const page of pages) assert.match(page, /\r\n\r\na page of the guest\n$/)
    await daemon.stop()
    const refused = await run(openssh.command(['-o', 'LogLevel=INFO', '-W', '127.0.0.1:1']))
    assert.match(refused.stderr, /connect failed.*Connection refused/)
  })

  test('two connections at once, one of which reads nothing of what it asked for', async () => {
    const stalled = await connectTo(served)
    const idle = await connectTo(served)
    await idle.exec('cat /dev/zero')
    // And one beside the server, stopped with everything that it has not read.
    const frozen = new Running(msbCommand([shared, '--', 'echo started; cat /dev/zero']))
    await waitFor('it has started', () => frozen.stdout.length > 0)
    frozen.child.kill('SIGSTOP')
    const endless = await stalled.exec('cat /dev/zero')
    assert.is((await endless.stdout.getReader().read()).value?.[0], 0)
    const data = bytes(PAYLOAD_BYTES)
    const [copied, again] = await Promise.all([
      openssh.ssh('cat', { stdin: data }),
      (await connectTo(served)).run('cat', { stdin: data }),
    ])
    assert.is(sha256(copied.stdout), sha256(data))
    assert.is(sha256(again.stdout), sha256(data))
    await stalled.close()
    await idle.close()
    frozen.child.kill('SIGKILL')
    await waitFor('nothing is left of them', async () => {
      return (await text(shared, "ps -o args | grep -c '[/]dev/zero' || true")) === '0\n'
    })
  })

  test('reset in the middle: every session ends with an error, and the next finds the guest', async () => {
    const first = new Running(openssh.command([], ['echo up; cat']))
    const second = new Running(msbCommand([shared, '--', 'echo up; cat /dev/zero']))
    const upload = new Running(msbCommand([shared, '--', 'echo up; cat >/dev/null']))
    const running = [first, second, upload]
    await waitFor('all three run', () => running.every(({ stdout }) => stdout.length > 0))
    const endless = setInterval(() => upload.child.stdin?.write(bytes(64 * 1024)), 1)
    machine.reset()
    const codes = await Promise.all(running.map(({ ended }) => ended))
    clearInterval(endless)
    assert.equal(codes, [255, 255, 255])
    for (const { stderr } of running) assert.match(stderr, /restarted/)
    const { code, stdout, stderr } = await msb(shared, 'uname -r; ls /tmp')
    assert.is(code, 0, stderr)
    assert.match(stdout.toString(), /^\S+-cloud-amd64\n$/)
    assert.is(await openssh.text('echo again'), 'again\n')
  })

  test('a reboot from inside', async () => {
    const { code, stderr } = await openssh.ssh('reboot -f; sleep 60')
    assert.is(code, 255)
    assert.match(stderr, /restarted/)
    assert.is(await openssh.text('echo again'), 'again\n')
  })

  test('the machine is switched off: that is said, at once', async () => {
    const running = new Running(openssh.command([], ['echo up; cat']))
    await waitFor('it runs', () => running.stdout.length > 0)
    await machine.stop()
    assert.is(await running.ended, 255)
    const { code, stderr } = await msb(shared, 'true')
    assert.is(code, 255)
    assert.match(stderr, /^error: .*closed the connection before its handshake/)
    assert.match(relay.log(), /: nothing listens on .*agent\.sock|no socket at .*agent\.sock/)
  })
}

/** What the guest's web server says, through a forwarded port. */
function fetchPage(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp(port, '127.0.0.1', () => socket.write('GET / HTTP/1.0\r\n\r\n'))
    let page = ''
    socket.setEncoding('latin1').on('data', (chunk) => {
      page += chunk
    })
    socket.once('error', reject).once('end', () => resolve(page))
  })
}

const missing = guestsMissing()
if (missing === undefined) guestTests()
else test.skip(`a guest under QEMU: ${missing}`, () => {})

test.run()
