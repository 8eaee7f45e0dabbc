/** What every CryptoProvider must do: published vectors first, then the promises of the seam. */
import { shake128 } from '@noble/hashes/sha3.js'
import { ml_kem768, ml_kem1024 } from '@noble/post-quantum/ml-kem.js'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { fromHex } from '../../src/crypto/hex.ts'
import { modpPrime, modpPrimeBytes } from '../../src/crypto/modp-groups.ts'
import { rsaFromPrimes } from '../../src/crypto/portable-rsa.ts'
import type { CryptoProvider, CurveName, HashName } from '../../src/crypto/provider.ts'
import wycheproof from '../vectors/wycheproof.json' with { type: 'json' }

/** NIST ACVP, ML-KEM keyGen FIPS 203, ML-KEM-768 tcId 26: seeds, and SHA-256 of the key. */
const nist768 = {
  d: 'e34a701c4c87582f42264ee422d3c684d97611f2523efe0c998af05056d693dc',
  z: 'a85768f3486bd32a01bf9a8f21ea938e648eae4e5448c34c3eb88820b159eedd',
  key: '7799c9d8eef172aa78c073514f2f039c240de8c5cb61bca82ba0bc46041ce279',
} as const

/** The same, ML-KEM-1024 tcId 51: seeds, and how the key begins. */
const nist1024 = {
  d: '49ac8b99bb1e6a8ea818261f8be68bdeaa52897e7ec6c40b530bc760ab77dce3',
  z: '99e3246884181f8e1dd44e0c7629093330221fd67d9b7d6e1510b2dbad8762f7',
  key:
    'a04184d4bc7b532a0f70a54d7757cde6175a6843b861cb2bc4830c0012554cfc5d2c8a2027aa3cd967130e9b9624' +
    '1b11c4320c7649cc23a71bafe691afc08e680bcef42907000718e4eace8da28214197be1c269da9cb541e1a3ce97' +
    'cfadf9c6058780fe6793dbfa8218a2760b802b8da2aa271a38772523a76736a7a31b9d3037ad21cebb11a472b879',
} as const

const curves: readonly CurveName[] = ['nistp256', 'nistp384', 'nistp521']

export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)

/** A view at an odd offset, as packets within a chunk are. */
export function misaligned(bytes: Uint8Array, offset: number): Uint8Array {
  const room = new Uint8Array(bytes.length + offset)
  room.set(bytes, offset)
  return room.subarray(offset)
}

function equal(bytes: Uint8Array, hex: string, what?: string): void {
  assert.is(toHex(bytes), hex, what)
}

