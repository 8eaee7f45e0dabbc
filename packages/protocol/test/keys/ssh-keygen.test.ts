/** The key files of the real ssh-keygen, both ways. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { modern } from '../../src/algorithms/modern.ts'
import { defaultCrypto } from '../../src/crypto/native.ts'
import { HostKeyError, knownHosts } from '../../src/keys/known-hosts.ts'
import { generateKey, type KeyKind, parsePrivateKey } from '../../src/keys/private-key.ts'
import { PublicKey } from '../../src/keys/public-key.ts'

const folder = mkdtempSync(join(tmpdir(), 'keys-'))
test.after(() => rmSync(folder, { recursive: true }))

function keygen(...args: readonly string[]): string {
  return execFileSync('ssh-keygen', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

const read = (path: string): string => readFileSync(path, 'utf8')

const types: readonly (readonly [kind: KeyKind, type: string, bits: string])[] = [
  ['ed25519', 'ed25519', '256'],
  ['ecdsa-nistp256', 'ecdsa', '256'],
  ['ecdsa-nistp384', 'ecdsa', '384'],
  ['ecdsa-nistp521', 'ecdsa', '521'],
  ['rsa-3072', 'rsa', '3072'],
]

for (const [kind, type, bits] of types) {
  test(`${kind}: a key of ssh-keygen is read and signs for its public half`, async () => {
    const path = join(folder, `from-${kind}`)
    keygen('-q', '-t', type, '-b', bits, '-N', '', '-C', 'ada & co', '-f', path)
    const key = await parsePrivateKey(read(path))
    const line = read(`${path}.pub`)
    assert.is(key.publicKey.toString(), line.trim())
    const data = new TextEncoder().encode('hello')
    for (const algorithm of key.algorithms) {
      const spec = modern(defaultCrypto()).userKeys.find(({ name }) => name === algorithm)
      const signature = key.sign(data, algorithm)
      assert.ok(spec?.verify(defaultCrypto(), PublicKey.parse(line), data, signature))
    }
    assert.ok(keygen('-lf', path).includes(key.publicKey.fingerprint()))
  })

  test(`${kind}: ssh-keygen reads our key, plain and encrypted`, () => {
    const key = generateKey(kind, { comment: 'made here' })
    const path = join(folder, `to-${kind}`)
    writeFileSync(path, key.toOpenSsh(), { mode: 0o600 })
    assert.is(keygen('-y', '-f', path).trim(), key.publicKey.toString())
    const sealed = join(folder, `to-${kind}-sealed`)
    writeFileSync(sealed, key.toEncryptedOpenSsh('open sesame', { rounds: 2 }), { mode: 0o600 })
    assert.is(keygen('-y', '-P', 'open sesame', '-f', sealed).trim(), key.publicKey.toString())
    assert.throws(() => keygen('-y', '-P', 'wrong', '-f', sealed), /incorrect passphrase/)
  })
}

for (const cipher of [
  'aes256-ctr',
  'aes192-ctr',
  'aes128-ctr',
  'aes256-cbc',
  'aes128-cbc',
  'aes256-gcm@openssh.com',
  'aes128-gcm@openssh.com',
  'chacha20-poly1305@openssh.com',
]) {
  test(`a key that ssh-keygen encrypted with ${cipher} is read`, async () => {
    const path = join(folder, `sealed-${cipher}`)
    keygen('-q', '-t', 'ed25519', '-Z', cipher, '-a', '2', '-N', 'pässword', '-f', path)
    const key = await parsePrivateKey(read(path), 'pässword')
    assert.is(key.publicKey.toString(), read(`${path}.pub`).trim())
    try {
      await parsePrivateKey(read(path), 'password')
      assert.unreachable()
    } catch (error) {
      assert.is((error as { code?: string }).code, 'SSH_KEY_PASSPHRASE')
    }
  })
}

test('names hashed by ssh-keygen -H are found, and only they', () => {
  const key = generateKey('ed25519').publicKey
  const other = generateKey('ed25519').publicKey
  const path = join(folder, 'known_hosts')
  writeFileSync(path, `box.example,10.0.0.1 ${key}\n[box.example]:2222 ${other}\n`)
  keygen('-H', '-f', path)
  const text = read(path)
  assert.not.match(text, /example/)
  assert.ok(knownHosts(text, 'box.example')(key))
  assert.ok(knownHosts(text, 'Box.Example')(key))
  assert.ok(knownHosts(text, '10.0.0.1')(key))
  assert.ok(knownHosts(text, 'box.example', 2222)(other))
  assert.throws(
    () => knownHosts(text, 'box.example')(other),
    (error: unknown) => error instanceof HostKeyError && error.reason === 'mismatch',
  )
  assert.throws(
    () => knownHosts(text, '10.0.0.2')(key),
    (error: unknown) => error instanceof HostKeyError && error.reason === 'unknown',
  )
})

test.run()
