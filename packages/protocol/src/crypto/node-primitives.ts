/**
 * The primitives of `node:crypto` in the shape of our provider, each with a known-answer test. The
 * module is handed in and typed by the few functions used of it: nothing here imports Node.
 */
import { equalBytes } from './equal-bytes.ts'
import { fromHex } from './hex.ts'
import { nobleCrypto } from './noble.ts'
import type { AesGcm, CryptoProvider, CurveName, HashName, KeyPair, Primitive } from './provider.ts'

type Bytes = Uint8Array

/**
 * A Buffer as an honest Uint8Array: the `slice` of a Buffer does not copy, which callers of a
 * runtime-neutral library cannot be asked to know.
 */
function plain(buffer: Bytes): Bytes {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length)
}

interface Hash {
  update(data: Bytes): Hash
  digest(): Bytes
}

interface Cipher {
  setAAD(data: Bytes): void
  setAuthTag(tag: Bytes): void
  getAuthTag(): Bytes
  update(data: Bytes): Bytes
  final(): Bytes
}

interface KeyObject {
  export(options: { format: 'jwk' }): { readonly [name: string]: string | undefined }
}

interface Der {
  readonly key: Bytes
  readonly format: 'der'
  readonly type: 'pkcs8' | 'spki' | 'sec1'
}

/** What is used of `node:crypto`. Its Buffers are Uint8Arrays, and that is all we take them for. */
export interface NodeCrypto {
  createHash(name: string): Hash
  createHmac(name: string, key: KeyObject): Hash
  createSecretKey(key: Bytes): KeyObject
  createPrivateKey(key: Der | Bytes): KeyObject
  createPublicKey(key: Der): KeyObject
  createCipheriv(name: string, key: KeyObject, iv: Bytes, options?: object): Cipher
  createDecipheriv(name: string, key: KeyObject, iv: Bytes, options?: object): Cipher
  diffieHellman(keys: { privateKey: KeyObject; publicKey: KeyObject }): Bytes
  createECDH(curve: string): {
    generateKeys(): Bytes
    getPrivateKey(): Bytes
    setPrivateKey(key: Bytes): void
    getPublicKey(): Bytes
    computeSecret(peer: Bytes): Bytes
  }
  sign(hash: string | null, data: Bytes, key: object): Bytes
  verify(hash: string | null, data: Bytes, key: object, signature: Bytes): boolean
}

/** One primitive: what it replaces, and whether it works here. */
export interface Override {
  readonly primitive: Primitive
  readonly override: Partial<CryptoProvider>
  /** May throw instead of returning false. */
  readonly works: () => boolean
}

export function nodeOverrides(node: NodeCrypto): readonly Override[] {
  return [hash(node), hmac(node), aesGcm(node), aesCtr(node), chacha20(node), x25519(node)].concat([
    ed25519(node),
    ecdh(node),
    ecdsa(node),
  ])
}

const abc = new Uint8Array([0x61, 0x62, 0x63])

