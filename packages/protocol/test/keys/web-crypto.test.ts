// Also on: chromium
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { modern } from '../../src/algorithms/modern.ts'
import { nobleCrypto } from '../../src/crypto/noble.ts'
import { SshError } from '../../src/errors.ts'
import { type WebCryptoPair, webCryptoSigner } from '../../src/keys/web-crypto.ts'

const data = new TextEncoder().encode('to be signed')
const rsa = (hash: string, modulusLength = 2048): object => ({
  ...{ name: 'RSASSA-PKCS1-v1_5', hash, modulusLength },
  publicExponent: new Uint8Array([1, 0, 1]),
})
const ecdsa = (namedCurve: string): object => ({ name: 'ECDSA', namedCurve })

/** Nothing of the private half can be read. */
async function generate(algorithm: object): Promise<WebCryptoPair> {
  return (await crypto.subtle.generateKey(algorithm as never, false, [
    'sign',
    'verify',
  ])) as unknown as WebCryptoPair
}

async function failure(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('no error')
}

const kinds: readonly (readonly [string, object])[] = [
  ['rsa-sha2-256', rsa('SHA-256')],
  ['rsa-sha2-512', rsa('SHA-512')],
  ['ecdsa-sha2-nistp256', ecdsa('P-256')],
  ['ecdsa-sha2-nistp384', ecdsa('P-384')],
  // Deno's WebCrypto does not make such keys.
  ...('Deno' in globalThis ? [] : [['ecdsa-sha2-nistp521', ecdsa('P-521')] as const]),
  ['ssh-ed25519', { name: 'Ed25519' }],
]

for (const [name, algorithm] of kinds) {
  test(`${name}: the portable primitives verify what WebCrypto signs`, async () => {
    const signer = await webCryptoSigner(await generate(algorithm), 'ada')
    assert.equal(signer.algorithms, [name])
    assert.is(signer.publicKey.comment, 'ada')
    const spec = modern(nobleCrypto).userKeys.find((one) => one.name === name)
    // Signatures of ECDSA have numbers with and without leading zeros.
    for (let count = 0; count < (name.startsWith('ecdsa') ? 40 : 2); count++) {
      const signature = await signer.sign(data, name)
      assert.is(spec?.verify(nobleCrypto, signer.publicKey, data, signature), true)
      assert.is(spec?.verify(nobleCrypto, signer.publicKey, data.slice(1), signature), false)
    }
    const other = (await failure(Promise.resolve(signer.sign(data, 'ssh-rsa')))) as SshError
    assert.is(other.code, 'SSH_SIGN')
  })
}

test('what SSH does not sign with is refused at once, and said', async () => {
  const cases: readonly (readonly [() => Promise<unknown>, RegExp])[] = [
    [async () => webCryptoSigner(await generate(rsa('SHA-1'))), /is for SHA-1/],
    [
      async () => webCryptoSigner(await generate({ ...rsa('SHA-256'), name: 'RSA-PSS' })),
      /is for RSA-PSS/,
    ],
    [
      async () => {
        const { privateKey } = await generate(ecdsa('P-256'))
        return webCryptoSigner({ privateKey, publicKey: privateKey })
      },
      /publicKey: must be the public half/,
    ],
    [() => webCryptoSigner({} as WebCryptoPair), /privateKey: must be the private half/],
  ]
  for (const [attempt, message] of cases) {
    const error = (await failure(attempt())) as Error
    assert.instance(error, TypeError)
    assert.match(error.message, message)
  }
})

test('an RSA key under 2048 bits is refused', async () => {
  const error = (await failure(
    generate(rsa('SHA-256', 1024)).then((pair) => webCryptoSigner(pair)),
  )) as SshError
  assert.instance(error, SshError)
  assert.is(error.code, 'SSH_KEY_INVALID')
  assert.match(error.message, 'has 1024 bits, where 2048 to 16384 are allowed')
})

test.run()
