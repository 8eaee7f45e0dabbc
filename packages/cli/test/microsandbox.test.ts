/** Working beside microsandbox's own program: its commands passed on, its sandboxes started. */

import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { finished, msb, msbEnv, start, temporaryDirectory } from './msb.ts'

const guest = fileURLToPath(new URL('../dist/msb-guest.mjs', import.meta.url))

/** Puts a shell script in the place of microsandbox's program. */
function install(home: string, script: string): void {
  mkdirSync(join(home, 'bin'))
  writeFileSync(join(home, 'bin', 'msb'), `#!/bin/sh\n${script}`)
  chmodSync(join(home, 'bin', 'msb'), 0o755)
}

/** Where the agent of the sandbox `box` is to listen. */
function agentSocket(home: string): string {
  const hash = createHash('sha256').update('box').digest('hex').slice(0, 24)
  const socket = join(home, 'run', 'sandboxes', hash, 'agent.sock')
  mkdirSync(dirname(socket), { recursive: true })
  mkdirSync(join(home, 'sandboxes', 'box'), { recursive: true })
  return socket
}

/** One that starts our guest as the agent of the sandbox `box`, and keeps a log. */
function installStarter(home: string): void {
  const socket = agentSocket(home)
  install(
    home,
    `echo "$*" >> '${home}/log'
case "$1" in
start) '${process.execPath}' '${guest}' --relay '${socket}' >/dev/null 2>&1 </dev/null &
  echo $! > '${home}/pid' ;;
stop) kill "$(cat '${home}/pid')" && rm -f '${home}/pid' '${socket}' ;;
esac
`,
  )
  process.once('exit', () => {
    if (existsSync(join(home, 'pid'))) process.kill(Number(readFileSync(join(home, 'pid'), 'utf8')))
  })
}

test('other commands are passed on with every argument, and their exit code back', async () => {
  const home = temporaryDirectory()
  install(home, 'for word; do echo "<$word>"; done; cat; exit 7\n')
  const args = ['run', '--help', 'alpine', '--', 'sh', '-c', 'echo  "a b"', '']
  const { code, stdout } = await msb(args, { home, input: 'stdin' })
  assert.is(code, 7)
  assert.is(stdout.toString(), `${args.map((word) => `<${word}>\n`).join('')}stdin`)
})

test('a signal that ends the program is told as a shell tells it, and one for us is passed on', async () => {
  const home = temporaryDirectory()
  install(home, 'echo up; exec sleep 60\n')
  const child = start(['pull', 'x'], home)
  child.stdout?.once('data', () => child.kill('SIGTERM'))
  assert.is((await finished(child)).code, 128 + 15)
})

test('without the program it says what to install', async () => {
  const home = temporaryDirectory()
  const { code, stdout, stderr } = await msb(['list'], { home })
  assert.is(code, 1)
  assert.is(stdout.length, 0)
  assert.match(stderr, /^error: msb list is a command of microsandbox, .*install microsandbox/)
})

test('a program that is this very one is not passed on to for ever', async () => {
  const home = temporaryDirectory()
  const ours = fileURLToPath(new URL('../dist/msb.mjs', import.meta.url))
  install(home, `exec '${process.execPath}' '${ours}' "$@"\n`)
  const { code, stderr } = await msb(['list'], { home })
  assert.is(code, 1)
  assert.match(stderr, /^error: msb list is a command of microsandbox/)
})

test('a stopped sandbox is started for a command and stopped after it', async () => {
  const home = temporaryDirectory()
  installStarter(home)
  const { code, stdout, stderr } = await msb(['ssh', 'box', '--', 'echo', 'hello'], { home })
  assert.is(stdout.toString(), 'hello\n', stderr)
  assert.is(code, 0)
  assert.match(stderr, /^ {3}… Starting {5}box\n$/)
  assert.is(readFileSync(join(home, 'log'), 'utf8'), 'start box\nstop box\n')
})

test('a sandbox that another session uses by then keeps running', async () => {
  const home = temporaryDirectory()
  installStarter(home)
  const first = start(['ssh', 'box', '--', 'echo up; cat'], home)
  const firstEnd = finished(first)
  await new Promise((resolve) => first.stdout?.once('data', resolve))
  const second = start(['ssh', 'box', '--', 'echo up; cat'], home, { env: msbEnv(home) })
  const secondEnd = finished(second)
  await new Promise((resolve) => second.stdout?.once('data', resolve))
  first.stdin?.end()
  assert.is((await firstEnd).code, 0)
  second.stdin?.end('still here\n')
  const { code, stdout } = await secondEnd
  assert.is(code, 0)
  assert.is(stdout.toString(), 'up\nstill here\n')
  assert.is(readFileSync(join(home, 'log'), 'utf8'), 'start box\n')
})

test('a signal before there is a session stops the sandbox that was started', async () => {
  const home = temporaryDirectory()
  const socket = agentSocket(home)
  // It can be connected to, and never says a word.
  const mute = `require("net").createServer(() => console.log("in")).listen(${JSON.stringify(socket)})`
  install(
    home,
    `echo "$*" >> '${home}/log'
case "$1" in
start) '${process.execPath}' -e '${mute}' >'${home}/in' 2>&1 </dev/null & echo $! > '${home}/pid' ;;
stop) kill "$(cat '${home}/pid')" ;;
esac
`,
  )
  const child = start(['ssh', 'box', '--', 'true'], home)
  const end = finished(child)
  // The first one only looked whether it is up.
  const connections = (): number => readFileSync(join(home, 'in'), 'utf8').split('\n').length - 1
  while (!existsSync(join(home, 'in')) || connections() < 2) await sleep(20)
  child.kill('SIGTERM')
  assert.is((await end).code, 128 + 15)
  assert.is(readFileSync(join(home, 'log'), 'utf8'), 'start box\nstop box\n')
})

test.run()