/** Digests of "abc", the example of FIPS 180-4. A runtime in FIPS mode lacks MD5. */
const ABC: Readonly<Record<HashName, string>> = {
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
const hashNames = Object.keys(ABC) as HashName[]

function hash(node: NodeCrypto): Override {
  const override: Pick<CryptoProvider, 'hash'> = {
    hash(name, ...parts) {
      const state = node.createHash(name)
      for (const part of parts) state.update(part)
      return plain(state.digest())
    },
  }
  return {
    primitive: 'hash',
    override,
    works: () =>
      hashNames.every((name) =>
        equalBytes(override.hash(name, abc.subarray(0, 1), abc.subarray(1)), fromHex(ABC[name])),
      ),
  }
}

function hmac(node: NodeCrypto): Override {
  const override: Pick<CryptoProvider, 'hmac'> = {
    hmac(name, key) {
      const keyObject = node.createSecretKey(key)
      const sequence = new Uint8Array(4)
      return {
        packet(sequenceNumber, data) {
          sequence[0] = sequenceNumber >>> 24
          sequence[1] = sequenceNumber >>> 16
          sequence[2] = sequenceNumber >>> 8
          sequence[3] = sequenceNumber
          return plain(node.createHmac(name, keyObject).update(sequence).update(data).digest())
        },
      }
    },
  }
  return {
    primitive: 'hmac',
    override,
    works() {
      // RFC 4231 §4.3: "what" is taken as the sequence number, " do ya want for nothing?" follows.
      const mac = override.hmac('sha256', fromHex('4a656665'))
      const data = new TextEncoder().encode(' do ya want for nothing?')
      const tag = fromHex('5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843')
      return equalBytes(mac.packet(0x77686174, data), tag)
    },
  }
}

/** Node gives a fresh array from each `update`; copying it back costs a tenth of the encryption. */
function aesGcm(node: NodeCrypto): Override {
  const tagLength = { authTagLength: 16 }
  const override: Pick<CryptoProvider, 'aesGcm'> = {
    aesGcm(key): AesGcm {
      const name = `aes-${key.length * 8}-gcm`
      const keyObject = node.createSecretKey(key)
      return {
        seal(nonce, aad, data) {
          const cipher = node.createCipheriv(name, keyObject, nonce, tagLength)
          cipher.setAAD(aad)
          data.set(cipher.update(data))
          cipher.final()
          return plain(cipher.getAuthTag())
        },
        open(nonce, aad, data, tag) {
          if (tag.length !== 16) return false
          const cipher = node.createDecipheriv(name, keyObject, nonce, tagLength)
          cipher.setAAD(aad)
          cipher.setAuthTag(tag)
          const plain = cipher.update(data)
          try {
            cipher.final()
          } catch {
            return false
          }
          data.set(plain)
          return true
        },
      }
    },
  }
  return {
    primitive: 'aes-gcm',
    override,
    works() {
      // Test case 14 of the GCM specification (McGrew and Viega), AES-256 of zeros.
      const gcm = override.aesGcm(new Uint8Array(32))
      const data = new Uint8Array(16)
      const nonce = new Uint8Array(12)
      const none = new Uint8Array(0)
      const tag = gcm.seal(nonce, none, data)
      return (
        equalBytes(data, fromHex('cea7403d4d606b6e074ec5d3baf39d18')) &&
        equalBytes(tag, fromHex('d0d1c8a799996bf0265b98b5d48ab919')) &&
        !gcm.open(nonce, none, data.slice(), new Uint8Array(16)) &&
        gcm.open(nonce, none, data, tag) &&
        data.every((byte) => byte === 0)
      )
    },
  }
}

function aesCtr(node: NodeCrypto): Override {
  const override: Pick<CryptoProvider, 'aesCtr'> = {
    aesCtr(key, iv) {
      const name = `aes-${key.length * 8}-ctr`
      const cipher = node.createCipheriv(name, node.createSecretKey(key), iv)
      return {
        apply(data) {
          data.set(cipher.update(data))
        },
      }
    },
  }
  return {
    primitive: 'aes-ctr',
    override,
    works() {
      // NIST SP 800-38A §F.5.5, first block, taken in two odd pieces.
      const stream = override.aesCtr(
        fromHex('603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4'),
        fromHex('f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff'),
      )
      const data = fromHex('6bc1bee22e409f96e93d7e117393172a')
      stream.apply(data.subarray(0, 5))
      stream.apply(data.subarray(5))
      return equalBytes(data, fromHex('601ec313775789a5b7a7f504bbf3d228'))
    },
  }
}

/** Below this, setting up OpenSSL's cipher takes longer than the portable code as a whole. */
const CHACHA_NATIVE_BYTES_MIN = 512

/** OpenSSL's IV is the 64-bit little-endian counter followed by the 64-bit nonce. */
function chacha20(node: NodeCrypto): Override {
  const iv = new Uint8Array(16)
  const keyObjects = new WeakMap<Bytes, KeyObject>()
  function native(key: Bytes, nonce: Bytes, counter: number, data: Bytes): void {
    // Cached by identity: a sealer uses its own two arrays, which nobody changes, for each packet.
    let keyObject = keyObjects.get(key)
    if (keyObject === undefined) {
      keyObject = node.createSecretKey(key)
      keyObjects.set(key, keyObject)
    }
    for (let at = 0; at < 4; at++) iv[at] = counter >>> (8 * at)
    iv.set(nonce, 8)
    data.set(node.createCipheriv('chacha20', keyObject, iv).update(data))
  }
  return {
    primitive: 'chacha20',
    override: {
      chacha20(key, nonce, counter, data) {
        if (data.length < CHACHA_NATIVE_BYTES_MIN) nobleCrypto.chacha20(key, nonce, counter, data)
        else native(key, nonce, counter, data)
      },
    },
    works() {
      // draft-agl-tls-chacha20poly1305-04 §7, the key of zeros with nonce 1.
      const data = new Uint8Array(64)
      native(new Uint8Array(32), fromHex('0000000000000001'), 0, data)
      const expected = 'de9cba7bf3d69ef5e786dc63973f653a0b49e015adbff7134fcb7df137821031'
      if (!equalBytes(data.subarray(0, 32), fromHex(expected))) return false
      // The counter must move by blocks: the second block alone equals the second half of both.
      const both = new Uint8Array(128)
      native(new Uint8Array(32), fromHex('0102030405060708'), 0, both)
      const second = new Uint8Array(64)
      native(new Uint8Array(32), fromHex('0102030405060708'), 1, second)
      return equalBytes(second, both.subarray(64))
    },
  }
}

/** DER around raw keys: RFC 8410 for the Edwards and Montgomery curves. */
const PKCS8_X25519 = fromHex('302e020100300506032b656e04220420')
const SPKI_X25519 = fromHex('302a300506032b656e032100')
const PKCS8_ED25519 = fromHex('302e020100300506032b657004220420')
const SPKI_ED25519 = fromHex('302a300506032b6570032100')

function der(type: Der['type'], ...parts: readonly Bytes[]): Der {
  const key = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    key.set(part, at)
    at += part.length
  }
  return { key, format: 'der', type }
}

