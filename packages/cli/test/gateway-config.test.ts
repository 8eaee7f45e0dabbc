/** `msb ssh config --gateway`, and with what it writes every program that goes through a gateway. */
// Time limit: 240 s
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Finished, finished, msb, temporaryDirectory } from './msb.ts'
import { endServers, fingerprint, makeKey, mode, type Serving, serve } from './serving.ts'

/** Of the gateway's machine, and of a client's. */
const [there, here] = [temporaryDirectory(), temporaryDirectory()]
const config = (home: string): string => join(home, '.ssh', 'config')
let gateway: Serving
let address = ''

test.before(async () => {
  const somebody = await msb(['ssh', 'authorize', '--file', `${makeKey()}.pub`], { home: there })
  assert.is(somebody.code, 0, somebody.stderr)
  gateway = await serve(there, ['local:red', 'local:blue', '--linger', '10m'])
  address = `127.0.0.1:${gateway.port}`
})
test.after(endServers)

/** A program of a user whose machine that is. */
function run(home: string, program: string, ...args: string[]): Promise<Finished> {
  const env = { PATH: process.env['PATH'] ?? '', HOME: home, GIT_SSH_COMMAND: '' }
  env.GIT_SSH_COMMAND = `ssh -F ${config(home)}`
  return finished(spawn(program, args, { env, cwd: home, stdio: ['ignore', 'pipe', 'pipe'] }))
}

const ssh = (home: string, ...args: string[]): Promise<Finished> =>
  run(home, 'ssh', '-F', config(home), '-o', 'BatchMode=yes', ...args)

const write = (home: string, ...args: string[]): Promise<Finished> =>
  msb(['ssh', 'config', '--gateway', address, '--write', ...args], { home })

test('on its own machine a gateway is known, and what it serves lets in at once', async () => {
  const written = await write(there, 'local:red', 'local:blue')
  assert.is(written.code, 0, written.stderr)
  assert.match(written.stderr, /✓ Try {10}ssh red\.msb\n(.*\n)*.*✓ Try {10}ssh blue\.msb\n/)
  for (const name of ['red', 'blue']) {
    const result = await ssh(there, `${name}.msb`, 'hostname')
    assert.is(result.stdout.toString(), `${name}\n`, result.stderr)
  }
  const files = ['config', 'known_hosts', 'id_ed25519'].map((name) => join(there, 'ssh', name))
  const before = files.map((path) => readFileSync(path, 'utf8'))
  for (const path of files) assert.is(mode(path), '600')
  // One pin for all of its sandboxes.
  assert.is(before[1]?.split('\n').filter((line) => line.startsWith('[127.0.0.1]:')).length, 1)
  assert.match((await write(there, 'local:red', 'local:blue')).stderr, /Already written/)
  assert.equal(
    files.map((path) => readFileSync(path, 'utf8')),
    before,
  )
})

test('scp, sftp, rsync and git go through it by those names', async () => {
  mkdirSync(join(there, 'tree', 'deep'), { recursive: true })
  const bytes = randomBytes(2_000_000)
  writeFileSync(join(there, 'tree', 'deep', 'file'), bytes)
  const done = async (program: string, ...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(there, program, ...args)
    assert.is(code, 0, `${program}: ${stderr}`)
    return stdout.toString()
  }
  const F = ['-F', config(there)]
  await done('scp', '-q', ...F, '-r', 'tree', 'red.msb:by-scp')
  writeFileSync(join(there, 'batch'), 'rename by-scp by-sftp\nget by-sftp/deep/file back\n')
  await done('sftp', '-q', ...F, '-b', 'batch', 'red.msb')
  assert.ok(readFileSync(join(there, 'back')).equals(bytes))
  await done('rsync', '-a', '-e', `ssh -F ${config(there)}`, 'tree/', 'red.msb:by-rsync/')
  await done('rsync', '-a', '-e', `ssh -F ${config(there)}`, 'red.msb:by-rsync/', 'returned/')
  assert.ok(readFileSync(join(there, 'returned', 'deep', 'file')).equals(bytes))
  await done('ssh', ...F, 'red.msb', 'git init -q --bare -b main repo.git')
  await done('git', 'clone', '-q', 'red.msb:repo.git', 'clone')
  const identity = ['-c', 'user.name=Ada', '-c', 'user.email=ada@example.org']
  writeFileSync(join(there, 'clone', 'large'), bytes)
  await done('git', '-C', 'clone', 'add', '.')
  await done('git', '-C', 'clone', ...identity, 'commit', '-q', '-m', 'one')
  await done('git', '-C', 'clone', 'push', '-q', 'origin', 'HEAD:main')
  await done('git', 'clone', '-q', 'ssh://red.msb/~/repo.git', 'again')
  assert.ok(readFileSync(join(there, 'again', 'large')).equals(bytes))
  // Nothing of it is in the other sandbox.
  assert.is((await ssh(there, 'blue.msb', 'ls repo.git by-sftp by-rsync')).code, 2)
})

