/** `msb ssh NAME -- …` with pipes: streams, statuses, endings and bad input. */
// Time limit: 240 s

import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Finished, finished, msb, msbEnv, msbPath, start, temporaryDirectory } from './msb.ts'

/** One sandbox for all tests that do not mind, kept running by a session in the background. */
const home = temporaryDirectory()
const keeper = start(['ssh', 'local:box', '--', 'echo up; cat'], home)
await new Promise((resolve) => keeper.stdout?.once('data', resolve))
test.after(() => {
  keeper.stdin?.end()
})

const run = (...words: string[]): Promise<Finished> =>
  msb(['ssh', 'local:box', '--', ...words], { home })

/** Processes whose command line matches. */
async function pidsOf(pattern: string): Promise<readonly number[]> {
  const { stdout } = await finished(spawn('pgrep', ['-f', '--', pattern]))
  return stdout.toString().split('\n').filter(Boolean).map(Number)
}

/** Exactly one `error:` line, exit code 1, nothing on stdout, no stack trace. */
function oneError({ code, stdout, stderr }: Finished, message: RegExp): void {
  assert.is(stderr.trimEnd().split('\n').length, 1, stderr)
  assert.match(stderr, /^error: /)
  assert.match(stderr, message)
  assert.is(code, 1)
  assert.is(stdout.length, 0)
}

test('the exit status is that of the command', async () => {
  for (const status of [0, 3, 255]) assert.is((await run(`exit ${status}`)).code, status)
})

test('a command that a signal killed gives 128+n', async () => {
  assert.is((await run('kill -KILL $$')).code, 137)
  assert.is((await run('kill -TERM $$')).code, 143)
  assert.is((await run('kill -USR2 $$')).code, 140)
})

test('a command that cannot be started gives 127 and a reason', async () => {
  const missing = await run('no-such-program')
  assert.is(missing.code, 127)
  assert.match(missing.stderr, /no-such-program.*not found/)
  const user = await msb(['ssh', 'local:box', '--user', 'bob', '--', 'id'], { home })
  assert.is(user.code, 127)
  assert.is(user.stderr, 'error: no user "bob" in the sandbox\n')
  const cwd = await msb(['ssh', 'local:box', '--cwd', '/no/where', '--', 'pwd'], { home })
  assert.is(cwd.stderr, 'error: no directory "/no/where" in the sandbox\n')
  assert.is(cwd.code, 127)
})

test('several words arrive as typed, a single one is a command line', async () => {
  const several = await run('sh', '-lc', 'cd /tmp && pwd; echo "$0"')
  assert.is(several.stdout.toString(), '/tmp\nsh\n')
  const odd = await run('printf', '<%s>', '', 'a b', "it's", '$HOME', '*', ';', '\n')
  assert.is(odd.stdout.toString(), "<><a b><it's><$HOME><*><;><\n>")
  const single = await run('echo $HOME | tr a-z A-Z')
  assert.match(single.stdout.toString(), /^\/(ROOT|.*HOME)\n$/)
})

test('stdout and stderr stay apart and come as they are written', async () => {
  const both = await run('echo out; echo err >&2')
  assert.is(both.stdout.toString(), 'out\n')
  assert.is(both.stderr, 'err\n')
  const child = start(['ssh', 'local:box', '--', 'echo early; cat'], home)
  const early = await new Promise<Buffer>((resolve) => child.stdout?.once('data', resolve))
  assert.is(early.toString(), 'early\n')
  child.stdin?.end('late')
  assert.is((await finished(child)).stdout.toString(), 'late')
})

test('stdin and stdout are binary clean, and ends are passed on', async () => {
  const input = randomBytes(8 * 1024 * 1024)
  const sum = createHash('sha256').update(input).digest('hex')
  const counted = await msb(['ssh', 'local:box', '--', 'sha256sum'], { home, input })
  assert.match(counted.stdout.toString(), new RegExp(`^${sum} `))
  const echoed = await msb(['ssh', 'local:box', '--', 'cat'], { home, input })
  assert.is(createHash('sha256').update(echoed.stdout).digest('hex'), sum)
  assert.is(echoed.code, 0)
})

test('a command that closes its stdin does not fail the rest', async () => {
  const input = randomBytes(4 * 1024 * 1024)
  const result = await msb(['ssh', 'local:box', '--', 'exec <&-; echo done'], { home, input })
  assert.is(result.stdout.toString(), 'done\n')
  assert.is(result.code, 0)
})

test('a reader that leaves ends it at once', async () => {
  const command = `"${process.execPath}" "${msbPath}" ssh local:box -- yes | head -1; echo "\${PIPESTATUS[0]}"`
  const child = spawn('bash', ['-c', command], { env: msbEnv(home) })
  const { stdout } = await finished(child)
  assert.is(stdout.toString(), 'y\n141\n')
})

test('without a terminal on stdin a shell reads its commands from there', async () => {
  const input = 'echo "in $0"\nexit 5\n'
  const result = await msb(['ssh', 'local:box'], { home, input })
  assert.match(result.stdout.toString(), /^in .*sh\n/)
  assert.is(result.code, 5)
})