/** Registers the suite's tests for one provider. */
export function cryptoProviderSuite(crypto: CryptoProvider): void {
  const it = (name: string, run: () => void): void => test(`${crypto.name}: ${name}`, run)

  it('random gives different bytes, also more than 64 KiB at once', () => {
    const bytes = crypto.random(200_000)
    assert.is(bytes.length, 200_000)
    assert.ok(bytes.subarray(199_900).some((byte) => byte !== 0))
    assert.not.equal(crypto.random(32), crypto.random(32))
    assert.is(crypto.random(0).length, 0)
  })

  it('results are Uint8Arrays whose slice is a copy', () => {
    const pair = crypto.x25519.generate()
    const results = [
      crypto.random(4),
      crypto.hash('sha256', ascii('abc')),
      crypto.hmac('sha256', ascii('key')).packet(1, ascii('abc')),
      crypto.aesGcm(new Uint8Array(16)).seal(new Uint8Array(12), new Uint8Array(0), ascii('abc')),
      crypto.poly1305(new Uint8Array(32), ascii('abc')),
      pair.publicKey,
      crypto.x25519.agree(pair.secretKey, crypto.x25519.generate().publicKey),
      crypto.ed25519.sign(new Uint8Array(32), ascii('abc')),
      crypto.ecdh.generate('nistp256').publicKey,
      crypto.ecdsa.sign('nistp256', crypto.ecdsa.generate('nistp256').secretKey, ascii('abc')),
    ]
    for (const result of results) {
      const copy = result.slice()
      copy[0]! ^= 1
      assert.not.equal(copy, result)
    }
  })

  it('hash gives the digests of FIPS 180-4, RFC 1321 and RFC 3174', () => {
    const digests: Readonly<Record<HashName, string>> = {
      md5: '900150983cd24fb0d6963f7d28e17f72',
      sha1: 'a9993e364706816aba3e25717850c26c9cd0d89d',
      sha256: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
      sha384:
        'cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed' +
        '8086072ba1e7cc2358baeca134c825a7',
      sha512:
        'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a' +
        '2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f',
    }
    for (const [name, digest] of Object.entries(digests)) {
      equal(crypto.hash(name as HashName, ascii('a'), new Uint8Array(0), ascii('bc')), digest, name)
    }
  })

  it('hmac gives the tags of RFC 4231 over the sequence number and the data', () => {
    const cases: readonly [key: Uint8Array, text: string, sha256: string, sha512: string][] = [
      [
        new Uint8Array(20).fill(0x0b),
        'Hi There',
        'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7',
        '87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde' +
          'daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854',
      ],
      [
        new Uint8Array(131).fill(0xaa),
        'Test Using Larger Than Block-Size Key - Hash Key First',
        '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
        '80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352' +
          '6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598',
      ],
    ]
    for (const [key, text, sha256, sha512] of cases) {
      const bytes = ascii(text)
      const sequenceNumber = new DataView(bytes.buffer).getUint32(0)
      equal(crypto.hmac('sha256', key).packet(sequenceNumber, bytes.subarray(4)), sha256)
      equal(crypto.hmac('sha512', key).packet(sequenceNumber, bytes.subarray(4)), sha512)
    }
  })

  it('hmac passes Wycheproof, and one key serves many packets', () => {
    for (const name of ['sha256', 'sha512'] as const) {
      for (const { key, msg, tag } of wycheproof.hmac[name]) {
        const bytes = fromHex(msg)
        const keyed = crypto.hmac(name, fromHex(key))
        const sequenceNumber = new DataView(bytes.buffer).getUint32(0)
        keyed.packet(1, new Uint8Array(100))
        equal(keyed.packet(sequenceNumber, bytes.subarray(4)), tag)
      }
    }
  })

  it('hmac copies its key', () => {
    const key = new Uint8Array(32).fill(7)
    const keyed = crypto.hmac('sha256', key)
    const before = keyed.packet(1, ascii('x'))
    key.fill(0)
    assert.equal(keyed.packet(1, ascii('x')), before)
  })

  it('AES-GCM gives test case 16 of the specification, at any alignment', () => {
    for (const offset of [0, 1, 2, 3, 4]) {
      const gcm = crypto.aesGcm(
        fromHex('feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308'),
      )
      const plain =
        'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72' +
        '1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39'
      const data = misaligned(fromHex(plain), offset)
      const nonce = fromHex('cafebabefacedbaddecaf888')
      const aad = fromHex('feedfacedeadbeeffeedfacedeadbeefabaddad2')
      const tag = gcm.seal(nonce, aad, data)
      equal(
        data,
        '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa' +
          '8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662',
      )
      equal(tag, '76fc6ece0f4e1768cddf8853bb2d551b')
      equal(gcm.open(nonce, aad, data, tag) ?? data, plain)
    }
  })

  it('AES-GCM passes Wycheproof', () => {
    for (const { key, iv, aad, msg, ct, tag, result } of wycheproof.aesGcm) {
      // SSH has no AES-192-GCM, and neither has Deno.
      if (key.length === 48) continue
      const gcm = crypto.aesGcm(fromHex(key))
      const data = fromHex(ct)
      const opened = gcm.open(fromHex(iv), fromHex(aad), data, fromHex(tag))
      assert.is(opened !== undefined, result === 'valid')
      if (opened === undefined) continue
      equal(opened, msg)
      equal(gcm.seal(fromHex(iv), fromHex(aad), opened), tag)
      equal(opened, ct)
    }
  })

  it('AES-GCM refuses a tag that is too short', () => {
    const gcm = crypto.aesGcm(new Uint8Array(16))
    const data = ascii('0123456789abcdef')
    const nonce = new Uint8Array(12)
    const tag = gcm.seal(nonce, new Uint8Array(0), data)
    assert.not(gcm.open(nonce, new Uint8Array(0), data, tag.subarray(0, 12)))
    assert.not(gcm.open(nonce, new Uint8Array(0), data, new Uint8Array(0)))
  })

  it('AES-CTR gives NIST SP 800-38A F.5, however it is chopped', () => {
    const plain =
      '6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51' +
      '30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710'
    const cases: readonly [key: string, sealed: string][] = [
      [
        '2b7e151628aed2a6abf7158809cf4f3c',
        '874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff' +
          '5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee',
      ],
      [
        '8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b',
        '1abc932417521ca24f2b0459fe7e6e0b090339ec0aa6faefd5ccc2c6f4ce8e94' +
          '1e36b26bd1ebc670d1bd1d665620abf74f78a7f6d29809585a97daec58c6b050',
      ],
      [
        '603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4',
        '601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5' +
          '2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6',
      ],
    ]
    for (const [key, sealed] of cases) {
      for (const cuts of [[], [16, 32], [1, 17, 18, 50], [3, 63]]) {
        const stream = crypto.aesCtr(fromHex(key), fromHex('f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff'))
        const data = misaligned(fromHex(plain), cuts.length)
        let from = 0
        for (const cut of [...cuts, data.length]) {
          stream.apply(data.subarray(from, cut))
          from = cut
        }
        equal(data, sealed, `cut at ${cuts}`)
      }
    }
  })

  it('the AES counter wraps around all 128 bits', () => {
    const key = new Uint8Array(16)
    const last = crypto.aesCtr(key, new Uint8Array(16).fill(255))
    const two = new Uint8Array(32)
    last.apply(two)
    const first = new Uint8Array(16)
    crypto.aesCtr(key, new Uint8Array(16)).apply(first)
    assert.equal(two.slice(16), first)
  })

  it('ChaCha20 gives RFC 8439 A.1 where the nonces of 64 and 96 bits agree', () => {
    const stream = (nonce: string, counter: number): Uint8Array => {
      const data = new Uint8Array(64)
      crypto.chacha20(new Uint8Array(32), fromHex(nonce), counter, data)
      return data
    }
    equal(
      stream('0000000000000000', 0),
      '76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7' +
        'da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586',
    )
    equal(
      stream('0000000000000000', 1),
      '9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed' +
        '29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f',
    )
    equal(
      stream('0000000000000002', 0),
      'c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7' +
        '8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d',
    )
  })

  it('ChaCha20 is the same for long and short data, at any alignment', () => {
    const key = crypto.random(32)
    const nonce = crypto.random(8)
    const whole = new Uint8Array(4096)
    crypto.chacha20(key, nonce, 0, whole)
    for (const offset of [0, 1, 3]) {
      for (const length of [1, 4, 63, 64, 65, 500, 511, 512, 513, 4000]) {
        const data = misaligned(new Uint8Array(length), offset)
        crypto.chacha20(key, nonce, 0, data)
        assert.equal(data, whole.slice(0, length), `${length} bytes at ${offset}`)
        if (length > 4096 - 64) continue
        const later = new Uint8Array(length)
        crypto.chacha20(key, nonce, 1, later)
        assert.equal(later, whole.slice(64, 64 + length))
      }
    }
  })

  it('Poly1305 gives RFC 8439 §2.5.2 and the carries of A.3', () => {
    const cases: readonly [key: string, data: string, tag: string][] = [
      [
        '85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b',
        toHex(ascii('Cryptographic Forum Research Group')),
        'a8061dc1305136c6c22b8baf0c0127a9',
      ],
      [`02${'0'.repeat(62)}`, 'f'.repeat(32), `03${'0'.repeat(30)}`],
      [`02${'0'.repeat(30)}${'f'.repeat(32)}`, `02${'0'.repeat(30)}`, `03${'0'.repeat(30)}`],
      [
        `01${'0'.repeat(62)}`,
        `${'f'.repeat(32)}f0${'f'.repeat(30)}11${'0'.repeat(30)}`,
        `05${'0'.repeat(30)}`,
      ],
      [
        `01${'0'.repeat(62)}`,
        `${'f'.repeat(32)}fb${'fe'.repeat(15)}${'01'.repeat(16)}`,
        '0'.repeat(32),
      ],
      [`02${'0'.repeat(62)}`, `fd${'f'.repeat(30)}`, `fa${'f'.repeat(30)}`],
    ]
    for (const [key, data, tag] of cases) {
      equal(crypto.poly1305(fromHex(key), fromHex(data)), tag)
      equal(crypto.poly1305(fromHex(key), misaligned(fromHex(data), 1)), tag)
    }
  })

  it('X25519 gives RFC 7748 §5.2 and passes Wycheproof, low-order points included', () => {
    equal(
      crypto.x25519.agree(
        fromHex('a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4'),
        fromHex('e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c'),
      ),
      'c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552',
    )
    for (const vector of wycheproof.x25519) {
      const agree = (): Uint8Array =>
        crypto.x25519.agree(fromHex(vector.private), fromHex(vector.public))
      if (vector.zero) assert.throws(agree)
      else equal(agree(), vector.shared)
    }
    assert.throws(() => crypto.x25519.agree(new Uint8Array(32).fill(1), new Uint8Array(31)))
    assert.throws(() => crypto.x25519.agree(new Uint8Array(32).fill(1), new Uint8Array(33)))
  })

  it('Ed25519 gives RFC 8032 §7.1', () => {
    const cases: readonly [seed: string, point: string, data: string, signature: string][] = [
      [
        '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
        'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
        '',
        'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155' +
          '5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
      ],
      [
        'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
        'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
        'af82',
        '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac' +
          '18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
      ],
    ]
    for (const [seed, point, data, signature] of cases) {
      equal(crypto.ed25519.publicKey(fromHex(seed)), point)
      equal(crypto.ed25519.sign(fromHex(seed), fromHex(data)), signature)
      assert.ok(crypto.ed25519.verify(fromHex(point), fromHex(data), fromHex(signature)))
    }
  })

  it('Ed25519 passes Wycheproof and never throws on malformed input', () => {
    for (const { key, msg, sig, result } of wycheproof.ed25519) {
      const valid = crypto.ed25519.verify(fromHex(key), fromHex(msg), fromHex(sig))
      assert.is(valid, result === 'valid', `signature ${sig}`)
    }
    assert.not(crypto.ed25519.verify(new Uint8Array(31), ascii('a'), new Uint8Array(64)))
    assert.not(crypto.ed25519.verify(new Uint8Array(0), ascii('a'), new Uint8Array(0)))
    assert.not(crypto.ed25519.verify(new Uint8Array(32).fill(255), ascii('a'), new Uint8Array(64)))
  })

  it('generated pairs of every kind work with each other', () => {
    const one = crypto.x25519.generate()
    const two = crypto.x25519.generate()
    assert.equal(
      crypto.x25519.agree(one.secretKey, two.publicKey),
      crypto.x25519.agree(two.secretKey, one.publicKey),
    )
    const signer = crypto.ed25519.generate()
    assert.equal(crypto.ed25519.publicKey(signer.secretKey), signer.publicKey)
    for (const curve of curves) {
      const a = crypto.ecdh.generate(curve)
      const b = crypto.ecdh.generate(curve)
      assert.equal(
        crypto.ecdh.agree(curve, a.secretKey, b.publicKey),
        crypto.ecdh.agree(curve, b.secretKey, a.publicKey),
      )
      const pair = crypto.ecdsa.generate(curve)
      assert.equal(crypto.ecdsa.publicKey(curve, pair.secretKey), pair.publicKey)
      const signature = crypto.ecdsa.sign(curve, pair.secretKey, ascii('abc'))
      assert.ok(crypto.ecdsa.verify(curve, pair.publicKey, ascii('abc'), signature))
      assert.not(crypto.ecdsa.verify(curve, pair.publicKey, ascii('abd'), signature))
    }
  })

  for (const curve of curves) {
    it(`ECDH on ${curve} passes Wycheproof and refuses compressed points`, () => {
      const width = { nistp256: 64, nistp384: 96, nistp521: 132 }[curve]
      for (const vector of wycheproof.ecdh[curve]) {
        // Wycheproof writes scalars as signed integers; ours have the width of the curve.
        const secret = fromHex(vector.private.slice(-width).padStart(width, '0'))
        const agree = (): Uint8Array => crypto.ecdh.agree(curve, secret, fromHex(vector.public))
        if (vector.result === 'valid' && !vector.compressed) equal(agree(), vector.shared)
        else assert.throws(agree, undefined, vector.public)
      }
    })

    it(`ECDSA on ${curve} passes Wycheproof and never throws on malformed input`, () => {
      for (const { key, msg, sig, result } of wycheproof.ecdsa[curve]) {
        const valid = crypto.ecdsa.verify(curve, fromHex(key), fromHex(msg), fromHex(sig))
        assert.is(valid, result === 'valid', `signature ${sig}`)
      }
      assert.not(crypto.ecdsa.verify(curve, new Uint8Array(0), ascii('a'), new Uint8Array(0)))
      assert.not(crypto.ecdsa.verify(curve, new Uint8Array(65), ascii('a'), new Uint8Array(64)))
    })
  }

  it('RSA passes Wycheproof: only the one right padding is taken', () => {
    for (const hash of ['sha256', 'sha512'] as const) {
      for (const { n, e, msg, sig, result } of wycheproof.rsa[hash]) {
        const modulus = fromHex(n.replace(/^(00)+/, ''))
        const key = { modulus, publicExponent: fromHex(e) }
        const valid = crypto.rsa.verify(hash, key, fromHex(msg), fromHex(sig))
        assert.is(valid, result === 'valid', `signature ${sig}`)
      }
    }
  })

  it('RSA signs with a generated key, and never throws on malformed keys', () => {
    // A key out of known safe primes where generating takes too long.
    const key = crypto.fast.has('rsa')
      ? crypto.rsa.generate(2048)
      : rsaFromPrimes(modpPrime(1536), modpPrime(1024), 65537n)
    const signature = crypto.rsa.sign('sha512', key, ascii('abc'))
    assert.is(signature.length, key.modulus.length)
    assert.ok(crypto.rsa.verify('sha512', key, ascii('abc'), signature))
    assert.not(crypto.rsa.verify('sha512', key, ascii('abd'), signature))
    assert.not(crypto.rsa.verify('sha256', key, ascii('abc'), signature))
    assert.not(crypto.rsa.verify('sha512', key, ascii('abc'), signature.subarray(1)))
    const one = new Uint8Array([1])
    assert.not(
      crypto.rsa.verify('sha512', { modulus: one, publicExponent: one }, ascii('abc'), signature),
    )
    const none = new Uint8Array(0)
    assert.not(crypto.rsa.verify('sha512', { modulus: none, publicExponent: none }, none, none))
    assert.throws(
      () => crypto.rsa.generate(1024),
      (error: unknown) => error instanceof RangeError,
    )
  })

  it('modPow agrees on both sides and refuses 0, 1, −1 and what is beyond', () => {
    const prime = modpPrimeBytes(2048)
    const generator = new Uint8Array([2])
    const a = crypto.random(64)
    const b = crypto.random(64)
    const secrets = [
      crypto.modPow(crypto.modPow(generator, a, prime), b, prime),
      crypto.modPow(crypto.modPow(generator, b, prime), a, prime),
    ]
    assert.equal(secrets[0], secrets[1])
    assert.is(secrets[0]?.length, 256)
    const minusOne = prime.slice()
    minusOne[255]! -= 1
    for (const bad of [new Uint8Array(256), new Uint8Array([1]), minusOne, prime]) {
      assert.throws(() => crypto.modPow(bad, a, prime))
    }
  })

  it('ML-KEM makes the keys of NIST, and the provider takes them', () => {
    const { d, z, key } = nist768
    const pair = ml_kem768.keygen(fromHex(d + z))
    equal(crypto.hash('sha256', pair.publicKey), key)
    const { ciphertext, sharedSecret } = crypto.mlKem.encapsulate(768, pair.publicKey)
    assert.equal(crypto.mlKem.decapsulate(768, pair.secretKey, ciphertext), sharedSecret)
    const { publicKey } = ml_kem1024.keygen(fromHex(nist1024.d + nist1024.z))
    equal(publicKey.subarray(0, nist1024.key.length / 2), nist1024.key)
  })

  it('ML-KEM-768 gives the accumulated vector of C2SP/CCTV, a hundred times round', () => {
    const input = shake128.create({})
    const output = shake128.create({})
    for (let round = 0; round < 100; round++) {
      const { publicKey, secretKey } = ml_kem768.keygen(input.xof(64))
      const { cipherText, sharedSecret } = ml_kem768.encapsulate(publicKey, input.xof(32))
      equal(crypto.mlKem.decapsulate(768, secretKey, cipherText), toHex(sharedSecret))
      output.update(publicKey).update(cipherText).update(sharedSecret)
      output.update(crypto.mlKem.decapsulate(768, secretKey, input.xof(1088)))
    }
    equal(output.xof(32), '1114b1b6699ed191734fa339376afa7e285c9e6acf6ff0177d346696ce564415')
  })

  for (const parameters of [768, 1024] as const) {
    it(`ML-KEM-${parameters} passes Wycheproof`, () => {
      const { decapsulation, fromSeed, invalidKeys } = wycheproof.mlKem[parameters]
      for (const { dk, c, K, result } of decapsulation) {
        const run = (): Uint8Array => crypto.mlKem.decapsulate(parameters, fromHex(dk), fromHex(c))
        if (result === 'valid') equal(run(), K)
        else assert.throws(run)
      }
      const library = parameters === 768 ? ml_kem768 : ml_kem1024
      for (const { seed, ek, c, K } of fromSeed) {
        const pair = library.keygen(fromHex(seed))
        equal(pair.publicKey, ek)
        equal(crypto.mlKem.decapsulate(parameters, pair.secretKey, fromHex(c)), K)
      }
      for (const ek of invalidKeys) {
        assert.throws(() => crypto.mlKem.encapsulate(parameters, fromHex(ek)))
      }
    })

    it(`ML-KEM-${parameters} agrees with itself and rejects implicitly`, () => {
      const { secretKey, publicKey } = crypto.mlKem.generate(parameters)
      const { ciphertext, sharedSecret } = crypto.mlKem.encapsulate(parameters, publicKey)
      assert.equal(crypto.mlKem.decapsulate(parameters, secretKey, ciphertext), sharedSecret)
      const damaged = ciphertext.slice()
      damaged[7]! ^= 1
      assert.not.equal(crypto.mlKem.decapsulate(parameters, secretKey, damaged), sharedSecret)
    })
  }
}
