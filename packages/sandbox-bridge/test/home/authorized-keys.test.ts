/** `authorize` and reading `authorized_keys`. */
import { chmodSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateKey } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  authorizeKeys,
  readAuthorizedKeys,
  requireAuthorizedKeys,
} from '../../src/home/authorized-keys.ts'
import { SandboxError } from '../../src/home/errors.ts'
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
  await refused(home, `restrict ssh-ed25519 ${blob}`, /options before a key are not supported/)
  await refused(home, `sk-ssh-ed25519@openssh.com ${blob}`, /are not supported/)
  assert.throws(() => statSync(home.authorizedKeysPath), /ENOENT/)
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

test('bad lines are skipped with a warning, and lines with options let nobody in', () => {
  const home = temporaryHome()
  mkdirSync(home.sshPath, { mode: 0o700 })
  const good = line('good')
  const text = `# c\n\nnonsense\n${good}\nfrom="10.0.0.1" ${line('x')}\n  ${line('y')}  \n`
  writeFileSync(home.authorizedKeysPath, text, { mode: 0o600 })
  const { keys, warnings } = readAuthorizedKeys(home)
  assert.equal(
    keys.map(({ comment }) => comment),
    ['good', 'y'],
  )
  assert.is(warnings.length, 2)
  assert.match(warnings[0] ?? '', /authorized_keys line 3: invalid public key/)
  assert.match(warnings[1] ?? '', /authorized_keys line 5: .*options/)
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