test('msb ssh cp goes through it: in, out, and from one sandbox to another', async () => {
  const cp = (...args: string[]): Promise<Finished> =>
    msb(['ssh', 'cp', ...args.map((arg) => arg.replace('GW', address))], { home: there })
  const source = join(there, 'tree')
  for (const args of [
    ['-r', source, 'ssh://red@GW/copied'],
    ['-r', 'ssh://red@GW/copied', 'ssh://root+blue@GW//tmp/copied'],
    ['ssh://blue@GW//tmp/copied/deep/file', join(there, 'out')],
    ['ssh://red@GW/~/copied/deep/file', 'ssh://red@GW/'],
  ]) {
    const result = await cp(...args)
    assert.is(result.code, 0, result.stderr)
    assert.is(result.stderr, '')
  }
  assert.ok(
    readFileSync(join(there, 'out')).equals(readFileSync(join(there, 'tree', 'deep', 'file'))),
  )
  for (const [args, message] of [
    [['ssh://red@GW/none', here], /^error: ssh:\/\/red@127\.0\.0\.1:\d+\/none: .*no such file/i],
    [['ssh://GW/x', here], /says no login/],
    [['ssh://red@GW:1:2/x', here], /it is HOST\[:PORT\]/],
    [['-u', 'ada', 'ssh://red@GW/x', here], /--user is of sandboxes here/],
    [['ssh://red@127.0.0.1:1/x', here], /^error: ssh:\/\/red@127\.0\.0\.1:1: .*/],
    [['ssh://green@GW/x', here], /^error: ssh:\/\/green@.*was not let in/],
  ] as const) {
    const result = await cp(...args)
    assert.is(result.code, 1, args.join(' '))
    assert.match(result.stderr, message)
    assert.is(result.stderr.trim().split('\n').length, 1)
  }
})

