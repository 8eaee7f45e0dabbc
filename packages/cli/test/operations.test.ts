/** Running a server: several keys and files, what its trace tells, and many who change files at once. */
// Time limit: 180 s
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { msb, temporaryDirectory } from './msb.ts'
import { endServers, fingerprint, makeKey, mode, serve, ssh } from './serving.ts'

test.after(endServers)

test('several host keys are shown, and keys of several files let in', async () => {
  const home = temporaryDirectory()
  const [ed25519, ecdsa] = [makeKey(), makeKey('ecdsa')]
  const users = [makeKey(), makeKey('rsa')]
  const files = users.map((user) => {
    const path = join(temporaryDirectory(), 'keys')
    writeFileSync(path, readFileSync(`${user}.pub`), { mode: 0o600 })
    return path
  })
  const server = await serve(home, [
    ...['local:box', '--host-key', ed25519, '--host-key', ecdsa],
    ...files.flatMap((path) => ['--authorized-keys', path]),
  ])
  const { stdout } = spawnSync('ssh-keyscan', ['-p', String(server.port), '127.0.0.1'])
  const scanned = join(temporaryDirectory(), 'scanned')
  writeFileSync(scanned, stdout)
  const shown = spawnSync('ssh-keygen', ['-lf', scanned]).stdout.toString()
  for (const key of [ed25519, ecdsa]) assert.ok(shown.includes(fingerprint(key)), shown)
  for (const user of users) assert.is((await ssh(server.port, 'true', user)).code, 0)
  await server.stop('SIGTERM')
})

test('a trace names every message, and shows no key, no command and no byte of a session', async () => {
  const home = temporaryDirectory()
  const key = makeKey()
  await msb(['ssh', 'authorize', '--file', `${key}.pub`], { home })
  const server = await serve(home, ['local:box', '--trace'])
  const { stdout } = await ssh(server.port, 'echo s3cret-output; : s3cret-command', key)
  assert.is(stdout.toString(), 's3cret-output\n')
  const { stderr } = await server.stop()
  const traced = stderr.split('\n').filter((line) => line.startsWith('trace: '))
  const text = traced.join('\n')
  for (const message of ['KEXINIT', 'USERAUTH_REQUEST', 'CHANNEL_OPEN', 'CHANNEL_DATA']) {
    assert.match(text, new RegExp(message))
  }
  const [, blob = ''] = readFileSync(`${key}.pub`, 'utf8').split(' ')
  for (const secret of ['s3cret', blob, Buffer.from('s3cret').toString('hex')]) {
    assert.not.ok(text.includes(secret), secret)
  }
})

test('many who authorize and revoke at once lose no key and leave no half of a file', async () => {
  const home = temporaryDirectory()
  const keys = Array.from({ length: 6 }, () => makeKey())
  const run = (...args: string[]): ReturnType<typeof msb> =>
    msb(['ssh', 'authorize', ...args], { home })
  await run('--file', `${keys[0]}.pub`)
  const results = await Promise.all([
    ...keys.slice(1).map((key) => run('--file', `${key}.pub`)),
    run('--revoke', fingerprint(keys[0])),
  ])
  for (const { code, stderr } of results) assert.is(code, 0, stderr)
  const path = join(home, 'ssh', 'authorized_keys')
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n').sort()
  const expected = keys.slice(1).map((key) => readFileSync(`${key}.pub`, 'utf8').trimEnd())
  assert.equal(lines, expected.sort())
  assert.is(mode(path), '600')
  const left = readdirSync(join(home, 'ssh')).filter((name) => name.endsWith('.tmp'))
  assert.equal(left, [])
})

test.run()
