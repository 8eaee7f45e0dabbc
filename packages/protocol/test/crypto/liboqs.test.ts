// Post-quantum key encapsulation against liboqs, which is written in C: both directions, ciphertexts
// that were damaged (both must reject implicitly, and with the same secret), keys that are none.
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { nativeCrypto } from '../../src/crypto/native.ts'
import { nobleCrypto } from '../../src/crypto/noble.ts'
import {
  sntrup761Decapsulate,
  sntrup761Encapsulate,
  sntrup761Generate,
} from '../../src/crypto/sntrup761.ts'

/** An implementation of one mechanism. */
interface Kem {
  generate(): { readonly publicKey: Uint8Array; readonly secretKey: Uint8Array }
  encapsulate(publicKey: Uint8Array): {
    readonly ciphertext: Uint8Array
    readonly sharedSecret: Uint8Array
  }
  decapsulate(secretKey: Uint8Array, ciphertext: Uint8Array): Uint8Array
}

/** What is used of liboqs; its own declarations are not accepted by the compiler. */
interface OqsKem {
  generateKeyPair(): ReturnType<Kem['generate']>
  encapsulate(publicKey: Uint8Array): ReturnType<Kem['encapsulate']>
  decapsulate(ciphertext: Uint8Array, secretKey: Uint8Array): Uint8Array
}
type Oqs = Readonly<
  Record<'createMLKEM768' | 'createMLKEM1024' | 'createSntrup761', () => Promise<OqsKem>>
>
const oqs: Oqs = await import('@oqs/liboqs-js' as string)

const ROUNDS = 25

const native = nativeCrypto()

function ours(parameters: 768 | 1024): Kem {
  const { mlKem } = nobleCrypto
  return {
    generate: () => mlKem.generate(parameters),
    encapsulate: (publicKey) => mlKem.encapsulate(parameters, publicKey),
    decapsulate: (secretKey, ciphertext) => mlKem.decapsulate(parameters, secretKey, ciphertext),
  }
}

const ourSntrup761: Kem = {
  generate: () => sntrup761Generate(native),
  encapsulate: (publicKey) => sntrup761Encapsulate(native, publicKey),
  decapsulate: (secretKey, ciphertext) => sntrup761Decapsulate(native, secretKey, ciphertext),
}

async function liboqs(make: () => Promise<OqsKem>): Promise<Kem> {
  const kem = await make()
  return {
    generate: () => kem.generateKeyPair(),
    encapsulate: (publicKey) => kem.encapsulate(publicKey),
    decapsulate: (secretKey, ciphertext) => kem.decapsulate(ciphertext, secretKey),
  }
}

/** Flips a bit, another one each round. */
function damaged(bytes: Uint8Array, round: number): Uint8Array {
  const copy = bytes.slice()
  copy[(round * 41) % bytes.length]! ^= 1 << (round % 8)
  return copy
}

const mechanisms = [
  ['ML-KEM-768', oqs.createMLKEM768, ours(768)],
  ['ML-KEM-1024', oqs.createMLKEM1024, ours(1024)],
  ['sntrup761', oqs.createSntrup761, ourSntrup761],
] as const

for (const [name, make, own] of mechanisms) {
  const theirs = await liboqs(make)
  for (const [who, one, other] of [
    ['our keys and secrets from liboqs', own, theirs],
    ['keys of liboqs and secrets from us', theirs, own],
  ] as const) {
    test(`${name}: ${who} agree, and so does what damage makes of them`, () => {
      for (let round = 0; round < ROUNDS; round++) {
        const { publicKey, secretKey } = one.generate()
        const { ciphertext, sharedSecret } = other.encapsulate(publicKey)
        assert.equal(one.decapsulate(secretKey, ciphertext), new Uint8Array(sharedSecret))
        // A secret key means the same to both, whoever made it.
        assert.equal(other.decapsulate(secretKey, ciphertext), new Uint8Array(sharedSecret))

        const broken = damaged(ciphertext, round)
        const rejected = one.decapsulate(secretKey, broken)
        assert.equal(other.decapsulate(secretKey, broken), new Uint8Array(rejected))
        assert.not.equal(rejected, sharedSecret)
        assert.equal(one.decapsulate(secretKey, broken), rejected, 'not random')
      }
    })
  }
}

for (const [name, make, own] of mechanisms.slice(0, 2)) {
  test(`${name}: keys that are none are refused, as by liboqs`, async () => {
    const theirs = await liboqs(make)
    const { publicKey, secretKey } = own.generate()
    const { ciphertext } = own.encapsulate(publicKey)
    // FIPS 203 §7.2: a coefficient past the modulus. §7.3: the hash of the public key within.
    const tooLarge = publicKey.slice()
    tooLarge.fill(0xff, 0, 3)
    const wrongHash = secretKey.slice()
    wrongHash[wrongHash.length - 40]! ^= 1
    for (const kem of [own, theirs]) {
      assert.throws(() => kem.encapsulate(tooLarge))
      assert.throws(() => kem.encapsulate(publicKey.subarray(1)))
      assert.throws(() => kem.decapsulate(wrongHash, ciphertext))
      assert.throws(() => kem.decapsulate(secretKey, ciphertext.subarray(1)))
    }
  })
}

test.run()