function sized(bytes: Bytes, length: number, what: string): Bytes {
  if (bytes.length !== length) throw new RangeError(`${what} must have ${length} bytes`)
  return bytes
}

/** Public half of a raw private key, through the JWK export, the only one that gives it raw. */
function publicHalf(privateKey: KeyObject): Bytes {
  const x = privateKey.export({ format: 'jwk' })['x'] ?? ''
  const text = atob(x.replaceAll('-', '+').replaceAll('_', '/'))
  return sized(
    Uint8Array.from(text, (character) => character.charCodeAt(0)),
    32,
    'a public key',
  )
}

function x25519(node: NodeCrypto): Override {
  const load = (secretKey: Bytes): KeyObject =>
    node.createPrivateKey(der('pkcs8', PKCS8_X25519, sized(secretKey, 32, 'secretKey')))
  const x25519: CryptoProvider['x25519'] = {
    generate() {
      const secretKey = nobleCrypto.random(32)
      return { secretKey, publicKey: publicHalf(load(secretKey)) }
    },
    agree(secretKey, peerPublicKey) {
      const publicKey = node.createPublicKey(
        der('spki', SPKI_X25519, sized(peerPublicKey, 32, 'peerPublicKey')),
      )
      const secret = plain(node.diffieHellman({ privateKey: load(secretKey), publicKey }))
      // OpenSSL refuses low-order points itself; RFC 8731 §3 makes it our duty, so make sure.
      if (secret.every((byte) => byte === 0)) throw new RangeError('a low-order point')
      return secret
    },
  }
  return {
    primitive: 'x25519',
    override: { x25519 },
    works() {
      // RFC 7748 §6.1: Bob's secret key, Alice's public key, what they share.
      const secret = fromHex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb')
      const peer = fromHex('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a')
      const shared = fromHex('4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742')
      const one = x25519.generate()
      const two = x25519.generate()
      return (
        equalBytes(x25519.agree(secret, peer), shared) &&
        equalBytes(
          x25519.agree(one.secretKey, two.publicKey),
          x25519.agree(two.secretKey, one.publicKey),
        ) &&
        !succeeds(() => x25519.agree(secret, new Uint8Array(32)).length > 0)
      )
    },
  }
}

