/** Outputs that fail, and signals: nothing is lost in silence, and nothing ends in a stack trace. */
// Time limit: 180 s
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { finished, msb, msbEnv, msbPath, start, temporaryDirectory } from './msb.ts'
import { endServers, makeKey } from './serving.ts'

const home = temporaryDirectory()
const key = makeKey()
await msb(['ssh', 'authorize', '--file', `${key}.pub`], { home })
const keeper = start(['ssh', 'local:box', '--', 'echo up; cat'], home)
await new Promise((resolve) => keeper.stdout?.once('data', resolve))
test.after(() => {
  keeper.stdin?.end()
  endServers()
})

/** A line of shell with `MSB` in it; its own streams, where they are not redirected, are ours. */
function shell(line: string): ReturnType<typeof finished> {
  const command = line.replaceAll('MSB', `"${process.execPath}" "${msbPath}"`)
  return finished(spawn('bash', ['-c', command], { env: msbEnv(home) }))
}

test('a text that cannot be written is an error', async () => {
  for (const command of [
    '--help',
    '--version',
    'ssh --help',
    'ssh keys',
    'ssh config local:box',
    'ssh doctor',
    'ssh completion bash',
    'ssh authorize --list',
    'ssh complete -- ssh ""',
  ]) {
    const { code, stderr } = await shell(`MSB ${command} > /dev/full`)
    assert.is(stderr, 'error: cannot write to stdout: no space left on device\n', command)
    assert.is(code, 1, command)
  }
})

test('a text of which somebody wants the beginning only is none', async () => {
  for (const command of ['--help', 'ssh keys', 'ssh completion zsh']) {
    const { stdout, stderr } = await shell(`MSB ${command} | true; echo "\${PIPESTATUS[0]}"`)
    assert.is(stdout.toString(), '0\n', command)
    assert.is(stderr, '', command)
  }
})

test('output of a command that cannot be written ends it, and is an error', async () => {
  const out = await shell('MSB ssh local:box -- "yes" > /dev/full')
  assert.is(out.stderr, 'error: cannot write to stdout: no space left on device\n')
  assert.is(out.code, 1)
  const err = await shell('MSB ssh local:box -- "yes >&2" 2> /dev/full')
  assert.is(err.code, 1)
  const tunnel = await shell('MSB ssh local:box -W 127.0.0.1:1 > /dev/full')
  assert.match(tunnel.stderr, /^error: cannot connect to 127\.0\.0\.1:1: /)
  assert.is(tunnel.code, 1)
})

test('streams that are closed are like empty ones', async () => {
  for (const [line, stdout] of [
    ['MSB ssh local:box -- "cat; echo in" <&-', 'in\n'],
    ['MSB ssh local:box -- "echo in; echo err >&2" 2>&-', 'in\n'],
    ['MSB ssh local:box -- "echo err >&2" >&-', ''],
    ['MSB ssh local:box -- "cat; echo in" <&- 2>&-', 'in\n'],
  ] as const) {
    const result = await shell(line)
    assert.is(result.code, 0, `${line}: ${result.stderr}`)
    assert.is(result.stdout.toString(), stdout, line)
  }
  const none = await shell('MSB ssh nobody 2>&-')
  assert.is(none.code, 1)
})

test('a signal ends serve --stdio in order, and a broken client does not', async () => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const child = start(['ssh', 'serve', 'local:box', '--stdio'], home)
    const end = finished(child)
    await new Promise((resolve) => child.stdout?.once('data', resolve))
    child.kill(signal)
    const { code, stderr } = await end
    assert.is(stderr, '', signal)
    assert.is(code, 0, signal)
  }
  for (const [input, reason] of [
    ['GET / HTTP/1.0\r\n\r\n', /the peer is no SSH 2\.0 client: it sent "GET \/ HTTP\/1\.0"\n$/],
    ['SSH-1.5-old\r\n', /the peer is no SSH 2\.0 client: it sent "SSH-1\.5-old"\n$/],
    ['\0\u{1b}[31m\n', /^error: SSH session failed: [\x20-\x7e]*\n$/],
    ['SSH-2.0-x\r\n', /the connection ended during key-exchange\n$/],
    ['', /the connection ended during identification\n$/],
  ] as const) {
    const { code, stderr } = await msb(['ssh', 'serve', 'local:box', '--stdio'], { home, input })
    assert.match(stderr, reason)
    assert.match(stderr, /^error: SSH session failed: .*\n$/)
    assert.is(code, 1)
  }
})

test('a signal ends what only forwards, and cp, with 128+n', async () => {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    const child = start(['ssh', 'local:box', '-N', '-D', '0'], home)
    const end = finished(child)
    await new Promise((resolve) => child.stderr?.once('data', resolve))
    child.kill(signal)
    assert.is((await end).code, code, signal)
    // A file that takes a while, of which nothing is stored in the sandbox.
    await msb(['ssh', 'local:box', '--', 'truncate -s 8G /tmp/zero'], { home })
    const copy = start(['ssh', 'cp', 'local:box:/tmp/zero', join(home, 'zero')], home)
    const copied = finished(copy)
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      if (copy.exitCode !== null || existsSync(join(home, 'zero'))) break
    }
    copy.kill(signal)
    const { code: left, stderr } = await copied
    assert.is(left, code, `${signal}: ${stderr}`)
    assert.is(stderr, '')
    rmSync(join(home, 'zero'))
  }
})

test('a second reader of stdin that has gone does not matter', async () => {
  const child = start(['ssh', 'local:box', '--', 'cat >/dev/null; echo read'], home)
  const end = finished(child)
  child.stdin?.write('some')
  child.stdin?.destroy()
  const { code, stdout } = await end
  assert.is(stdout.toString(), 'read\n')
  assert.is(code, 0)
})

test('a user for whom a sandbox has no number is told so', async () => {
  const { code, stderr } = await msb(['ssh', 'local:box', '-u', 'nobody', '--', 'id'], { home })
  const map = await msb(['ssh', 'local:box', '--', 'cat /proc/self/uid_map'], { home })
  const [first = 0, , count = 0] = map.stdout.toString().trim().split(/\s+/).map(Number)
  // Under bubblewrap there is root alone; where that is missing the guest has all of the host's.
  if (first + count > 65_534) return assert.is(code, 0)
  assert.match(
    stderr,
    /^error: .*guest user not available: nobody: there is no user \d+ in here\n$/,
  )
  assert.is(code, 127)
})

test('nothing is left running', async () => {
  keeper.stdin?.end()
  await once(keeper, 'close')
})

test.run()
