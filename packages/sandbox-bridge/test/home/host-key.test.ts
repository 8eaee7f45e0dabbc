/** Creating and loading host keys. */
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { generateKey } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SandboxError } from '../../src/home/errors.ts'
import { loadOrCreateHostKey } from '../../src/home/host-key.ts'
import { temporaryDirectory } from './temporary.ts'

const mode = (path: string): string => (statSync(path).mode & 0o7777).toString(8)
const freshPath = (): string => join(temporaryDirectory(), 'box', 'ssh', 'host_ed25519')

async function refused(path: string, message: RegExp): Promise<void> {
  try {
    await loadOrCreateHostKey(path)
  } catch (error) {
    assert.ok(error instanceof SandboxError)
    assert.is(error.code, 'HOST_KEY_INVALID')
    assert.ok(error.message.includes(path))
    assert.match(error.message, message)
    return
  }
  assert.unreachable(`must be refused with ${message}`)
}

test('a host key is made once, private, and found again', async () => {
  const path = freshPath()
  const made = await loadOrCreateHostKey(path)
  assert.is(made.publicKey.type, 'ssh-ed25519')
  assert.is(mode(path), '600')
  assert.is(mode(dirname(path)), '700')
  assert.equal(readdirSync(dirname(path)), ['host_ed25519'])
  const again = await loadOrCreateHostKey(path)
  assert.is(again.publicKey.fingerprint(), made.publicKey.fingerprint())
})

test('ssh-keygen reads a host key of ours', async () => {
  const path = freshPath()
  const key = await loadOrCreateHostKey(path)
  const shown = spawnSync('ssh-keygen', ['-y', '-f', path], { encoding: 'utf8' })
  assert.is(shown.stdout.trim(), key.publicKey.toString())
})

test('many servers starting at once end up with one key', async () => {
  const path = freshPath()
  const keys = await Promise.all(Array.from({ length: 20 }, () => loadOrCreateHostKey(path)))
  assert.is(new Set(keys.map(({ publicKey }) => publicKey.fingerprint())).size, 1)
  assert.equal(readdirSync(dirname(path)), ['host_ed25519'])
})

test('a key with loose modes is tightened at each load', async () => {
  const path = freshPath()
  await loadOrCreateHostKey(path)
  chmodSync(path, 0o644)
  await loadOrCreateHostKey(path)
  assert.is(mode(path), '600')
})

test('a custom path leaves the modes of its directories alone', async () => {
  const path = freshPath()
  mkdirSync(dirname(dirname(path)))
  chmodSync(dirname(dirname(path)), 0o755)
  await loadOrCreateHostKey(path, { custom: true })
  assert.is(mode(dirname(dirname(path))), '755')
  assert.is(mode(path), '600')
})

test('a broken, encrypted or foreign file is an error that names it', async () => {
  const write = (text: string): string => {
    const path = freshPath()
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
    return path
  }
  await refused(write('rubbish'), /cannot be understood/)
  await refused(write(''), /cannot be understood/)
  await refused(write(generateKey('ed25519').toOpenSsh().slice(0, -120)), /cannot be understood/)
  await refused(write('x'.repeat(70_000)), /larger than/)
  const directory = freshPath()
  mkdirSync(directory, { recursive: true })
  await refused(directory, /not a regular file/)
  const encrypted = join(temporaryDirectory(), 'key')
  const args = ['-q', '-t', 'ed25519', '-N', 'secret', '-f', encrypted]
  assert.is(spawnSync('ssh-keygen', args).status, 0)
  await refused(encrypted, /is encrypted/)
  assert.match(readFileSync(encrypted, 'utf8'), /BEGIN OPENSSH/)
})

test.run()
