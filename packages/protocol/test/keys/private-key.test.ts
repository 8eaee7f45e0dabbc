// Also on: chromium
import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { bcryptPbkdf } from '../../src/crypto/bcrypt-pbkdf.ts'
import { fromHex } from '../../src/crypto/hex.ts'
import { nobleCrypto } from '../../src/crypto/noble.ts'
import { SshError } from '../../src/errors.ts'
import { generateKey, type KeyKind, parsePrivateKey } from '../../src/keys/private-key.ts'
import { toHex } from '../suites/crypto-provider.ts'

const kinds: readonly KeyKind[] = ['ed25519', 'ecdsa-nistp256', 'ecdsa-nistp384', 'ecdsa-nistp521']
const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)

async function failure(promise: Promise<unknown>): Promise<SshError> {
  try {
    await promise
  } catch (error) {
    assert.instance(error, SshError)
    return error as SshError
  }
  throw new Error('no error')
}

for (const kind of kinds) {
  test(`${kind}: a written key file is read back, plain and encrypted`, async () => {
    const key = generateKey(kind, { comment: 'ada@box' })
    for (const [text, passphrase] of [
      [key.toOpenSsh(), undefined],
      [key.toEncryptedOpenSsh('open sesame', { rounds: 1 }), 'open sesame'],
      [key.toEncryptedOpenSsh(ascii('ünïcode'), { rounds: 1 }), 'ünïcode'],
    ] as const) {
      const back = await parsePrivateKey(text, passphrase)
      assert.ok(back.publicKey.equals(key.publicKey))
      assert.is(back.publicKey.comment, 'ada@box')
      const signature = back.sign(ascii('x'), key.publicKey.type)
      assert.is(signature.length > 64, true)
    }
  })
}

test('both providers compute the same public key from one file', async () => {
  for (const kind of kinds) {
    const key = generateKey(kind)
    const portable = await parsePrivateKey(key.toOpenSsh(), undefined, { crypto: nobleCrypto })
    assert.is(portable.publicKey.toString(), key.publicKey.toString())
  }
})

test('bcrypt_pbkdf gives the known answers of OpenBSD', () => {
  equal(bcryptPbkdf(ascii('password'), ascii('salt'), 4, 32), [
    '5bbf0cc293587f1c3635555c27796598d47e579071bf427e9d8fbe842aba34d9',
  ])
  equal(bcryptPbkdf(ascii('password'), new Uint8Array(1), 4, 16), [
    'c12b566235eee04c212598970a579a67',
  ])
  equal(bcryptPbkdf(ascii('password'), ascii('salt'), 8, 64), [
    'e1367ec5151a33faac4cc1c144cd23fa15d5548493ecc99b9b5d9c0d3b27bec7',
    '6227ea66088b849b20ab7aa478010246e74bba51723fefa9f9474d6508845e8d',
  ])
})

function equal(bytes: Uint8Array, hex: readonly string[]): void {
  assert.is(toHex(bytes), hex.join(''))
}

test('bcrypt_pbkdf refuses senseless parameters', () => {
  const one = new Uint8Array(1)
  assert.throws(
    () => bcryptPbkdf(new Uint8Array(0), one, 1, 1),
    (error: unknown) => error instanceof RangeError,
  )
  assert.throws(
    () => bcryptPbkdf(one, new Uint8Array(0), 1, 1),
    (error: unknown) => error instanceof RangeError,
  )
  assert.throws(
    () => bcryptPbkdf(one, one, 0, 1),
    (error: unknown) => error instanceof RangeError,
  )
  assert.throws(
    () => bcryptPbkdf(one, one, 2 ** 31, 1),
    (error: unknown) => error instanceof RangeError,
  )
  assert.throws(
    () => bcryptPbkdf(one, one, 1, 0),
    (error: unknown) => error instanceof RangeError,
  )
})

test('the secret shows neither in toString nor in JSON nor among the properties', () => {
  const seed = new Uint8Array(32).fill(0x5a)
  const fixed = {
    ...nobleCrypto,
    ed25519: {
      ...nobleCrypto.ed25519,
      generate: () => ({ secretKey: seed, publicKey: nobleCrypto.ed25519.publicKey(seed) }),
    },
  }
  const key = generateKey('ed25519', { crypto: fixed })
  assert.match(key.toString(), /^PrivateKey ssh-ed25519 SHA256:/)
  assert.is(JSON.stringify({ key }), `{"key":"${key}"}`)
  assert.equal(Object.keys(key).sort(), ['algorithms', 'publicKey'])
  assert.not.match(Object.values(key).map(String).join(), /90,90,90|5a5a/i)
})

test('a missing and a wrong passphrase have a code of their own', async () => {
  const text = generateKey('ed25519').toEncryptedOpenSsh('right', { rounds: 1 })
  for (const passphrase of [undefined, '', 'wrong', 'right ']) {
    const error = await failure(parsePrivateKey(text, passphrase))
    assert.is(error.code, 'SSH_KEY_PASSPHRASE')
    assert.not.match(error.message, /right|sesame/)
  }
  assert.throws(
    () => generateKey('ed25519').toEncryptedOpenSsh(''),
    (error: unknown) => error instanceof TypeError,
  )
})

