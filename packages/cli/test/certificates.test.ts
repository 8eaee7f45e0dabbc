/** `msb ssh serve --ca` and security keys, with the real ssh and ssh-keygen. */
// Time limit: 240 s
import { spawn, spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Finished, finished, msb, temporaryDirectory } from './msb.ts'
import { endServers, fingerprint, makeKey, serve, ssh } from './serving.ts'

const home = temporaryDirectory()
const ca = makeKey()
test.after(endServers)

/** A key with a certificate beside it, where ssh finds it. */
function holder(args: readonly string[], user = makeKey(), authority = ca): string {
  const certificate = ['-q', '-s', authority, '-I', 'ada, laptop', ...args, `${user}.pub`]
  const { status, stderr } = spawnSync('ssh-keygen', certificate)
  assert.is(status, 0, String(stderr))
  return user
}

/** A file of keys, at 0600. */
function keysFile(text: string): string {
  const path = join(temporaryDirectory(), 'keys')
  writeFileSync(path, text, { mode: 0o600 })
  return path
}

test('a certificate by ssh-keygen lets in, within what it says', async () => {
  const revoked = keysFile('')
  const log = join(temporaryDirectory(), 'audit.jsonl')
  const server = await serve(home, [
    ...['local:box', '--ca', `${ca}.pub`, '--revoked-keys', revoked],
    ...['--audit-log', log, '--debug'],
  ])
  const run = (identity: string, command: string | undefined, ...more: readonly string[]) =>
    ssh(server.port, command, identity, 'root', more)
  const good = holder(['-n', 'root', '-V', '+5m', '-z', '12'])
  const first = await run(good, 'echo in')
  assert.is(first.stdout.toString(), 'in\n', first.stderr)
  const forced = holder(['-n', 'root', '-O', 'force-command=echo "asked: $SSH_ORIGINAL_COMMAND"'])
  assert.is((await run(forced, 'echo in')).stdout.toString(), 'asked: echo in\n')
  const near = holder(['-n', 'root', '-O', 'source-address=127.0.0.0/8,10.0.0.0/8'])
  assert.is((await run(near, 'echo in')).stdout.toString(), 'in\n')
  const bare = holder(['-n', 'root', '-O', 'clear'])
  assert.match((await run(bare, 'tty', '-tt')).stdout.toString(), /may not have a terminal/)
  const forward = await run(bare, undefined, '-W', '127.0.0.1:1', '-o', 'LogLevel=INFO')
  assert.match(forward.stderr, /administratively prohibited/)
  const refused: readonly (readonly [RegExp, string])[] = [
    [/may not be used from this address/, holder(['-n', 'root', '-O', 'source-address=10.9.9.9'])],
    [/is for dev, not for root/, holder(['-n', 'dev'])],
  ]
  for (const [reason, identity] of refused) {
    assert.is((await run(identity, 'true')).code, 255, reason.source)
    await server.says(reason)
  }
  writeFileSync(revoked, 'serial: 12\n')
  assert.is((await run(good, 'echo in')).code, 255)
  await server.says('the certificate is revoked')
  await server.stop()
  const events = readFileSync(log, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  const login = events.find(({ event }) => event === 'logged-in')
  assert.is(login?.['key'], fingerprint(good))
  assert.equal(login?.['certificate'], {
    id: 'ada, laptop',
    serial: '12',
    authority: fingerprint(ca),
  })
})

test('certificates out of date, of strangers and unknown options do not', async () => {
  const server = await serve(home, ['local:box', '--ca', `${ca}.pub`, '--debug'])
  for (const [reason, identity] of [
    ['has expired', holder(['-n', 'root', '-V', '20200101:20200102'])],
    ['authority of the certificate is not trusted', holder(['-n', 'root'], makeKey(), makeKey())],
    ['not supported here: x@y', holder(['-n', 'root', '-O', 'critical:x@y=1'])],
  ] as const) {
    assert.is((await ssh(server.port, 'true', identity)).code, 255, reason)
    await server.says(reason)
  }
  await server.stop()
})

test('principals are asked for as the server is told', async () => {
  const server = await serve(home, ['local:box', '--ca', `${ca}.pub`, '--principals', 'ops,%u.%s'])
  assert.is((await ssh(server.port, 'true', holder(['-n', 'ops']))).code, 0)
  assert.is((await ssh(server.port, 'true', holder(['-n', 'root.local:box']))).code, 0)
  assert.is((await ssh(server.port, 'true', holder(['-n', 'root']))).code, 255)
  await server.stop()
})

test('authorize --ca is for one sandbox, for a time, listed and revoked', async () => {
  const own = temporaryDirectory()
  const args = ['--ca', '--principals', 'root,ops', '--sandbox', 'local:box', '--expires', '1h']
  const run = (...words: string[]): Promise<Finished> =>
    msb(['ssh', 'authorize', ...words], { home: own })
  assert.is((await run(...args, '--file', `${ca}.pub`)).code, 0)
  const list = (await run('--list')).stdout.toString()
  assert.match(list, /^SHA256:\S+ +ssh-ed25519 +local:box +authority for root,ops; until /)
  const identity = holder(['-n', 'ops'])
  const box = await serve(own, ['local:box'])
  assert.is((await ssh(box.port, 'true', identity)).code, 0)
  assert.is((await ssh(box.port, 'true', ca)).code, 255)
  assert.is((await run('--revoke', fingerprint(ca), '--sandbox', 'local:box')).code, 0)
  assert.is((await ssh(box.port, 'true', identity)).code, 255)
  await box.stop()
  await run(...args, '--file', `${ca}.pub`)
  const other = await msb(['ssh', 'serve', 'local:other', '--port', '0'], { home: own })
  assert.match(other.stderr, /^error: no authorized keys/)
  const given = await run('--file', `${identity}-cert.pub`)
  assert.match(given.stderr, /^error: this is a certificate: give the key that it is for/)
})

test('files of authorities that cannot be used are said so before anything is served', async () => {
  for (const [flags, message] of [
    [['--ca', '/no/such/file'], /^error: failed to read \/no\/such\/file: no such file/],
    [['--ca', keysFile('nonsense\n')], /^error: \S+ line 1: invalid public key; add a key/],
    [
      ['--ca', `${ca}.pub`, '--revoked-keys', keysFile('nonsense\n')],
      /^error: revoked keys \S+: line 1 is neither a public key/,
    ],
  ] as const) {
    const { code, stderr } = await msb(['ssh', 'serve', 'local:box', '--port', '0', ...flags])
    assert.match(stderr, message)
    assert.is(code, 1)
  }
})

const provider = [process.env['OPENSSH_REGRESS'] ?? '', '/usr/lib/openssh/regress']
  .map((folder) => join(folder, 'misc', 'sk-dummy', 'sk-dummy.so'))
  .find((path) => existsSync(path))

if (provider === undefined) {
  test.skip('the software security key of openssh-tests is not there: see OPENSSH_REGRESS', () => {})
} else {
  for (const type of ['ed25519-sk', 'ecdsa-sk']) {
    test(`a security key gets in touched, as its line says: ${type}`, async () => {
      // ssh refuses a library that others could write.
      const library = join(temporaryDirectory(), 'sk-dummy.so')
      copyFileSync(provider, library)
      const touched = makeKey(type, ['-w', library])
      const untouched = makeKey(type, ['-w', library, '-O', 'no-touch-required'])
      const keys = keysFile(readFileSync(`${touched}.pub`, 'utf8'))
      const server = await serve(home, ['local:box', '--authorized-keys', keys, '--debug'])
      const run = (identity: string): Promise<Finished> =>
        ssh(server.port, 'echo in', identity, 'root', ['-o', `SecurityKeyProvider=${library}`])
      const first = await run(touched)
      assert.is(first.stdout.toString(), 'in\n', first.stderr)
      const line = readFileSync(`${untouched}.pub`, 'utf8')
      writeFileSync(keys, line)
      assert.is((await run(untouched)).code, 255)
      await server.says('the security key was not touched')
      writeFileSync(keys, `no-touch-required ${line}`)
      assert.is((await run(untouched)).stdout.toString(), 'in\n')
      writeFileSync(keys, `verify-required,no-touch-required ${line}`)
      assert.is((await run(untouched)).code, 255)
      await server.says('the security key did not verify its user')
      await server.stop()
    })
  }

  test('a certificate for a security key says itself whether it must be touched', async () => {
    const library = join(temporaryDirectory(), 'sk-dummy.so')
    copyFileSync(provider, library)
    const server = await serve(home, ['local:box', '--ca', `${ca}.pub`, '--debug'])
    const run = (identity: string): Promise<Finished> =>
      ssh(server.port, 'echo in', identity, 'root', ['-o', `SecurityKeyProvider=${library}`])
    const key = (): string => makeKey('ed25519-sk', ['-w', library, '-O', 'no-touch-required'])
    assert.is((await run(holder(['-n', 'root'], key()))).code, 255)
    await server.says('the security key was not touched')
    const free = holder(['-n', 'root', '-O', 'no-touch-required'], key())
    assert.is((await run(free)).stdout.toString(), 'in\n')
    await server.stop()
  })

  test('authorize takes security keys, from a file or from the agent', async () => {
    const library = join(temporaryDirectory(), 'sk-dummy.so')
    copyFileSync(provider, library)
    const key = makeKey('ed25519-sk', ['-w', library])
    const own = temporaryDirectory()
    assert.is((await msb(['ssh', 'authorize', '--file', `${key}.pub`], { home: own })).code, 0)
    const list = await msb(['ssh', 'authorize', '--list'], { home: own })
    assert.match(list.stdout.toString(), /^SHA256:\S+ +sk-ssh-ed25519@openssh\.com +all sandboxes/)
    const shown = spawn('ssh-keygen', ['-lf', join(own, 'ssh', 'authorized_keys')])
    assert.match((await finished(shown)).stdout.toString(), /\(ED25519-SK\)/)
  })
}

test.run()
