/** The key files of the real ssh-keygen, both ways. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { modern } from '../../src/algorithms/modern.ts'
import { defaultCrypto } from '../../src/crypto/native.ts'
import { checkCertificate, issueCertificate } from '../../src/keys/certificate.ts'
import { HostKeyError, knownHostLine, knownHosts } from '../../src/keys/known-hosts.ts'
import { generateKey, type KeyKind, parsePrivateKey } from '../../src/keys/private-key.ts'
import { PublicKey } from '../../src/keys/public-key.ts'
import { signMessage, verifyMessage } from '../../src/keys/ssh-signature.ts'

import { testWith } from '../suites/programs.ts'

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
  testWith(
    ['ssh-keygen'],
    `${kind}: a key of ssh-keygen is read and signs for its public half`,
    async () => {
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
    },
  )

  testWith(['ssh-keygen'], `${kind}: ssh-keygen reads our key, plain and encrypted`, () => {
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
  testWith(['ssh-keygen'], `a key that ssh-keygen encrypted with ${cipher} is read`, async () => {
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

testWith(['ssh-keygen'], 'names hashed by ssh-keygen -H are found, and only they', () => {
  const key = generateKey('ed25519').publicKey
  const other = generateKey('ed25519').publicKey
  const path = join(folder, 'known_hosts')
  writeFileSync(path, `box.example,10.0.0.1 ${key}\n[box.example]:2222 ${other}\n`)
  keygen('-H', '-f', path)
  const text = read(path)
  assert.not.match(text, /example/)
  assert.ok(knownHosts(text, 'box.example')(key))
  writeFileSync(path, `${knownHostLine(key, 'box.example', 2222)}\n`)
  assert.match(keygen('-F', '[box.example]:2222', '-f', path), /found: line 1/)
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

testWith(['ssh-keygen'], 'certificates of ssh-keygen are read and checked', async () => {
  const authority = join(folder, 'ca')
  keygen('-q', '-t', 'rsa', '-b', '3072', '-N', '', '-f', authority)
  for (const [type, ...options] of [
    ['ed25519'],
    ['ecdsa', '-O', 'force-command=date', '-O', 'source-address=127.0.0.0/8'],
    ['rsa', '-O', 'clear', '-O', 'permit-pty', '-z', '18446744073709551615'],
  ] as const) {
    const path = join(folder, `certified-${type}`)
    keygen('-q', '-t', type, '-N', '', '-f', path)
    keygen('-q', '-s', authority, '-I', 'my id', '-n', 'ada,bob', '-V', '-1h:+1h', ...options, path)
    const certificate = PublicKey.parse(read(`${path}-cert.pub`))
    const content = checkCertificate(certificate, {
      role: 'user',
      principals: ['bob'],
      authorities: [PublicKey.parse(read(`${authority}.pub`))],
      address: '127.0.0.1',
      honours: ['force-command'],
    })
    assert.is(content.keyId, 'my id')
    assert.ok(content.key.equals(PublicKey.parse(read(`${path}.pub`))))
    if (type === 'ecdsa') assert.is(content.criticalOptions.get('force-command'), 'date')
    if (type === 'rsa') {
      assert.equal([...content.extensions.keys()], ['permit-pty'])
      assert.is(content.serial, 2n ** 64n - 1n)
    }
  }
})

testWith(
  ['ssh-keygen'],
  'ssh-keygen reads our certificates and says the same of them',
  async () => {
    const authority = generateKey('ecdsa-nistp256')
    for (const kind of ['ed25519', 'ecdsa-nistp384'] as const) {
      const key = generateKey(kind)
      const certificate = await issueCertificate(authority, {
        key: key.publicKey,
        role: 'user',
        principals: ['ada', 'bob'],
        keyId: 'from here',
        serial: 5n,
        validBeforeMs: Date.now() + 3_600_000,
        criticalOptions: { 'source-address': '10.0.0.0/8', 'force-command': 'date' },
      })
      const path = join(folder, `${kind}-cert.pub`)
      writeFileSync(path, `${certificate}\n`)
      const shown = keygen('-L', '-f', path)
      for (const expected of [
        'user certificate',
        `Public key: ${kind === 'ed25519' ? 'ED25519' : 'ECDSA'}-CERT ${key.publicKey.fingerprint()}`,
        authority.publicKey.fingerprint(),
        'Key ID: "from here"',
        'Serial: 5',
        'force-command date',
        'source-address 10.0.0.0/8',
        'permit-pty',
      ]) {
        assert.ok(shown.includes(expected), `${expected} in ${shown}`)
      }
    }
  },
)

testWith(
  ['ssh-keygen'],
  'ssh-keygen -Y verifies our signatures of messages, and we its',
  async () => {
    const key = generateKey('ed25519')
    const message = join(folder, 'message')
    writeFileSync(message, 'signed\n')
    const bytes = readFileSync(message)
    const signers = join(folder, 'allowed_signers')
    writeFileSync(signers, `ada@x namespaces="file" ${key.publicKey}\n`)
    writeFileSync(`${message}.sig`, await signMessage(key, bytes, 'file'))
    const verify = ['-Y', 'verify', '-f', signers, '-I', 'ada@x', '-n', 'file']
    const verified = execFileSync('ssh-keygen', [...verify, '-s', `${message}.sig`], {
      input: bytes,
      encoding: 'utf8',
    })
    assert.match(verified, /Good "file" signature for ada@x/)

    const path = join(folder, 'signer')
    keygen('-q', '-t', 'rsa', '-b', '3072', '-N', '', '-f', path)
    writeFileSync(`${message}2`, bytes)
    keygen('-Y', 'sign', '-f', path, '-n', 'git', `${message}2`)
    const shown = verifyMessage(read(`${message}2.sig`), bytes, 'git')
    assert.ok(shown.equals(PublicKey.parse(read(`${path}.pub`))))
  },
)

test.run()
