/** Hashes, MACs and ciphers of `node:crypto`, each with a known-answer test. */
import { equalBytes } from './equal-bytes.ts'
import { fromHex } from './hex.ts'
import { nobleCrypto } from './noble.ts'
import {
  abc,
  type Bytes,
  type KeyObject,
  type NodeCrypto,
  type Override,
  plain,
} from './node-crypto.ts'
import type { AesGcm, CryptoProvider, HashName } from './provider.ts'

/** Hashes, HMAC and ciphers in native code. */
export function symmetricOverrides(node: NodeCrypto): readonly Override[] {
  return [hash(node), hmac(node), aesGcm(node), aesCtr(node), chacha20(node)]
}

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
          if (tag.length !== 16) return undefined
          const cipher = node.createDecipheriv(name, keyObject, nonce, tagLength)
          cipher.setAAD(aad)
          cipher.setAuthTag(tag)
          const plaintext = plain(cipher.update(data))
          try {
            cipher.final()
          } catch {
            return undefined
          }
          return plaintext
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
        gcm.open(nonce, none, data, tag)?.every((byte) => byte === 0) === true
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