test('what is not a private key is named in the error', async () => {
  const cases: readonly [text: string, message: RegExp][] = [
    ['', /empty/],
    ['hello', /not a private key file/],
    [generateKey('ed25519').publicKey.toString(), /public key/],
    [generateKey('ed25519').toOpenSsh().slice(0, 200), /cut off/],
    ['---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n', /RFC 4716/],
    ['---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n', /ssh-keygen -i/],
    ['{ "kty": "OKP", "d": "x" }', /JSON Web Key/],
    ['0\x82\x01', /openssl pkey/],
    ['-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n-----END PGP PRIVATE KEY BLOCK-----', /gpg/],
    ['-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----', /ssh-keygen/],
    ['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', /CERTIFICATE/],
    ['-----BEGIN OPENSSH PRIVATE KEY-----\n!!\n-----END OPENSSH PRIVATE KEY-----\n', /base64/],
    [
      '-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n',
      /openssh-key/,
    ],
  ]
  for (const [text, message] of cases) {
    const error = await failure(parsePrivateKey(text))
    assert.is(error.code, 'SSH_KEY_INVALID')
    assert.match(error.message, message)
  }
})

test('a file with CRLF line ends and text around it is read', async () => {
  const key = generateKey('ed25519')
  const text = `Some text\r\n${key.toOpenSsh().replaceAll('\n', '\r\n')}more\r\n`
  assert.ok((await parsePrivateKey(text)).publicKey.equals(key.publicKey))
})

test('a key file whose halves do not belong together is refused', async () => {
  const [one, two] = [generateKey('ed25519'), generateKey('ed25519')].map((key) =>
    decode(key.toOpenSsh()),
  )
  if (one === undefined || two === undefined) return
  // The public blob of one in front of the private section of the other.
  const head = 15 + 8 + 8 + 4 + 4
  const mixed = one.slice()
  mixed.set(two.subarray(head + 4 + 51), head + 4 + 51)
  const error = await failure(parsePrivateKey(encode(mixed)))
  assert.is(error.code, 'SSH_KEY_INVALID')
  assert.match(error.message, /do not belong together/)
})

test('any damage to a key file ends in an SshError about the key', async () => {
  const bytes = decode(generateKey('ed25519').toOpenSsh())
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: bytes.length - 1 }), fc.nat({ max: 255 }), async (at, value) => {
      const damaged = bytes.slice()
      damaged[at] = value
      try {
        await parsePrivateKey(encode(damaged))
      } catch (error) {
        assert.instance(error, SshError)
        assert.match((error as SshError).code, /^SSH_KEY_/)
      }
      try {
        await parsePrivateKey(encode(bytes.subarray(0, at)))
        assert.unreachable()
      } catch (error) {
        assert.is((error as SshError).code, 'SSH_KEY_INVALID')
      }
    }),
    { numRuns: 150 },
  )
})

test('a kind of key that does not exist is a TypeError', () => {
  assert.throws(
    () => generateKey('dsa' as KeyKind),
    (error: unknown) => error instanceof TypeError,
  )
})

test('a secret scalar out of range is refused without being quoted', async () => {
  const text = generateKey('ecdsa-nistp256').toOpenSsh()
  const bytes = decode(text)
  // Order of P-256: one too large.
  const order = fromHex('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551')
  const marker = bytes.length - order.length
  const at = findScalar(bytes)
  assert.ok(at > 0 && at <= marker)
  bytes.set(order, at)
  const error = await failure(parsePrivateKey(encode(bytes)))
  assert.is(error.code, 'SSH_KEY_INVALID')
  assert.not.match(`${error.message}${String(error.cause)}`, /ffffffff00000000|1157920892/)
})

/** Where the last mpint of 33 bytes (zero first) or 32 begins: the scalar. */
function findScalar(bytes: Uint8Array): number {
  for (let at = bytes.length - 33; at > 0; at--) {
    if (bytes[at - 1] === 33 && bytes[at] === 0 && (bytes[at + 1] ?? 0) > 127) return at + 1
    if (bytes[at - 1] === 32 && bytes[at - 2] === 0 && bytes[at - 3] === 0) return at
  }
  return -1
}

function decode(text: string): Uint8Array {
  const body = text.replace(/-----.*?-----/g, '').replace(/\s/g, '')
  return Uint8Array.from(atob(body), (character) => character.charCodeAt(0))
}

function encode(bytes: Uint8Array): string {
  const body = btoa(String.fromCharCode(...bytes))
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${body}\n-----END OPENSSH PRIVATE KEY-----\n`
}

test('what editors put in front of a key file does no harm', async () => {
  const key = generateKey('ed25519')
  for (const before of ['\uFEFF', '\uFEFF\r\n', '\n\n  ']) {
    const { publicKey } = await parsePrivateKey(before + key.toOpenSsh())
    assert.ok(publicKey.equals(key.publicKey))
  }
})

test.run()
