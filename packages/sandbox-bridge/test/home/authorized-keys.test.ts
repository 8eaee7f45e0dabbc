/** `authorize` and reading `authorized_keys`. */
import { chmodSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateKey, Writer } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { authorizeKeys, revokeKey } from '../../src/home/authorize.ts'
import { readAuthorizedKeys, requireAuthorizedKeys } from '../../src/home/authorized-keys.ts'
import { SandboxError } from '../../src/home/errors.ts'
import { sandboxKeysPath } from '../../src/home/grants.ts'
import type { Home } from '../../src/home/home.ts'
import { temporaryHome } from './temporary.ts'

const mode = (path: string): string => (statSync(path).mode & 0o7777).toString(8)
const line = (comment: string): string => generateKey('ed25519', { comment }).publicKey.toString()
const content = (home: Home): string => readFileSync(home.authorizedKeysPath, 'utf8')

async function refused(home: Home, input: string, message: RegExp): Promise<void> {
  try {
    await authorizeKeys(home, input)
  } catch (error) {
    assert.instance(error, SandboxError)
    assert.match((error as Error).message, message)
    return
  }
  assert.unreachable(`must be refused with ${message}`)
}

test('a first key makes directory and file with their modes', async () => {
  const home = temporaryHome()
  const key = line('ada@host')
  assert.equal(
    (await authorizeKeys(home, `  ${key}\n`)).map(({ added }) => added),
    [true],
  )
  assert.is(content(home), `${key}\n`)
  assert.is(mode(home.sshPath), '700')
  assert.is(mode(home.authorizedKeysPath), '600')
})

test('modes that were too wide are corrected', async () => {
  const home = temporaryHome()
  mkdirSync(home.sshPath, { mode: 0o755 })
  writeFileSync(home.authorizedKeysPath, '', { mode: 0o644 })
  await authorizeKeys(home, line(''))
  assert.is(mode(home.sshPath), '700')
  assert.is(mode(home.authorizedKeysPath), '600')
})

test('a key is the same whatever its comment, and the file is then left alone', async () => {
  const home = temporaryHome()
  const [type, blob] = line('one').split(' ')
  await authorizeKeys(home, `${type} ${blob} one`)
  const before = statSync(home.authorizedKeysPath)
  const results = await authorizeKeys(home, `${type} ${blob} two`)
  assert.equal(
    results.map(({ added }) => added),
    [false],
  )
  assert.is(statSync(home.authorizedKeysPath).ino, before.ino)
  assert.is(content(home), `${type} ${blob} one\n`)
})

test('a bare blob becomes a whole line, and a missing final newline is added first', async () => {
  const home = temporaryHome()
  mkdirSync(home.sshPath)
  writeFileSync(home.authorizedKeysPath, '# no newline at the end')
  const [type, blob = ''] = line('').split(' ')
  await authorizeKeys(home, blob)
  assert.is(content(home), `# no newline at the end\n${type} ${blob}\n`)
})

test('several keys in one input are each checked, and added all or none', async () => {
  const home = temporaryHome()
  const [a, b, c] = [line('a'), line('b'), line('c')]
  await authorizeKeys(home, b)
  const results = await authorizeKeys(home, `# team\n${a}\r\n\n${b}\n${c}\n${a}`)
  assert.equal(
    results.map(({ added }) => added),
    [true, false, true, false],
  )
  assert.is(content(home), `${b}\n${a}\n${c}\n`)
  await refused(home, `${line('d')}\nssh-ed25519 nonsense\n`, /line 2: invalid public key/)
  assert.is(content(home), `${b}\n${a}\n${c}\n`)
})

test('input that is no key is refused in the words of the reference', async () => {
  const home = temporaryHome()
  await refused(home, '', /^public key cannot be empty$/)
  await refused(home, '# comment', /^public key cannot be empty$/)
  await refused(home, 'ssh-ed25519', /^public key is missing key data$/)
  await refused(home, 'ssh-ed25519 AAAA', /^invalid public key$/)
  await refused(home, 'hello', /^invalid public key$/)
  await refused(home, '-----BEGIN OPENSSH PRIVATE KEY-----', /^invalid public key$/)
  const [, blob = ''] = line('').split(' ')
  await refused(home, `ssh-ed25519 ${blob.slice(0, -8)}`, /^invalid public key$/)
  await refused(home, `tunnel-all ssh-ed25519 ${blob}`, /unknown option "tunnel-all"/)
  await refused(home, `principals="ada" ssh-ed25519 ${blob}`, /goes with "cert-authority"/)
  await refused(home, `ssh-ed25519-cert-v01@openssh.com ${blob}`, /^this is a certificate: give/)
  assert.throws(() => statSync(home.authorizedKeysPath), /ENOENT/)
})

