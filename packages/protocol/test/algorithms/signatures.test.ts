import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { modern } from '../../src/algorithms/modern.ts'
import { nativeCrypto } from '../../src/crypto/native.ts'
import { nobleCrypto } from '../../src/crypto/noble.ts'
import { generateKey, type KeyKind } from '../../src/keys/private-key.ts'
import { PublicKey } from '../../src/keys/public-key.ts'
import { Reader } from '../../src/wire/reader.ts'
import { Writer } from '../../src/wire/writer.ts'

const native = nativeCrypto()
const specs = modern(native).userKeys
const kinds: readonly KeyKind[] = ['ed25519', 'ecdsa-nistp256', 'ecdsa-nistp384', 'ecdsa-nistp521']
const data = new TextEncoder().encode('data to be signed')

function specOf(name: string) {
  const spec = specs.find((candidate) => candidate.name === name)
  if (spec === undefined) throw new Error(`no ${name}`)
  return spec
}

for (const kind of kinds) {
  test(`${kind}: signatures verify under both providers, and only for key and data`, () => {
    for (const crypto of [native, nobleCrypto]) {
      const key = generateKey(kind, { crypto })
      const spec = specOf(key.publicKey.type)
      const signature = key.sign(data, spec.name)
      assert.ok(spec.verify(native, key.publicKey, data, signature))
      assert.ok(spec.verify(nobleCrypto, key.publicKey, data, signature))
      const other = generateKey(kind).publicKey
      assert.not(spec.verify(crypto, other, data, signature))
      assert.not(spec.verify(crypto, key.publicKey, data.subarray(1), signature))
    }
  })

  test(`${kind}: every cut and every flipped bit of a signature blob is refused`, () => {
    const key = generateKey(kind)
    const spec = specOf(key.publicKey.type)
    const signature = key.sign(data, spec.name)
    for (let length = 0; length < signature.length; length++) {
      assert.not(spec.verify(native, key.publicKey, data, signature.subarray(0, length)))
    }
    for (let at = 0; at < signature.length; at++) {
      const damaged = signature.slice()
      damaged[at]! ^= 1 << (at & 7)
      assert.not(spec.verify(native, key.publicKey, data, damaged), `byte ${at}`)
    }
    const longer = new Uint8Array(signature.length + 1)
    longer.set(signature)
    assert.not(spec.verify(native, key.publicKey, data, longer))
  })
}

test('a signature under another name than negotiated is refused', () => {
  const key = generateKey('ed25519')
  const signature = key.sign(data, 'ssh-ed25519')
  assert.not(specOf('ecdsa-sha2-nistp256').verify(native, key.publicKey, data, signature))
  const value = new Reader(signature)
  value.string()
  const renamed = new Writer().string('ecdsa-sha2-nistp256').bytes(value.rest()).finish()
  assert.not(specOf('ssh-ed25519').verify(native, key.publicKey, data, renamed))
})

test('a key blob with a wrong curve, point or tail never verifies and never throws', () => {
  const key = generateKey('ecdsa-nistp256')
  const spec = specOf('ecdsa-sha2-nistp256')
  const signature = key.sign(data, spec.name)
  const fields = new Reader(key.publicKey.blob)
  fields.string()
  fields.string()
  const point = fields.string()
  const blob = (curve: string, bytes: Uint8Array): Writer =>
    new Writer().string('ecdsa-sha2-nistp256').string(curve).string(bytes)
  const blobs = [
    blob('nistp384', point).finish(),
    blob('nistp256', point.subarray(1)).finish(),
    blob('nistp256', new Uint8Array(65)).finish(),
    blob('nistp256', new Uint8Array(0)).finish(),
    blob('nistp256', point).uint8(0).finish(),
    key.publicKey.blob.subarray(0, 30),
  ]
  for (const bytes of blobs) {
    assert.not(spec.verify(native, PublicKey.fromBlob(bytes), data, signature))
  }
  assert.ok(
    spec.verify(native, PublicKey.fromBlob(blob('nistp256', point).finish()), data, signature),
  )
})

test('a key refuses to sign with an algorithm that is not its own', () => {
  try {
    generateKey('ed25519').sign(data, 'rsa-sha2-256')
    assert.unreachable()
  } catch (error) {
    assert.is((error as { code?: string }).code, 'SSH_SIGN')
  }
})

test.run()
