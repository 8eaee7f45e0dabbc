/** One `msb ssh serve` for several sandboxes, with the programs of OpenSSH. */
// Time limit: 240 s
import { spawn, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Finished, finished, msb, temporaryDirectory } from './msb.ts'
import { endServers, fingerprint, makeKey, options, type Serving, serve, ssh } from './serving.ts'

const home = temporaryDirectory()
const [both, ofRed, ofBlue] = [makeKey(), makeKey(), makeKey()]
const log = join(home, 'audit.jsonl')
let gateway: Serving

test.before(async () => {
  for (const [key, ...where] of [
    [both],
    [ofRed, '--sandbox', 'local:red'],
    [ofBlue, '--sandbox', 'local:blue'],
  ]) {
    assert.is((await msb(['ssh', 'authorize', '--file', `${key}.pub`, ...where], { home })).code, 0)
  }
  const sandboxes = ['local:red', 'two=local:blue']
  gateway = await serve(home, [...sandboxes, '--audit-log', log, '--debug', '--linger', '10m'])
})
test.after(endServers)

test('the login is the sandbox, or the user and the sandbox', async () => {
  const run = async (login: string, identity: string): Promise<string> => {
    const { stdout, stderr } = await ssh(gateway.port, 'hostname; id -un', identity, login)
    return `${stdout.toString()}${stderr}`
  }
  assert.is(await run('red', both), 'red\nroot\n')
  assert.is(await run('root+red', ofRed), 'red\nroot\n')
  assert.is(await run('two', both), 'blue\nroot\n')
  assert.is(await run('root+two', ofBlue), 'blue\nroot\n')
})

test("one sandbox's grant opens no other, and an unknown one looks the same", async () => {
  const seen = async (login: string): Promise<string> => {
    const { code, stderr } = await ssh(gateway.port, 'true', ofRed, login)
    assert.is(code, 255)
    return stderr.replaceAll(login, 'LOGIN')
  }
  const refused = await seen('two')
  assert.is(refused, 'LOGIN@127.0.0.1: Permission denied (publickey).\r\n')
  // Another server, as this one turns us away soon.
  const fresh = await serve(home, ['local:red', 'two=local:blue'])
  const { stderr } = await ssh(fresh.port, 'true', ofRed, 'three')
  assert.is(stderr.replaceAll('three', 'LOGIN'), refused)
  await fresh.stop()
})

test('files go in and out by sftp and scp, and ports are forwarded, of the one or the other', async () => {
  const folder = temporaryDirectory()
  writeFileSync(join(folder, 'note'), 'for blue\n')
  const to = ['-P', String(gateway.port)]
  const put = spawn('scp', [
    ...options(both),
    ...to,
    join(folder, 'note'),
    'two@127.0.0.1:/tmp/note',
  ])
  assert.is((await finished(put)).code, 0)
  const batch = spawn('sftp', [...options(both), ...to, '-b', '-', 'root+two@127.0.0.1'])
  batch.stdin.end(`get /tmp/note ${folder}/back\n`)
  assert.is((await finished(batch)).code, 0)
  assert.is(readFileSync(join(folder, 'back'), 'utf8'), 'for blue\n')
  assert.is((await ssh(gateway.port, 'cat /tmp/note', both, 'red')).code, 1)

  const script = "require('net').createServer((s) => s.end('from ' + require('os').hostname()))"
  const listen = `${script}.listen(7777, '127.0.0.1', () => console.log('up'))`
  const child = spawn('ssh', [
    ...options(both),
    ...['-p', String(gateway.port), 'two@127.0.0.1', `node -e "${listen}"; cat`],
  ])
  const ended = finished(child)
  await new Promise((resolve) => child.stdout.once('data', resolve))
  const through = ['-W', '127.0.0.1:7777']
  const answer = await ssh(gateway.port, undefined, both, 'two', through)
  assert.is(answer.stdout.toString(), 'from blue', answer.stderr)
  const other = await ssh(gateway.port, undefined, both, 'red', through)
  assert.is(other.code, 255)
  child.kill('SIGTERM')
  await ended
})