test('on another machine its host key is given, by fingerprint or as a whole, and pinned', async () => {
  const unknown = await write(here, 'local:blue')
  assert.match(unknown.stderr, /^error: the host key of that gateway is not known here: .*\n$/)
  assert.is(unknown.code, 1)
  const cp = await msb(['ssh', 'cp', `ssh://blue@${address}/x`, here], { home: here })
  assert.match(cp.stderr, /; pin its key: msb ssh config --gateway 127\.0\.0\.1:\d+ --host-key/)
  const wrong = await write(here, 'local:blue', '--host-key', fingerprint(makeKey()))
  assert.match(wrong.stderr, /^error: 127\.0\.0\.1:\d+ has another host key, SHA256:\S+: /)
  assert.is(wrong.code, 1)
  assert.is((await write(here, 'local:blue', '--host-key', 'nonsense')).code, 1)
  const keys = (await msb(['ssh', 'keys'], { home: there })).stdout.toString()
  const shown = /^(SHA256:\S+) .* gateway$/m.exec(keys)?.[1] ?? ''
  const written = await write(here, 'local:blue', '--host-key', shown)
  assert.is(written.code, 0, written.stderr)
  // What to do over there is told, and then done.
  const told = /^warn: .* there: msb ssh authorize --sandbox local:blue --key '(.*)'$/m.exec(
    written.stderr,
  )
  assert.is((await ssh(here, 'blue.msb', 'true')).code, 255)
  const grant = ['ssh', 'authorize', '--sandbox', 'local:blue', '--key', told?.[1] ?? '']
  assert.is((await msb(grant, { home: there })).code, 0)
  assert.is((await ssh(here, 'blue.msb', 'hostname')).stdout.toString(), 'blue\n')
  // The whole key, for the gateway itself: the login says which.
  const line = readFileSync(join(here, 'ssh', 'known_hosts'), 'utf8')
    .split(' ')
    .slice(1)
    .join(' ')
  const plain = await write(here, '--host-key', line.trim(), '--alias', 'gw')
  assert.match(plain.stderr, /✓ Try {10}ssh NAME@gw\n/)
  assert.is((await ssh(here, 'root+blue@gw', 'hostname')).stdout.toString(), 'blue\n')
  assert.is((await ssh(here, 'red@gw', 'hostname')).code, 255)
})

test('users, keys of their own, and what cannot be meant', async () => {
  const own = makeKey()
  const grant = ['ssh', 'authorize', '--sandbox', 'local:red', '--file', `${own}.pub`]
  assert.is((await msb(grant, { home: there })).code, 0)
  rmSync(join(there, 'ssh', 'id_ed25519'))
  const args = ['red', '--user', 'root', '--identity', own, '--alias', 'mine']
  const written = await write(there, ...args)
  assert.is(written.code, 0, written.stderr)
  assert.match(readFileSync(join(there, 'ssh', 'config'), 'utf8'), /User root\+red\n/)
  // By now there is a sandbox that this name can mean, and no other.
  assert.not.match(written.stderr, /warn/)
  assert.is((await ssh(there, 'mine', 'hostname')).stdout.toString(), 'red\n')
  for (const [bad, code, message] of [
    [['--gateway', address, 'a b'], 2, /invalid sandbox name/],
    [['--gateway', address, 'unix:/x'], 2, /needs a name for logins: NAME=unix:\/x/],
    [['--gateway', address, 'red', '-u', ''], 1, /cannot be the login of a gateway/],
    [['--gateway', 'gw:x', 'red'], 2, /a port is a number/],
    [['--gateway', '', 'red'], 2, /it is HOST\[:PORT\]/],
    [['--gateway', '-oProxyCommand=x', 'red'], 1, /is no name of a host/],
    [['--gateway', address, '--user', 'ada'], 2, /needs a sandbox/],
    [['--host-key', 'SHA256:x', 'local:red'], 2, /'--host-key' goes with '--gateway'/],
    [['--identity', own, 'local:red'], 2, /'--identity' goes with '--gateway'/],
    [['red', 'blue', '--alias', 'x'], 2, /'--alias' is for one sandbox/],
    [[], 2, /missing required argument 'sandbox'/],
  ] as const) {
    const result = await msb(['ssh', 'config', ...bad], { home: there })
    assert.match(result.stderr, message)
    assert.is(result.code, code, bad.join(' '))
  }
})

test('a gateway with another host key is refused, not asked about', async () => {
  await gateway.stop()
  rmSync(join(there, 'ssh', 'gateway'), { recursive: true })
  const impostor = await serve(there, ['local:red', 'local:blue', '--port', String(gateway.port)])
  const refused = await ssh(here, 'blue.msb', 'true')
  assert.is(refused.code, 255)
  assert.match(refused.stderr, /HOST IDENTIFICATION HAS CHANGED/)
  const cp = await msb(['ssh', 'cp', `ssh://blue@${address}/x`, here], { home: here })
  assert.match(cp.stderr, /^error: ssh:\/\/blue@.*key/)
  assert.is(cp.code, 1)
  await impostor.stop()
})

test.run()
