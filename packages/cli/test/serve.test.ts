/** `msb ssh authorize` and `serve`, with the real OpenSSH client. */
// Time limit: 240 s
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Finished, finished, msb, msbPath, start, temporaryDirectory } from './msb.ts'

const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8)

/** A key pair of ssh-keygen's; the path of the private half. */
function makeKey(): string {
  const path = join(temporaryDirectory(), 'id_ed25519')
  assert.is(spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path]).status, 0)
  return path
}

const home = temporaryDirectory()
const key = makeKey()

interface Serving {
  readonly child: ChildProcess
  readonly port: number
  readonly ended: Promise<Finished>
}

const servers: ChildProcess[] = []
test.after(() => {
  for (const child of servers) child.kill('SIGKILL')
})

/** Starts a server on a free port and waits until it says so. */
async function serve(args: readonly string[] = [], sandbox = 'local:box'): Promise<Serving> {
  const child = start(['ssh', 'serve', sandbox, '--port', '0', ...args], home)
  servers.push(child)
  const ended = finished(child)
  const port = await new Promise<number>((resolve, reject) => {
    let text = ''
    child.stderr?.on('data', (chunk: Buffer) => {
      text += chunk
      const match = /SSH listening \S+:(\d+)\n/.exec(text)
      if (match !== null) resolve(Number(match[1]))
    })
    child.once('close', () => reject(new Error(text)))
  })
  return { child, port, ended }
}

/** OpenSSH's options for tests: no configuration, no agent, no questions. */
function options(identity: string): readonly string[] {
  return [
    ...['-F', '/dev/null', '-i', identity, '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes'],
    ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
    ...['-o', 'LogLevel=ERROR'],
  ]
}

function ssh(port: number, command: string, identity = key): Promise<Finished> {
  const args = [...options(identity), '-p', String(port), 'root@127.0.0.1', command]
  return finished(spawn('ssh', args, { stdio: ['ignore', 'pipe', 'pipe'] }))
}

test('authorize reads a file, an argument or stdin, and tells what it did', async () => {
  const path = join(home, 'ssh', 'authorized_keys')
  const file = await msb(['ssh', 'authorize', '--file', `${key}.pub`], { home })
  assert.is(file.stderr, `   ✓ Authorized key ${path}\n`)
  assert.is(file.code, 0)
  assert.is(mode(path), '600')
  assert.is(mode(join(home, 'ssh')), '700')
  const line = readFileSync(`${key}.pub`, 'utf8')
  const again = await msb(['ssh', 'authorize', '--key', line], { home })
  assert.is(again.stderr, `   ✓ Already authorized ${path}\n`)
  assert.is(again.code, 0)
  const other = temporaryDirectory()
  const stdin = await msb(['ssh', 'authorize', '--stdin'], {
    home: other,
    input: `# mine\n${line}`,
  })
  assert.is(stdin.code, 0)
  assert.is(readFileSync(join(other, 'ssh', 'authorized_keys'), 'utf8'), line)
})

test('authorize refuses what is no key, in one line', async () => {
  for (const [args, message] of [
    [['--key', 'nonsense'], 'error: invalid public key\n'],
    [['--key', ' '], 'error: public key cannot be empty\n'],
    [['--key', 'ssh-ed25519'], 'error: public key is missing key data\n'],
    [
      ['--file', '/no/such/file'],
      'error: failed to read /no/such/file: no such file or directory\n',
    ],
    [['--file', '/'], 'error: failed to read /: illegal operation on a directory\n'],
    [['--stdin'], 'error: public key cannot be empty\n'],
  ] as const) {
    const result = await msb(['ssh', 'authorize', ...args])
    assert.is(result.stderr, message)
    assert.is(result.code, 1)
  }
})

test('OpenSSH gets in, and its commands end with their status', async () => {
  const { child, port, ended } = await serve()
  const result = await ssh(port, 'id -un; exit 3')
  assert.is(result.stdout.toString(), 'root\n', result.stderr)
  assert.is(result.code, 3)
  assert.is(mode(join(home, 'local', 'box', 'ssh', 'host_ed25519')), '600')
  child.kill('SIGINT')
  assert.is((await ended).code, 0)
})

test('connections share one sandbox, which lives as long as the server', async () => {
  const { child, port, ended } = await serve()
  await ssh(port, 'sleep 1000 >/dev/null 2>&1 & echo $! > /tmp/pid')
  const still = await ssh(port, 'kill -0 $(cat /tmp/pid) && echo alive')
  assert.ok(['alive\n', ''].includes(still.stdout.toString()))
  const ids = await Promise.all([1, 2].map(() => ssh(port, 'cut -d" " -f22 /proc/1/stat')))
  assert.is(ids[0]?.stdout.toString(), ids[1]?.stdout.toString())
  child.kill('SIGTERM')
  assert.is((await ended).code, 0)
})

