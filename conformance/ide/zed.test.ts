// What Zed does with a remote host: one connection that only waits (`-N`, ControlMaster=yes), and
// every command, upload, terminal and forward through it. It asks for the system and the shell,
// uploads a compressed server by sftp, unpacks it, moves it to its place and speaks with it over
// stdin and stdout; when the connection is lost it finds the same server again. All as an ordinary
// user, and each command begins with `cd`, so that it is at home.
// Time limit: 120 s

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { temporaryFolder } from '../peers/folder.ts'
import { missing } from '../peers/installed.ts'
import { freePort } from '../peers/openssh.ts'
import { output, type Ran } from '../peers/run.ts'
import { Terminal } from '../peers/terminal.ts'
import { agentBox, type Box, NO_USER, type Program } from './box.ts'

const programs = missing('openssh-client bubblewrap curl', ['ssh', 'sftp', 'scp', 'bwrap', 'curl'])
const found: Box | undefined = programs === undefined ? await agentBox() : undefined
const absent = programs ?? (found?.user === undefined ? NO_USER : undefined)
const add = absent === undefined ? test : test.skip
if (absent !== undefined) console.log(`skipped: ${absent}`)

const started: ChildProcess[] = []
test.after(async () => {
  for (const child of started) child.kill('SIGKILL')
  await found?.stop()
})

const folder = temporaryFolder()
const control = join(folder, 'ssh.sock')
const shared = ['-o', 'ControlMaster=no', '-o', `ControlPath=${control}`]

/** Opens the connection that all others share; it is there when its stdout ends. */
async function openMaster({ command, user = '' }: Box): Promise<ChildProcess> {
  const options = ['-N', '-o', 'ControlPersist=no', '-o', 'ControlMaster=yes', '-o']
  const [program = '', ...args] = command('ssh', [...options, `ControlPath=${control}`, user])
  const master = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  started.push(master)
  await text(master.stdout)
  return master
}

/** A program through the shared connection. */
function through({ run }: Box, program: Program, args: string[], stdin?: string): Promise<Ran> {
  return run(program, [...shared, ...args], stdin)
}

/** A command, which must succeed. */
async function tell(box: Box, command: string): Promise<string> {
  const { code, stdout, stderr } = await through(box, 'ssh', [box.user ?? '', '-T', command])
  assert.is(code, 0, `${command}: ${stderr}`)
  return stdout.toString()
}

/**
 * Its server: `version`, a proxy that joins stdin and stdout to a server that goes on, of which this
 * one is told only by its identifier, and something on a port.
 */
function serverProgram(node: string): string {
  return `#!${node}
const { spawn } = require('node:child_process')
const { createServer, connect } = require('node:net')
const [, self, command, , identifier, reconnect] = process.argv
const socket = process.env.HOME + '/.zed_server/' + identifier + '.sock'
if (command === 'version') {
  console.log('1.2.3')
} else if (command === 'run') {
  require('node:fs').writeFileSync(process.env.HOME + '/.zed_server/pid', String(process.pid))
  let count = 0
  createServer((client) => {
    let asked = ''
    client.on('data', (bytes) => {
      asked += bytes.toString('hex')
      if (asked.length < 512) return
      client.write(++count + ':' + process.env.RUST_LOG + ':' + asked + '\\n')
      asked = ''
    })
  }).listen(socket)
} else {
  if (reconnect === undefined) {
    spawn(self, ['run', '--identifier', identifier], { detached: true, stdio: 'ignore' }).unref()
  }
  const join = () => {
    const client = connect(socket, () => {
      process.stdin.pipe(client)
      client.pipe(process.stdout)
    }).on('error', () => setTimeout(join, 50))
  }
  join()
}
`
}

const place = '.zed_server/zed-remote-server-stable-1.2.3'

/** Speaks with the server, as long as the returned process lives. */
function startProxy({ command, user = '' }: Box, more = ''): ChildProcess {
  const words = `cd; env RUST_LOG='info' ${place} proxy --identifier one${more}`
  const [program = '', ...args] = command('ssh', [...shared, user, '-T', words])
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  started.push(child)
  return child
}

async function ask({ stdin, stdout }: ChildProcess, bytes: Uint8Array): Promise<string> {
  let answer = ''
  const whole = new Promise<void>((resolve) => {
    stdout?.on('data', (chunk: Buffer) => {
      answer += chunk
      if (answer.endsWith('\n')) resolve()
    })
  })
  stdin?.write(bytes)
  await whole
  return answer
}

