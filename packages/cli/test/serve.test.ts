/** `msb ssh authorize` and `serve`, with the real OpenSSH client. */
// Time limit: 240 s
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Finished, finished, msb, msbPath, temporaryDirectory } from './msb.ts'
import {
  endServers,
  fingerprint,
  makeKey,
  mode,
  options,
  ssh as runSsh,
  type Serving,
  serve as startServer,
} from './serving.ts'

const home = temporaryDirectory()
const key = makeKey()

test.after(endServers)

/** One in front of `local:box`. */
const serve = (args: readonly string[] = [], sandbox = 'local:box'): Promise<Serving> =>
  startServer(home, [sandbox, ...args])
const ssh = (port: number, command: string, identity = key): Promise<Finished> =>
  runSsh(port, command, identity)

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

test('authorize for one sandbox, for a time, listed and revoked', async () => {
  const own = temporaryDirectory()
  const keys = [makeKey(), makeKey(), makeKey()]
  const [all, one, short] = keys
  const run = (...args: string[]): Promise<Finished> =>
    msb(['ssh', 'authorize', ...args], { home: own })
  await run('--file', `${all}.pub`, '--file', `${short}.pub`, '--expires', '8h')
  const forOne = await run('--file', `${one}.pub`, '--sandbox', 'local:box')
  assert.match(forOne.stderr, /Authorized key \S+\/authorized_keys\.d\/local\+box\.[0-9a-f]{12}\n/)
  const until = new Date(Date.now() + 8 * 3_600_000).toISOString().slice(0, 10)
  const list = (await run('--list')).stdout.toString().split('\n')
  assert.match(
    list[0] ?? '',
    new RegExp(`${fingerprint(all).replaceAll('+', '\\+')} .*all sandboxes.*until ${until}`),
  )
  assert.ok(list[2]?.startsWith(`${fingerprint(one)}  ssh-ed25519  local:box`), list[2])
  const other = (await run('--list', '--sandbox', 'other')).stdout.toString()
  assert.is(other.trim().split('\n').length, 2)
  const renewed = await run('--file', `${all}.pub`, '--expires', '30d')
  assert.match(renewed.stderr, /Renewed key/)
  assert.is((await run('--revoke', fingerprint(short))).code, 0)
  const missing = await run('--revoke', fingerprint(one))
  assert.match(missing.stderr, /^error: no such key in \S+authorized_keys: SHA256:/)
  assert.is(missing.code, 1)
  assert.is(
    (await run('--revoke', readFileSync(`${one}.pub`, 'utf8'), '--sandbox', 'local:box')).code,
    0,
  )
  assert.is((await run('--list')).stdout.toString().trim().split('\n').length, 1)
})