test('variables and a directory can be given', async () => {
  const args = ['ssh', 'local:box', '--env', 'A=b c', '-e', 'LC_TEST', '--cwd', '/usr', '--']
  const env = { LC_TEST: 'taken' }
  const result = await msb([...args, 'echo "$A $LC_TEST $PWD"'], { home, env })
  assert.is(result.stdout.toString(), 'b c taken /usr\n')
})

test('SIGINT and SIGTERM reach a command that has no terminal', async () => {
  for (const [signal, code] of [
    ['SIGINT', 42],
    ['SIGTERM', 43],
  ] as const) {
    const command =
      "trap 'echo int; exit 42' INT; trap 'exit 43' TERM; echo ready; while :; do sleep 0.1; done"
    const child = start(['ssh', 'local:box', '--', command], home)
    await new Promise((resolve) => child.stdout?.once('data', resolve))
    child.kill(signal)
    assert.is((await finished(child)).code, code)
  }
})

test('a second SIGINT ends it whatever the command does', async () => {
  const command = "trap '' INT; echo ready; while :; do sleep 0.1; done"
  const child = start(['ssh', 'local:box', '--', command], home)
  await new Promise((resolve) => child.stdout?.once('data', resolve))
  child.kill('SIGINT')
  setTimeout(() => child.kill('SIGINT'), 200)
  assert.is((await finished(child)).code, 130)
})

test('a lost connection is an error and never a status', async () => {
  const own = temporaryDirectory()
  const name = `lost${process.pid}`
  const child = start(['ssh', `local:${name}`, '--', 'echo ready; sleep 1000'], own)
  await new Promise((resolve) => child.stdout?.once('data', resolve))
  // The whole sandbox, as if the machine under it had gone.
  const pids = await pidsOf(`hostname ${name}|${own}/local`)
  assert.ok(pids.length > 0)
  for (const pid of pids) process.kill(pid, 'SIGKILL')
  const result = await finished(child)
  assert.is(result.code, 255)
  assert.match(result.stderr, /^error: .*the sandbox closed the connection: .*\n$/)
})

test('silence ends a session if it is told to', async () => {
  const args = ['ssh', 'local:box', '--inactivity-timeout', '1s', '--', 'sleep 1000']
  const result = await msb(args, { home })
  assert.is(result.code, 255)
  assert.match(result.stderr, /^error: .*/)
})

test('descriptors that the shell had open do not get in', async () => {
  const own = temporaryDirectory()
  const directory = openSync('/etc', 'r')
  const args = ['ssh', 'local:box', '--', 'readlink /proc/*/fd/* | grep -c "^/etc$"']
  const child = start(args, own, {
    stdio: ['ignore', 'pipe', 'pipe', 'ignore', directory, directory],
  })
  const { stdout } = await finished(child)
  closeSync(directory)
  assert.is(stdout.toString(), '0\n')
})

test('unknown and unreachable sandboxes', async () => {
  oneError(await msb(['ssh', 'nobody', '--', 'true']), /sandbox not found: nobody/)
  oneError(await msb(['ssh', 'unix:/no/such.sock']), /no socket at \/no\/such\.sock/)
  oneError(await msb(['ssh', 'docker:box']), /unknown kind of sandbox: "docker"/)
  oneError(await msb(['ssh', '../etc']), /invalid sandbox name/)
  oneError(await msb(['ssh', 'serve', 'nobody']), /sandbox not found: nobody/)
  const stale = temporaryDirectory()
  const path = join(stale, 'agent.sock')
  const server = createServer().listen(path)
  await new Promise((resolve) => server.once('listening', resolve))
  const child = start(['ssh', `unix:${path}`], stale)
  server.once('connection', (socket) => socket.end('not an agent at all'))
  oneError(await finished(child), /error: /)
  server.close()
})

test('a home that cannot be used', async () => {
  oneError(
    await msb(['ssh', 'local:box', '--', 'true'], { home: '/proc/none' }),
    /cannot create \/proc\/none/,
  )
  const own = temporaryDirectory()
  writeFileSync(join(own, 'config.json'), '{"ssh":{"inactivity_timeout_secs":"x"}}')
  oneError(
    await msb(['ssh', 'local:box', '--', 'true'], { home: own }),
    /config\.json .*whole number/,
  )
  const file = join(temporaryDirectory(), 'file')
  writeFileSync(file, '')
  oneError(await msb(['ssh', 'authorize', '--key', 'x'], { home: file }), /invalid public key/)
})

test('wrong usage goes to stderr with code 2', async () => {
  const result = await msb(['ssh', 'box', 'ls'])
  assert.is(result.code, 2)
  assert.is(result.stdout.length, 0)
  assert.match(result.stderr, /a remote command goes after --/)
  const help = await msb(['ssh', '--help'])
  assert.is(help.code, 0)
  assert.is(help.stderr, '')
})

test('nothing is left running', async () => {
  keeper.stdin?.end()
  await finished(keeper)
  const deadline = Date.now() + 15_000
  for (;;) {
    const pids = await pidsOf(`${home}/local/box`)
    if (pids.length === 0) break
    if (Date.now() > deadline) assert.unreachable(`still running: ${pids}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
})

test.run()