test("the host key is the gateway's own, whichever sandbox is meant", async () => {
  const scanned = spawnSync('ssh-keyscan', ['-p', String(gateway.port), '127.0.0.1']).stdout
  const file = join(temporaryDirectory(), 'scanned')
  writeFileSync(file, scanned)
  const shown = spawnSync('ssh-keygen', ['-lf', file]).stdout.toString().split(' ')[1] ?? ''
  await msb(['ssh', 'config', 'local:red'], { home })
  const list = (await msb(['ssh', 'keys'], { home })).stdout.toString()
  const named = new Map(
    list.split('\n').map((line) => [line.split(/ {2,}/)[2] ?? '', line.split(/ {2,}/)[0]]),
  )
  assert.is(named.get('gateway'), shown)
  assert.ok(named.get('local:red') !== undefined && named.get('local:red') !== shown)
})

test('the audit log names the sandbox in each line about somebody who is in', async () => {
  const events = readFileSync(log, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  const ends = events.filter(({ event }) => event === 'session-ended')
  assert.ok(ends.length >= 6)
  for (const { sandbox, user } of ends) assert.is(sandbox, String(user).split('+').at(-1))
  const refused = events.find(({ event }) => event === 'key-refused')
  assert.equal([refused?.['user'], refused?.['key']], ['two', fingerprint(ofRed)])
  assert.match(gateway.stderr(), /refused two with .*: the key is not authorized/)
})

test('a sandbox that is full says so, and others are not', async () => {
  const small = await serve(home, ['local:red', 'local:blue', '--max-per-sandbox', '1'])
  const child = spawn('ssh', [
    ...options(both),
    ...['-p', String(small.port), 'red@127.0.0.1', 'echo up; cat'],
  ])
  const ended = finished(child)
  await new Promise((resolve) => child.stdout.once('data', resolve))
  const full = await ssh(small.port, 'true', both, 'red')
  assert.is(full.code, 255)
  assert.match(full.stderr, /red has as many connections as it may have/)
  assert.is((await ssh(small.port, 'true', both, 'blue')).code, 0)
  child.stdin.end()
  assert.is((await ended).code, 0)
  await small.stop()
})

test('keys and authorities may be in a file for each name', async () => {
  const folder = temporaryDirectory()
  writeFileSync(join(folder, 'red.keys'), readFileSync(`${ofBlue}.pub`), { mode: 0o600 })
  const server = await serve(home, [
    ...['local:red', 'local:blue', '--authorized-keys', join(folder, '%s.keys')],
  ])
  assert.match(server.stderr(), /warn: nobody may enter blue: no authorized keys in \S+blue\.keys/)
  assert.is((await ssh(server.port, 'true', ofBlue, 'red')).code, 0)
  assert.is((await ssh(server.port, 'true', ofBlue, 'blue')).code, 255)
  await server.stop()
})

test('a session keeps its sandbox while the gateway drains, and then everything ends', async () => {
  const child = spawn('ssh', [
    ...options(both),
    ...['-p', String(gateway.port), 'red@127.0.0.1', 'echo up; cat; echo done'],
  ])
  const over = finished(child)
  await new Promise((resolve) => child.stdout.once('data', resolve))
  gateway.child.kill('SIGINT')
  await gateway.says('Draining')
  child.stdin.end()
  const { code, stdout } = await over
  assert.equal([code, stdout.toString()], [0, 'up\ndone\n'])
  assert.is((await gateway.ended).code, 0)
  const socket = createConnection(gateway.port, '127.0.0.1')
  const refused = await new Promise((resolve) => socket.once('error', resolve))
  assert.match(String(refused), /ECONNREFUSED/)
})

test('nobody to enter, nothing to serve: said before anything is served', async () => {
  const nobody: Finished = await msb(['ssh', 'serve', 'local:a', 'local:b', '--port', '0'])
  assert.match(nobody.stderr, /^error: nobody may enter a: no authorized keys in /)
  assert.is(nobody.code, 1)
})

test.run()