test('security keys are taken, and what they must show', async () => {
  const home = temporaryHome()
  const parts = (...fields: readonly (string | Uint8Array)[]): string =>
    Buffer.from(fields.reduce((to, field) => to.string(field), new Writer()).finish()).toString(
      'base64',
    )
  const ed25519 = parts('sk-ssh-ed25519@openssh.com', new Uint8Array(32), 'ssh:')
  const ecdsa = 'sk-ecdsa-sha2-nistp256@openssh.com'
  await authorizeKeys(home, `sk-ssh-ed25519@openssh.com ${ed25519} touch me`)
  await authorizeKeys(home, parts(ecdsa, 'nistp256', new Uint8Array(65), 'ssh:'))
  await authorizeKeys(home, `verify-required ${line('pin')}`)
  const lines = readAuthorizedKeys(home, undefined)
  assert.equal(
    lines.keys.map(({ key, options }) => [key.type, options.touchRequired, options.verifyRequired]),
    [
      ['sk-ssh-ed25519@openssh.com', true, false],
      [ecdsa, true, false],
      ['ssh-ed25519', true, true],
    ],
  )
  await refused(home, parts(ecdsa, 'nistp384', new Uint8Array(65), 'ssh:'), /^invalid public key$/)
})

test('a secret in the input does not come back in the message', async () => {
  const home = temporaryHome()
  try {
    await authorizeKeys(home, 'c2VjcmV0LXNlY3JldA==')
    assert.unreachable()
  } catch (error) {
    assert.not.match(String(error), /c2VjcmV0/)
  }
})

test('keys added at once are all there', async () => {
  const home = temporaryHome()
  const lines = Array.from({ length: 6 }, (_, index) => line(`key${index}`))
  await Promise.all(lines.map((key) => authorizeKeys(home, key)))
  assert.equal(content(home).trim().split('\n').sort(), lines.slice().sort())
})

test('bad lines are skipped with a warning, and options that are not enforced let nobody in', () => {
  const home = temporaryHome()
  mkdirSync(home.sshPath, { mode: 0o700 })
  const [good, y] = [line('good'), line('y')]
  const text = `# c\n\nnonsense\n${good}\ntunnel-all ${line('x')}\n  from="10.0.0.1" ${y}  \n`
  writeFileSync(home.authorizedKeysPath, text, { mode: 0o600 })
  const { keys, warnings } = readAuthorizedKeys(home)
  assert.equal(
    keys.map(({ key, line: number }) => [key.comment, number]),
    [
      ['good', 4],
      ['y', 6],
    ],
  )
  assert.equal(keys[1]?.options.from, ['10.0.0.1'])
  assert.is(warnings.length, 2)
  assert.match(warnings[0] ?? '', /authorized_keys line 3: invalid public key/)
  assert.match(warnings[1] ?? '', /authorized_keys line 5: .*unknown option "tunnel-all"/)
})

test('an authority is a line of its own, with the principals that it is good for', async () => {
  const home = temporaryHome()
  const key = line('ca')
  await authorizeKeys(home, key)
  await authorizeKeys(home, `from="10.0.0.0/8" ${key}`, {
    authority: { principals: ['ada', 'ci'] },
  })
  const again = await authorizeKeys(home, key, { authority: {}, expiryMs: Date.UTC(2100, 0, 1) })
  assert.equal(
    again.map(({ added, renewed }) => [added, renewed]),
    [[false, true]],
  )
  assert.is(
    content(home),
    `${key}\nexpiry-time="21000101000000Z",cert-authority,principals="ada,ci",from="10.0.0.0/8" ${key}\n`,
  )
  const options = readAuthorizedKeys(home).keys[1]?.options
  assert.ok(options?.certAuthority)
  assert.equal(options.principals, ['ada', 'ci'])
  for (const principals of [[''], ['a b'], ['a"b'], ['a\nb'], ['a,b']]) {
    try {
      await authorizeKeys(home, key, { authority: { principals } })
      assert.unreachable()
    } catch (error) {
      assert.match((error as Error).message, /^invalid principal/)
    }
  }
})

test('a key may be given an end, which is written as sshd reads it, and moved', async () => {
  const home = temporaryHome()
  const key = line('ada')
  const first = Date.UTC(2100, 0, 2, 3, 4, 5) + 678
  await authorizeKeys(home, key, { expiryMs: first })
  assert.is(content(home), `expiry-time="21000102030405Z" ${key}\n`)
  assert.is(readAuthorizedKeys(home).keys[0]?.options.expiryMs, first - 678)
  const renewed = async (expiryMs?: number): Promise<unknown> =>
    (await authorizeKeys(home, key, expiryMs === undefined ? {} : { expiryMs }))[0]?.renewed
  assert.is(await renewed(first), false)
  assert.is(await renewed(), false)
  assert.is(await renewed(Date.UTC(2099, 0)), true)
  assert.is(content(home), `expiry-time="20990101000000Z" ${key}\n`)
})

