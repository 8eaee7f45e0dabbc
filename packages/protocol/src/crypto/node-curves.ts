/** Elliptic curves of `node:crypto`, each with a known-answer test. */
import { equalBytes } from './equal-bytes.ts'
import { fromHex } from './hex.ts'
import { nobleCrypto } from './noble.ts'
import {
  abc,
  type Bytes,
  type Der,
  fromBase64Url,
  type KeyObject,
  type NodeCrypto,
  type Override,
  padded,
  plain,
  remembered,
  sized,
  succeeds,
  toBase64Url,
} from './node-crypto.ts'
import type { CryptoProvider, CurveName, KeyPair } from './provider.ts'

/** X25519, Ed25519, ECDH and ECDSA in native code. */
export function curveOverrides(node: NodeCrypto): readonly Override[] {
  return [x25519(node), ed25519(node), ecdh(node), ecdsa(node)]
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

function der(type: Der['type'], ...parts: readonly Bytes[]): Der {
  const key = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    key.set(part, at)
    at += part.length
  }
  return { key, format: 'der', type }
}

/** A curve of RFC 8410, by its name in a JSON Web Key. */
type OkpCurve = 'X25519' | 'Ed25519'

const NO_POINT = toBase64Url(new Uint8Array(32))

/**
 * As a JSON Web Key (RFC 8037), which loads in a tenth of the time that DER takes. It must name a
 * public key, which is not looked at: the runtime derives its own.
 */
function okpPrivateKey(node: NodeCrypto, crv: OkpCurve, secretKey: Bytes): KeyObject {
  const key = { kty: 'OKP', crv, d: toBase64Url(secretKey), x: NO_POINT }
  return node.createPrivateKey({ key, format: 'jwk' })
}

function okpPublicKey(node: NodeCrypto, crv: OkpCurve, publicKey: Bytes): KeyObject {
  return node.createPublicKey({
    key: { kty: 'OKP', crv, x: toBase64Url(publicKey) },
    format: 'jwk',
  })
}

/** Public half of a raw private key, through the JWK export, the only one that gives it raw. */
function publicHalf(privateKey: KeyObject): Bytes {
  return sized(fromBase64Url(privateKey.export({ format: 'jwk' })['x']), 32, 'a public key')
}

function x25519(node: NodeCrypto): Override {
  const privateKeys = remembered((secretKey) =>
    okpPrivateKey(node, 'X25519', sized(secretKey, 32, 'secretKey')),
  )
  const x25519: CryptoProvider['x25519'] = {
    // Any 32 bytes are a key (RFC 7748 §5). Not `generateKeyPairSync`: Node 20 locks up if it
    // collects the garbage of that while it exports the very key as a JSON Web Key.
    generate() {
      const secretKey = nobleCrypto.random(32)
      return { secretKey, publicKey: publicHalf(privateKeys.get(secretKey)) }
    },
    agree(secretKey, peerPublicKey) {
      const publicKey = okpPublicKey(node, 'X25519', sized(peerPublicKey, 32, 'peerPublicKey'))
      const secret = plain(
        node.diffieHellman({ privateKey: privateKeys.get(secretKey), publicKey }),
      )
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
  const privateKeys = remembered((seed) => okpPrivateKey(node, 'Ed25519', sized(seed, 32, 'seed')))
  const ed25519: CryptoProvider['ed25519'] = {
    generate() {
      const secretKey = nobleCrypto.random(32)
      return { secretKey, publicKey: publicHalf(privateKeys.get(secretKey)) }
    },
    publicKey: (seed) => publicHalf(privateKeys.get(seed)),
    sign: (seed, data) => plain(node.sign(null, data, privateKeys.get(seed))),
    verify(publicKey, data, signature) {
      if (publicKey.length !== 32 || signature.length !== 64) return false
      try {
        const key = okpPublicKey(node, 'Ed25519', publicKey)
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