test('a key that is not authorized is refused, and one added later is not', async () => {
  const { child, port, ended } = await serve()
  const other = makeKey()
  const refused = await ssh(port, 'true', other)
  assert.is(refused.code, 255)
  assert.match(refused.stderr, /Permission denied \(publickey\)/)
  await msb(['ssh', 'authorize', '--file', `${other}.pub`], { home })
  assert.is((await ssh(port, 'true', other)).code, 0)
  const path = join(home, 'ssh', 'authorized_keys')
  writeFileSync(path, `what is this\n${readFileSync(path, 'utf8')}`)
  assert.is((await ssh(port, 'true')).code, 0)
  chmodSync(path, 0o666)
  assert.is((await ssh(port, 'true')).code, 255)
  chmodSync(path, 0o600)
  child.kill('SIGINT')
  const { stderr } = await ended
  assert.is(stderr.match(/warn: .*authorized_keys line 1: /g)?.length, 1, stderr)
})

test('sessions that are open end with the server', async () => {
  const { child, port, ended } = await serve()
  const session = spawn('ssh', [
    ...options(key),
    '-p',
    String(port),
    'root@127.0.0.1',
    'echo up; cat',
  ])
  const over = finished(session)
  await new Promise((resolve) => session.stdout.once('data', resolve))
  child.kill('SIGTERM')
  assert.is((await ended).code, 0)
  assert.is((await over).code, 255)
})

test('ProxyCommand with --stdio, and nothing but SSH on stdout', async () => {
  const proxy = `"${process.execPath}" "${msbPath}" ssh serve local:box --stdio`
  const args = [...options(key), '-o', `ProxyCommand=${proxy}`, 'root@box', 'echo through']
  const env = { ...process.env, MSB_HOME: home }
  const result = await finished(spawn('ssh', args, { env, stdio: ['ignore', 'pipe', 'pipe'] }))
  assert.is(result.stdout.toString(), 'through\n', result.stderr)
  assert.is(result.code, 0)
  assert.is(result.stderr, '')
})

test('--stdio with something else than SSH on stdin is an error', async () => {
  const result = await msb(['ssh', 'serve', 'local:box', '--stdio'], {
    home,
    input: 'GET / HTTP/1.0\r\n\r\n',
  })
  assert.is(result.code, 1)
  assert.match(result.stderr, /^error: SSH session failed: .*\n$/)
})

test('a server nobody could enter does not start, nor one on a port in use', async () => {
  const nobody = await msb(['ssh', 'serve', 'local:box'])
  assert.is(nobody.code, 1)
  assert.match(nobody.stderr, /^error: no authorized keys in .*msb ssh authorize --file/)
  const busy = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => busy.once('listening', resolve))
  const { port } = busy.address() as AddressInfo
  const result = await msb(['ssh', 'serve', 'local:box', '--port', String(port)], { home })
  busy.close()
  assert.is(result.stderr, `error: cannot listen on 127.0.0.1:${port}: the port is in use\n`)
  assert.is(result.code, 1)
})

test('a broken host key is one clear error', async () => {
  const path = join(home, 'local', 'broken', 'ssh', 'host_ed25519')
  await msb(['ssh', 'local:broken', '--', 'true'], { home })
  assert.not.ok(existsSync(path))
  spawnSync('mkdir', [join(home, 'local', 'broken', 'ssh')])
  writeFileSync(path, 'rubbish')
  const result = await msb(['ssh', 'serve', 'local:broken', '--port', '0'], { home })
  assert.is(result.code, 1)
  assert.ok(result.stderr.startsWith(`error: host key ${path} cannot be understood`), result.stderr)
  assert.is(result.stderr.trim().split('\n').length, 1)
})

test('listening beyond loopback is warned of', async () => {
  const { child, ended } = await serve(['--host', '0.0.0.0'])
  child.kill('SIGINT')
  assert.match((await ended).stderr, /warn: 0\.0\.0\.0:\d+ can be reached from other machines/)
})

test('more connections than allowed are turned away, and silent ones do not count for ever', async () => {
  const { child, port, ended } = await serve(['--max-connections', '1'])
  const silent = connect(port, '127.0.0.1')
  await new Promise((resolve) => silent.once('data', resolve))
  assert.is((await ssh(port, 'true')).code, 255)
  silent.destroy()
  const deadline = Date.now() + 10_000
  while ((await ssh(port, 'true')).code !== 0) assert.ok(Date.now() < deadline)
  child.kill('SIGINT')
  await ended
})

test.run()