test('a key that had expired is let in again, and keeps its other options', async () => {
  const home = temporaryHome()
  mkdirSync(home.sshPath, { mode: 0o700 })
  const [a, b] = [line('a'), line('b')]
  const options = 'no-pty,command="say \\"a, b\\"",expiry-time="20200101"'
  writeFileSync(home.authorizedKeysPath, `# top\n${options} ${a}\n${b}\n`, { mode: 0o600 })
  const [result] = await authorizeKeys(home, a)
  assert.equal([result?.added, result?.renewed], [false, true])
  assert.is(content(home), `# top\nno-pty,command="say \\"a, b\\"" ${a}\n${b}\n`)
})

test('keys for one sandbox are kept apart from those for all', async () => {
  const home = temporaryHome()
  const [all, one] = [line('all'), line('one')]
  await authorizeKeys(home, all)
  await authorizeKeys(home, one, { sandbox: 'local:box' })
  const path = sandboxKeysPath(home, 'local:box?net=host')
  assert.match(path, /\/ssh\/authorized_keys\.d\/local\+box\.[0-9a-f]{12}$/)
  assert.is(mode(join(home.sshPath, 'authorized_keys.d')), '700')
  assert.is(mode(path), '600')
  const comments = (sandbox?: string): readonly string[] =>
    readAuthorizedKeys(home, sandbox).keys.map(({ key }) => key.comment)
  assert.equal(comments(), ['all'])
  assert.equal(comments('box'), ['all'])
  assert.equal(comments('Box'), ['all'])
  assert.equal(comments('local:box'), ['all', 'one'])
  chmodSync(path, 0o666)
  assert.throws(() => readAuthorizedKeys(home, 'local:box'), /cannot be trusted/)
  await authorizeKeys(home, one, { sandbox: '../x' }).then(
    () => assert.unreachable(),
    (error: unknown) => assert.is((error as SandboxError).code, 'SANDBOX_NAME_INVALID'),
  )
})

test('a revoked key is gone with every line of it, and nothing else is', async () => {
  const home = temporaryHome()
  mkdirSync(home.sshPath, { mode: 0o700 })
  const key = generateKey('ed25519', { comment: 'gone' }).publicKey
  const other = line('stays')
  const text = `# top\n${key}\nnonsense\nno-pty ${key}\n${other}\n`
  writeFileSync(home.authorizedKeysPath, text, { mode: 0o600 })
  assert.equal(await revokeKey(home, generateKey('ed25519').publicKey.toString()), [])
  assert.is(content(home), text)
  assert.is((await revokeKey(home, key.fingerprint())).length, 2)
  assert.is(content(home), `# top\nnonsense\n${other}\n`)
  assert.is((await revokeKey(home, other.split(' ')[1] ?? '')).length, 1)
  assert.is(content(home), '# top\nnonsense\n')
  assert.equal(await revokeKey(home, other, { sandbox: 'box' }), [])
})

test('a missing file has no keys, which a server must be told before it listens', () => {
  const home = temporaryHome()
  assert.equal(readAuthorizedKeys(home), { keys: [], warnings: [] })
  assert.throws(
    () => requireAuthorizedKeys(home),
    /no authorized keys in .*msb ssh authorize --file/,
  )
})

test('files that others can write to are not trusted', async () => {
  const home = temporaryHome()
  await authorizeKeys(home, line(''))
  const untrusted = (path: string, wide: number, right: number): void => {
    chmodSync(path, wide)
    assert.throws(
      () => readAuthorizedKeys(home),
      (error: unknown) =>
        error instanceof SandboxError &&
        error.code === 'MODE_UNSAFE' &&
        error.message.includes(`chmod go-w ${path}`),
    )
    chmodSync(path, right)
  }
  untrusted(home.authorizedKeysPath, 0o602, 0o600)
  untrusted(home.sshPath, 0o777, 0o700)
  untrusted(home.path, 0o757, 0o700)
  assert.is(readAuthorizedKeys(home).keys.length, 1)
})

test('an authorized_keys that is a directory, a device or a dangling link is an error', () => {
  const home = temporaryHome()
  mkdirSync(home.authorizedKeysPath, { recursive: true })
  assert.throws(() => readAuthorizedKeys(home), /failed to read .*not a regular file/)
  const other = temporaryHome()
  mkdirSync(other.sshPath, { mode: 0o700 })
  symlinkSync('/dev/zero', other.authorizedKeysPath)
  assert.throws(() => readAuthorizedKeys(other), /failed to read .*not a regular file/)
  const third = temporaryHome()
  mkdirSync(third.sshPath, { mode: 0o700 })
  symlinkSync(join(third.path, 'nowhere'), third.authorizedKeysPath)
  assert.equal(readAuthorizedKeys(third).keys, [])
})

test.run()