function ed25519(node: NodeCrypto): Override {
  const load = (seed: Bytes): KeyObject =>
    node.createPrivateKey(der('pkcs8', PKCS8_ED25519, sized(seed, 32, 'seed')))
  const ed25519: CryptoProvider['ed25519'] = {
    generate() {
      const secretKey = nobleCrypto.random(32)
      return { secretKey, publicKey: publicHalf(load(secretKey)) }
    },
    publicKey: (seed) => publicHalf(load(seed)),
    sign: (seed, data) => plain(node.sign(null, data, load(seed))),
    verify(publicKey, data, signature) {
      if (publicKey.length !== 32 || signature.length !== 64) return false
      try {
        const key = node.createPublicKey(der('spki', SPKI_ED25519, publicKey))
        return node.verify(null, data, key, signature)
      } catch {
        return false
      }
    },
  }
  return {
    primitive: 'ed25519',
    override: { ed25519 },
    works() {
      // RFC 8032 §7.1, test 2.
      const seed = fromHex('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb')
      const point = fromHex('3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c')
      const signature = fromHex(
        '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da' +
          '085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
      )
      const data = new Uint8Array([0x72])
      return (
        equalBytes(ed25519.publicKey(seed), point) &&
        equalBytes(ed25519.sign(seed, data), signature) &&
        ed25519.verify(point, data, signature) &&
        !ed25519.verify(point, new Uint8Array([0x73]), signature)
      )
    },
  }
}

/** OpenSSL's name, hash (RFC 5656 §6.2.1), coordinate width and DER of each curve. */
const CURVES = {
  nistp256: {
    name: 'prime256v1',
    hash: 'sha256',
    bytes: 32,
    spki: fromHex('3059301306072a8648ce3d020106082a8648ce3d030107034200'),
    sec1: fromHex('30310201010420'),
    oid: fromHex('a00a06082a8648ce3d030107'),
  },
  nistp384: {
    name: 'secp384r1',
    hash: 'sha384',
    bytes: 48,
    spki: fromHex('3076301006072a8648ce3d020106052b81040022036200'),
    sec1: fromHex('303e0201010430'),
    oid: fromHex('a00706052b81040022'),
  },
  nistp521: {
    name: 'secp521r1',
    hash: 'sha512',
    bytes: 66,
    spki: fromHex('30819b301006072a8648ce3d020106052b8104002303818600'),
    sec1: fromHex('30500201010442'),
    oid: fromHex('a00706052b81040023'),
  },
} as const

/** A scalar or secret with the leading zeros that OpenSSL drops. */
function padded(bytes: Bytes, length: number): Bytes {
  if (bytes.length === length) return plain(bytes)
  const full = new Uint8Array(length)
  full.set(bytes, length - bytes.length)
  return full
}

function uncompressed(curve: CurveName, point: Bytes): Bytes {
  const { bytes } = CURVES[curve]
  if (point[0] !== 4) throw new RangeError('a point must be uncompressed')
  return sized(point, 2 * bytes + 1, 'a point')
}

function generateEc(node: NodeCrypto, curve: CurveName): KeyPair {
  const ecdh = node.createECDH(CURVES[curve].name)
  const publicKey = plain(ecdh.generateKeys())
  return { secretKey: padded(ecdh.getPrivateKey(), CURVES[curve].bytes), publicKey }
}

/**
 * Curves cost milliseconds each to try out, and most connections use none or one, so P-256 is
 * tried at once and stands for the primitive; the others are tried when first asked for, and
 * served by the portable code if they fail.
 */
function perCurve<T>(
  native: T,
  portable: T,
  works: (curve: CurveName) => boolean,
): (curve: CurveName) => T {
  const chosen = new Map<CurveName, T>()
  return (curve: CurveName): T => {
    let implementation = chosen.get(curve)
    if (implementation === undefined) {
      implementation = succeeds(() => works(curve)) ? native : portable
      chosen.set(curve, implementation)
    }
    return implementation
  }
}