test('a key for one sandbox enters that one only, and an expired one none', async () => {
  const one = makeKey()
  await msb(['ssh', 'authorize', '--file', `${one}.pub`, '--sandbox', 'local:other'], { home })
  const old = makeKey()
  const line = readFileSync(`${old}.pub`, 'utf8').trim()
  await msb(['ssh', 'authorize', '--key', `expiry-time="20200101" ${line}`], { home })
  const box = await serve()
  assert.is((await ssh(box.port, 'true', one)).code, 255)
  assert.is((await ssh(box.port, 'true', old)).code, 255)
  box.child.kill('SIGINT')
  await box.ended
  const other = await serve([], 'local:other')
  assert.is((await ssh(other.port, 'true', one)).code, 0)
  other.child.kill('SIGINT')
  await other.ended
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

/** A session that is up, and stays until its stdin ends. */
async function openSession(
  port: number,
): Promise<{ child: ChildProcess; over: Promise<Finished> }> {
  const args = [...options(key), '-p', String(port), 'root@127.0.0.1', 'echo up; cat; echo done']
  const child = spawn('ssh', args)
  const over = finished(child)
  await new Promise((resolve) => child.stdout?.once('data', resolve))
  return { child, over }
}

test('a server that is stopped lets open sessions end, and takes no new ones', async () => {
  const { child, port, ended, says } = await serve(['--drain', '60s'])
  const session = await openSession(port)
  child.kill('SIGTERM')
  await says('Draining')
  assert.is((await ssh(port, 'true')).code, 255)
  session.child.stdin?.end()
  const { code, stdout } = await session.over
  assert.is(code, 0)
  assert.match(stdout.toString(), /done/)
  assert.is((await ended).code, 0)
})

test('sessions end with the server after a while, or at a second signal', async () => {
  for (const [drain, again] of [
    ['300ms', false],
    ['60s', true],
  ] as const) {
    const { child, port, ended, says } = await serve(['--drain', drain])
    const { over } = await openSession(port)
    child.kill('SIGTERM')
    if (again) {
      await says('Draining')
      child.kill('SIGTERM')
    }
    assert.is((await over).code, 255)
    assert.is((await ended).code, 0)
  }
})

test('the audit log says who did what, from where, for how long and how much', async () => {
  const log = join(temporaryDirectory(), 'audit.jsonl')
  const { child, port, ended } = await serve(['--audit-log', log])
  await ssh(port, 'echo hello; exit 3')
  await ssh(port, 'true', makeKey())
  child.kill('SIGINT')
  await ended
  assert.is(mode(log), '600')
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n')
  const events = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  const end = events.find(({ event }) => event === 'session-ended')
  assert.match(String(end?.['time']), /^\d{4}-\d\d-\d\dT.*Z$/)
  assert.match(String(end?.['from']), /^127\.0\.0\.1:\d+$/)
  assert.ok(Number(end?.['ms']) >= 0)
  const { user, key: who, sandbox, command, status, bytesIn, bytesOut } = end ?? {}
  assert.equal(
    { user, who, sandbox, command, status, bytesIn, bytesOut },
    {
      user: 'root',
      who: fingerprint(key),
      sandbox: 'local:box',
      command: 'echo hello; exit 3',
      status: 3,
      bytesIn: 0,
      bytesOut: 6,
    },
  )
  const refused = events.filter(({ event }) => event === 'key-refused')
  assert.equal(
    refused.map(({ reason }) => reason),
    ['the key is not authorized'],
  )
  const bad = await msb(['ssh', 'serve', 'local:box', '--audit-log', '/no/such/log'], { home })
  assert.match(bad.stderr, /^error: cannot open the audit log \/no\/such\/log: /)
  assert.is(bad.code, 1)
})

test('--debug tells of each connection, and why one failed', async () => {
  const { child, port, ended } = await serve(['--debug'])
  await ssh(port, 'true')
  await ssh(port, 'true', makeKey())
  child.kill('SIGINT')
  const { stderr } = await ended
  assert.match(stderr, /debug: #1 127\.0\.0\.1:\d+: logged in as root with ssh-ed25519 SHA256:/)
  assert.match(stderr, /debug: #1 \S+ session 1 of root started: exec true\n/)
  assert.match(stderr, /debug: #1 \S+ session 1 ended: status 0, \d+ ms/)
  assert.match(stderr, /debug: #2 \S+ refused root with ssh-ed25519 \S+: the key is not authorized/)
  assert.match(stderr, /debug: #2 \S+ disconnected after \d+ ms: /)
})

test('a source that keeps guessing is turned away for a while', async () => {
  const { child, port, ended } = await serve()
  const guess = makeKey()
  for (let times = 0; times < 5; times++) await ssh(port, 'true', guess)
  const refused = await ssh(port, 'true')
  assert.is(refused.code, 255)
  assert.not.match(refused.stderr, /Permission denied/)
  child.kill('SIGINT')
  assert.match((await ended).stderr, /warn: refused 127\.0\.0\.1:\d+: too many failed logins/)
})

test('keys of files given, a fixed user, read-only files and bounded forwards', async () => {
  const directory = temporaryDirectory()
  const [own, hostKey] = [makeKey(), join(directory, 'host')]
  const authorizedKeys = join(directory, 'keys')
  writeFileSync(authorizedKeys, readFileSync(`${own}.pub`), { mode: 0o600 })
  const { child, port, ended } = await serve([
    ...['--host-key', hostKey, '--authorized-keys', authorizedKeys, '--user', 'root'],
    ...['--read-only-sftp', '--permit-open', '127.0.0.1:1'],
  ])
  assert.is(mode(hostKey), '600')
  const login = ['-p', String(port), 'nobody@127.0.0.1']
  const who = await finished(spawn('ssh', [...options(own), ...login, 'id -un']))
  assert.is(who.stdout.toString(), 'root\n', who.stderr)
  assert.is((await ssh(port, 'true')).code, 255)
  const batch = spawn('sftp', [...options(own), '-b', '-', '-P', String(port), 'x@127.0.0.1'])
  batch.stdin.end('mkdir made\n')
  const sftp = await finished(batch)
  assert.is(sftp.code, 1)
  assert.match(sftp.stderr, /[Pp]ermission denied/)
  const forward = ['-W', '127.0.0.1:2', ...login]
  const denied = await finished(spawn('ssh', ['-o', 'LogLevel=INFO', ...options(own), ...forward]))
  assert.match(denied.stderr, /administratively prohibited/)
  child.kill('SIGINT')
  await ended
})

test('ssh -L leads to a Unix socket inside', async () => {
  const { port, stop } = await serve(['--debug'])
  const inside = "require('net').createServer((s) => s.end('from inside')).listen('/tmp/in.sock')"
  const local = join(temporaryDirectory(), 'out.sock')
  const more = ['-L', `${local}:/tmp/in.sock`, '-o', 'ExitOnForwardFailure=yes']
  const script = `exec node -e "${inside}.on('listening', () => console.log('up'))"`
  const to = [...more, ...options(key), '-p', String(port), 'root@127.0.0.1', script]
  const forwarding = spawn('ssh', to, { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(forwarding.stdout, 'data')
  const socket = connect(local)
  assert.is(Buffer.concat(await socket.toArray()).toString(), 'from inside')
  forwarding.kill()
  await once(forwarding, 'exit')
  await stop()
})

test('ssh -R leads from a port or a socket inside to here, and the log knows', async () => {
  const { port, stop, says } = await serve(['--debug'])
  const here = createServer((socket) => socket.end('from here'))
  here.listen(0, '127.0.0.1')
  await once(here, 'listening')
  const { port: ours } = here.address() as AddressInfo
  for (const [wanted, path] of [
    ['8123', '/dev/tcp/127.0.0.1/8123'],
    ['/tmp/r.sock', ''],
  ] as const) {
    const more = ['-R', `${wanted}:127.0.0.1:${ours}`, '-o', 'ExitOnForwardFailure=yes']
    const script = `require('net').connect('/tmp/r.sock').pipe(process.stdout)`
    const look = path === '' ? `node -e "${script}"` : `cat < ${path}`
    const { code, stdout, stderr } = await runSsh(port, look, key, 'root', more)
    assert.is(stdout.toString(), 'from here', stderr)
    assert.is(code, 0)
  }
  await says(/listening on \S*:8123 inside\n/)
  await says(/no longer listening on \S*:8123 inside: \d+ ms, 1 came in, \d+ bytes in, \d+ out/)
  here.close()
  await stop()
})

test('-R is refused where forwards are bounded, and the log says why', async () => {
  const { port, says, stop } = await serve(['--debug', '--permit-open', '127.0.0.1:1'])
  const more = ['-R', '8123:localhost:80', '-o', 'ExitOnForwardFailure=yes']
  const refused = await runSsh(port, 'true', key, 'root', more)
  assert.is(refused.code, 255)
  assert.match(refused.stderr, /remote port forwarding failed for listen port 8123/)
  await says(/refused to listen on \S*:8123 inside: only some forwards are permitted/)
  await stop()
})

test('ssh -A brings its agent inside where that is allowed, for that session and that user', async () => {
  const socket = join(temporaryDirectory(), 'agent')
  const agent = spawn('ssh-agent', ['-D', '-a', socket])
  await once(agent.stdout, 'data')
  const added = spawnSync('ssh-add', [key], { env: { ...process.env, SSH_AUTH_SOCK: socket } })
  assert.is(added.status, 0, added.stderr.toString())
  const more = ['-A', '-o', `IdentityAgent=${socket}`]
  const look = 'echo "<$SSH_AUTH_SOCK>"; stat -c "%a %U" "$SSH_AUTH_SOCK"; ssh-add -l'
  const { port, stop } = await serve(['--agent-forwarding'])
  const inside = await runSsh(port, look, key, 'root', more)
  assert.match(inside.stdout.toString(), /^<\/tmp\/ssh-agent-[0-9a-f]{32}>\n600 root\n256 SHA256:/)
  assert.ok(inside.stdout.toString().includes(fingerprint(key)), inside.stdout.toString())
  assert.is(inside.stderr, '')
  assert.is(inside.code, 0)
  const without = await runSsh(port, 'echo "<$SSH_AUTH_SOCK>"; ls /tmp', key)
  assert.match(without.stdout.toString(), /^<>\n/)
  assert.not.match(without.stdout.toString(), /ssh-agent/)
  await stop()
  const lines = join(temporaryDirectory(), 'keys')
  writeFileSync(lines, `no-agent-forwarding ${readFileSync(`${key}.pub`)}`, { mode: 0o600 })
  const bounded = await serve(['--agent-forwarding', '--authorized-keys', lines])
  const taken = await runSsh(bounded.port, 'echo "<$SSH_AUTH_SOCK>"', key, 'root', more)
  assert.is(taken.stdout.toString(), '<>\n')
  await bounded.stop()
  const denying = await serve()
  const denied = await runSsh(denying.port, 'echo "<$SSH_AUTH_SOCK>"', key, 'root', more)
  assert.is(denied.stdout.toString(), '<>\n')
  await denying.stop()
  agent.kill()
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
  const { child, ended, says } = await serve(['--host', '0.0.0.0'])
  await says('other machines')
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
