/** Working beside microsandbox's own program: its commands passed on, its sandboxes started. */
// Time limit: 240 s
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { agentSocket, install, installStarter } from './microsandbox.ts'
import { finished, msb, msbEnv, msbPath, start, temporaryDirectory } from './msb.ts'
import { endServers, makeKey, options, serve, ssh } from './serving.ts'

test.after(endServers)

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

test('of several that start a sandbox at once, all get in', async () => {
  const home = temporaryDirectory()
  installStarter(home)
  const all = Array.from({ length: 3 }, () => start(['ssh', 'box', '--', 'echo up; cat'], home))
  const ends = all.map(finished)
  // Whoever started it stops it, unless somebody else is still in.
  await Promise.all(all.map((child) => once(child.stdout as Readable, 'data')))
  for (const child of all) child.stdin?.end()
  const results = await Promise.all(ends)
  assert.equal(
    results.map(({ code }) => code),
    [0, 0, 0],
  )
  assert.match(readFileSync(join(home, 'log'), 'utf8'), /^start box\n(stop box\n)?$/)
})

for (const signal of ['SIGTERM', 'SIGHUP'] as const) {
  test(`${signal} to serve stops the sandbox that it started`, async () => {
    const home = temporaryDirectory()
    installStarter(home)
    await msb(['ssh', 'authorize', '--file', `${makeKey()}.pub`], { home })
    const server = await serve(home, ['box'])
    await server.stop(signal)
    assert.is(readFileSync(join(home, 'log'), 'utf8'), 'start box\nstop box\n')
  })
}

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

test('serve starts a stopped sandbox, and stops it at the end', async () => {
  const home = temporaryDirectory()
  installStarter(home)
  const key = makeKey()
  await msb(['ssh', 'authorize', '--file', `${key}.pub`], { home })
  const server = await serve(home, ['box'])
  assert.match(server.stderr(), /^ {3}… Starting {5}box\n {3}✓ SSH listening/)
  const result = await ssh(server.port, 'echo hello', key)
  assert.is(result.stdout.toString(), 'hello\n', result.stderr)
  assert.is((await server.stop()).code, 0)
  assert.is(readFileSync(join(home, 'log'), 'utf8'), 'start box\nstop box\n')
})

test('serve --stdio starts it as well, without a word, and does not stop it under others', async () => {
  const home = temporaryDirectory()
  installStarter(home)
  const key = makeKey()
  await msb(['ssh', 'authorize', '--file', `${key}.pub`], { home })
  const proxy = `"${process.execPath}" "${msbPath}" ssh serve box --stdio`
  const run = (command: string): ChildProcess => {
    const args = [...options(key), '-o', `ProxyCommand=${proxy}`, 'root@box', command]
    return spawn('ssh', args, { env: { ...process.env, MSB_HOME: home } })
  }
  const first = run('echo up; cat')
  const firstEnd = finished(first)
  await once(first.stdout as Readable, 'data')
  const second = run('echo up; cat')
  const secondEnd = finished(second)
  await once(second.stdout as Readable, 'data')
  first.stdin?.end()
  assert.equal([(await firstEnd).code, (await firstEnd).stderr], [0, ''])
  second.stdin?.end('still here\n')
  assert.is((await secondEnd).stdout.toString(), 'up\nstill here\n')
  assert.is(readFileSync(join(home, 'log'), 'utf8'), 'start box\n')
})

test('a gateway starts a sandbox at login if it may, and stops it when nobody is left', async () => {
  const home = temporaryDirectory()
  installStarter(home)
  const key = makeKey()
  await msb(['ssh', 'authorize', '--file', `${key}.pub`], { home })
  const denying = await serve(home, ['--all'])
  const stopped = await ssh(denying.port, 'true', key, 'box')
  assert.is(stopped.code, 255)
  assert.match(stopped.stderr, /^error: sandbox is not running: box/)
  assert.not.ok(existsSync(join(home, 'log')))
  await denying.stop()
  const server = await serve(home, ['--match', 'b*', '--start', '--linger', '0'])
  assert.is((await ssh(server.port, 'true', key, 'nobody')).code, 255)
  const result = await ssh(server.port, 'echo hello', key, 'root+box')
  assert.is(result.stdout.toString(), 'hello\n', result.stderr)
  while (!readFileSync(join(home, 'log'), 'utf8').includes('stop')) await sleep(50)
  const again = await ssh(server.port, 'echo again', key, 'box')
  assert.is(again.stdout.toString(), 'again\n', again.stderr)
  assert.is((await server.stop()).code, 0)
  assert.is(readFileSync(join(home, 'log'), 'utf8'), 'start box\nstop box\nstart box\nstop box\n')
})

test.run()
