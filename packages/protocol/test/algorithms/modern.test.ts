import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { modern } from '../../src/algorithms/modern.ts'
import { nativeCrypto } from '../../src/crypto/native.ts'
import { nobleCrypto } from '../../src/crypto/noble.ts'

test('AES-GCM leads where it is native, ChaCha20-Poly1305 elsewhere', () => {
  const withGcm = { ...nobleCrypto, fast: new Set(['aes-gcm'] as const) }
  assert.is(modern(withGcm).ciphers[0]?.name, 'aes256-gcm@openssh.com')
  assert.is(modern(nobleCrypto).ciphers[0]?.name, 'chacha20-poly1305@openssh.com')
})

test('post-quantum key exchange is preferred', () => {
  assert.is(modern(nativeCrypto()).kex[0]?.name, 'mlkem768x25519-sha256')
})

test('no name occurs twice, and nothing weak is there', () => {
  const algorithms = modern(nativeCrypto())
  for (const list of [
    algorithms.kex,
    algorithms.hostKeys,
    algorithms.ciphers,
    algorithms.macs,
    algorithms.userKeys,
  ]) {
    const names = list.map(({ name }) => name)
    assert.is(new Set(names).size, names.length)
    for (const name of names)
      assert.not.match(name, /cbc|sha1|md5|ssh-rsa$|ssh-dss|group1-|arcfour/)
  }
})

test.run()