function ecdh(node: NodeCrypto): Override {
  const native: CryptoProvider['ecdh'] = {
    generate: (curve) => generateEc(node, curve),
    agree(curve, secretKey, peerPublicKey) {
      const own = node.createECDH(CURVES[curve].name)
      own.setPrivateKey(secretKey)
      return padded(own.computeSecret(uncompressed(curve, peerPublicKey)), CURVES[curve].bytes)
    },
  }
  function works(curve: CurveName): boolean {
    const one = native.generate(curve)
    const two = native.generate(curve)
    const off = two.publicKey.slice()
    off[off.length - 1]! ^= 1
    return (
      equalBytes(
        native.agree(curve, one.secretKey, two.publicKey),
        native.agree(curve, two.secretKey, one.publicKey),
      ) && !succeeds(() => native.agree(curve, one.secretKey, off).length > 0)
    )
  }
  const on = perCurve(native, nobleCrypto.ecdh, works)
  return {
    primitive: 'ecdh',
    override: {
      ecdh: {
        generate: (curve) => on(curve).generate(curve),
        agree: (curve, secretKey, peer) => on(curve).agree(curve, secretKey, peer),
      },
    },
    works() {
      // RFC 5903 §8.1.
      const secret = fromHex('c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433')
      const peer = fromHex(
        '04d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63' +
          '56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab',
      )
      const shared = fromHex('d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de')
      return equalBytes(native.agree('nistp256', secret, peer), shared) && works('nistp256')
    },
  }
}

function ecdsa(node: NodeCrypto): Override {
  const encoding = { dsaEncoding: 'ieee-p1363' }
  const native: CryptoProvider['ecdsa'] = {
    generate: (curve) => generateEc(node, curve),
    publicKey(curve, secretKey) {
      const own = node.createECDH(CURVES[curve].name)
      own.setPrivateKey(secretKey)
      return plain(own.getPublicKey())
    },
    sign(curve, secretKey, data) {
      const { hash, bytes, sec1, oid } = CURVES[curve]
      const sized = der('sec1', sec1, padded(secretKey, bytes), oid)
      return plain(node.sign(hash, data, { key: node.createPrivateKey(sized), ...encoding }))
    },
    verify(curve, publicKey, data, signature) {
      const { hash, bytes, spki } = CURVES[curve]
      if (signature.length !== 2 * bytes) return false
      try {
        const key = node.createPublicKey(der('spki', spki, uncompressed(curve, publicKey)))
        return node.verify(hash, data, { key, ...encoding }, signature)
      } catch {
        return false
      }
    },
  }
  function works(curve: CurveName): boolean {
    const { secretKey, publicKey } = native.generate(curve)
    const signature = native.sign(curve, secretKey, abc)
    return (
      equalBytes(native.publicKey(curve, secretKey), publicKey) &&
      native.verify(curve, publicKey, abc, signature) &&
      !native.verify(curve, publicKey, new Uint8Array(3), signature)
    )
  }
  const on = perCurve(native, nobleCrypto.ecdsa, works)
  return {
    primitive: 'ecdsa',
    override: {
      ecdsa: {
        generate: (curve) => on(curve).generate(curve),
        publicKey: (curve, secretKey) => on(curve).publicKey(curve, secretKey),
        sign: (curve, secretKey, data) => on(curve).sign(curve, secretKey, data),
        verify: (curve, publicKey, data, signature) =>
          on(curve).verify(curve, publicKey, data, signature),
      },
    },
    works() {
      // RFC 6979 §A.2.5, SHA-256 of "sample".
      const point = fromHex(
        '0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6' +
          '7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299',
      )
      const signature = fromHex(
        'efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716' +
          'f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8',
      )
      const data = new TextEncoder().encode('sample')
      return native.verify('nistp256', point, data, signature) && works('nistp256')
    },
  }
}

function succeeds(action: () => boolean): boolean {
  try {
    return action()
  } catch {
    return false
  }
}
