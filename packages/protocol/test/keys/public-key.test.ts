import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SshError } from '../../src/errors.ts'
import { decodeBase64, encodeBase64 } from '../../src/keys/base64.ts'
import { PublicKey } from '../../src/keys/public-key.ts'

// Made with ssh-keygen -t ed25519; its fingerprint is what `ssh-keygen -lf` prints.
const LINE =
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICAkOlnPXf1bBl9LJJBWpDxsJPvpWkR2rG7J2PzZyMaA ada lovelace'

test('a public key line is read and written', () => {
  const key = PublicKey.parse(`  ${LINE}\n`)
  assert.is(key.type, 'ssh-ed25519')
  assert.is(key.comment, 'ada lovelace')
  assert.is(key.toString(), LINE)
  assert.is(key.blob.length, 51)
  assert.match(key.fingerprint(), /^SHA256:[A-Za-z0-9+/]{43}$/)
})

test('equality ignores the comment', () => {
  const key = PublicKey.parse(LINE)
  assert.ok(key.equals(PublicKey.fromBlob(key.blob)))
  const other = key.blob.slice()
  other[50]! ^= 1
  assert.not(key.equals(PublicKey.fromBlob(other)))
})

test('the blob is a copy', () => {
  const blob = PublicKey.parse(LINE).blob.slice()
  const key = PublicKey.fromBlob(blob)
  blob.fill(0)
  assert.is(key.fingerprint(), PublicKey.parse(LINE).fingerprint())
})

test('bad lines are refused with what was expected', () => {
  for (const line of [
    '',
    'ssh-ed25519',
    'ssh-ed25519 ???',
    'ssh-ed25519 AAAA',
    'ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAICAkOlnPXf1bBl9LJJBWpDxsJPvpWkR2rG7J2PzZyMaA',
  ]) {
    try {
      PublicKey.parse(line)
      assert.unreachable(line)
    } catch (error) {
      assert.instance(error, SshError, line)
      assert.is((error as SshError).code, 'SSH_KEY_INVALID')
    }
  }
})

test('base64 round trips and refuses what is not base64', () => {
  void fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.equal(decodeBase64(encodeBase64(bytes)), bytes)
    }),
  )
  const long = new Uint8Array(20_000).fill(7)
  assert.equal(decodeBase64(encodeBase64(long)), long)
  for (const text of ['a', 'ab=c', 'a b', 'äöü', 'abc-', '====']) {
    assert.is(decodeBase64(text), undefined, text)
  }
})

test.run()