async function over(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    await new Promise((resolve) => child.once('close', resolve))
  }
}

add('a server is uploaded, spoken with, lost and found again; terminals and ports', async () => {
  const box = found as Box
  const { user = '', node, command } = box
  const master = await openMaster(box)
  // Is it Windows? Which shell, which system, is the server there already?
  const windows = await through(box, 'ssh', [user, '-T', 'cd; cmd /c ver'])
  assert.is(windows.code, 127, windows.stderr)
  assert.is(await tell(box, "cd; sh -c 'echo $SHELL'"), '/bin/bash\n')
  assert.match(await tell(box, 'cd; uname -sm'), /^Linux \S+\n$/)
  assert.is((await through(box, 'ssh', [user, `cd; ${place} version`])).code, 127)

  await tell(box, 'cd; mkdir -p .zed_server')
  const local = join(folder, 'server.gz')
  writeFileSync(local, gzipSync(serverProgram(node)))
  const part = `${place}-download-1`
  const put = await through(box, 'sftp', ['-b', '-', user], `put ${local} ${part}.gz\n`)
  assert.is(put.code, 0, put.stderr)
  await tell(box, `cd; sh -c 'gunzip -f ${part}.gz && chmod 755 ${part} && mv ${part} ${place}'`)
  assert.is(await tell(box, `cd; ${place} version`), '1.2.3\n')
  // An extension is a folder; by sftp, or by scp where that fails.
  const extension = join(folder, 'extension')
  mkdirSync(join(extension, 'deep'), { recursive: true })
  writeFileSync(join(extension, 'deep', 'file'), 'deep')
  const tree = `put -r "${extension}" ".zed_server/by-sftp"\n`
  assert.is((await through(box, 'sftp', ['-b', '-', user], tree)).code, 0)
  const copied = await through(box, 'scp', [
    ...['-C', '-r', extension, `${user}:.zed_server/by-scp`],
  ])
  assert.is(copied.code, 0, copied.stderr)
  assert.is(await tell(box, 'cd .zed_server; cat by-s*/deep/file'), 'deepdeep')

  const proxy = startProxy(box)
  const bytes = Uint8Array.from({ length: 256 }, (_, index) => index)
  const hex = Buffer.from(bytes).toString('hex')
  assert.is(await ask(proxy, bytes), `1:info:${hex}\n`)
  // A terminal of the editor, beside it.
  const words = `cd "$HOME/.zed_server" && exec env ZED_TERM='a b' /bin/bash -l`
  const shell = new Terminal(command('ssh', [...shared, user, '-q', '-t', words]), 91, 37)
  await shell.expect(/[$#] $/)
  shell.type('echo "$ZED_TERM"; stty size; basename "$PWD"; exit 5\r')
  await shell.expect(/a b\r\n37 91\r\n\.zed_server\r\n/)
  assert.is(await shell.exited, 5)
  // A port that something inside listens on.
  const listening = `cd; ${node} -e 'require("http").createServer((q, a) => a.end("in")).listen(0,
    "127.0.0.1", function () { console.log(this.address().port) })'`.replace('\n', ' ')
  const [program = '', ...args] = command('ssh', [...shared, user, '-T', listening])
  const server = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  started.push(server)
  const inside = await new Promise((resolve) => server.stdout.once('data', resolve))
  const port = await freePort()
  const to = `${port}:127.0.0.1:${String(inside).trim()}`
  const [forwarder = '', ...rest] = command('ssh', [...shared, user, '-N', '-L', to])
  const forward = spawn(forwarder, rest, { stdio: 'ignore' })
  started.push(forward)
  const curl = ['curl', '-sS', '-m', '30', '--retry', '20', '--retry-connrefused']
  assert.is(await output([...curl, '--retry-delay', '1', `http://127.0.0.1:${port}/`]), 'in')

  // The connection is lost; the server and what it knows are not.
  master.kill('SIGKILL')
  await Promise.all([master, proxy].map(over))
  await openMaster(box)
  const again = startProxy(box, ' --reconnect')
  assert.is(await ask(again, bytes), `2:info:${hex}\n`)
  await tell(box, 'cd; kill "$(cat .zed_server/pid)"')
})

test.run()
