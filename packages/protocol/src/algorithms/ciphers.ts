/**
 * Ciphers as sealers and openers of whole packets, in place: the data plane. Nothing is allocated
 * per packet but views and what the provider returns.
 */
import { assert } from '../assert.ts'
import { equalBytes } from '../crypto/equal-bytes.ts'
import type { CryptoProvider, StreamCipher } from '../crypto/provider.ts'
import type { CipherSpec, DirectionKeys, MacSpec, PacketOpener, PacketSealer } from './spec.ts'

const TAG_BYTES = 16
const AES_BLOCK_BYTES = 16
/** RFC 4344 §3.2: for blocks of 128 bits no more than 2^32 of them under one key. */
const AES_REKEY_BYTES = 2 ** 36
/** RFC 4344 §3.1; also far below where the number of a packet, a nonce here, would come again. */
const REKEY_PACKETS = 2 ** 31

function uint32(bytes: Uint8Array): number {
  return ((bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!) >>> 0
}

// --- AES-GCM ---------------------------------------------------------------------------------

/** RFC 5647 as OpenSSH does it: the cipher's name alone selects it, the MAC list is void. */
function gcm(name: string, keyBytes: number): CipherSpec {
  return {
    name,
    keyBytes,
    ivBytes: 12,
    authenticated: true,
    rekeyBytes: AES_REKEY_BYTES,
    rekeyPackets: REKEY_PACKETS,
    seal(crypto, keys) {
      const cipher = crypto.aesGcm(keys.key)
      const nonce = keys.iv.slice()
      return {
        blockBytes: AES_BLOCK_BYTES,
        lengthCounts: false,
        tagBytes: TAG_BYTES,
        seal(packet) {
          const end = packet.length - TAG_BYTES
          const tag = cipher.seal(nonce, packet.subarray(0, 4), packet.subarray(4, end))
          packet.set(tag, end)
          countInvocation(nonce)
        },
      }
    },
    open(crypto, keys) {
      const cipher = crypto.aesGcm(keys.key)
      const nonce = keys.iv.slice()
      return {
        blockBytes: AES_BLOCK_BYTES,
        lengthCounts: false,
        tagBytes: TAG_BYTES,
        headBytes: 4,
        packetLength: uint32,
        open(packet) {
          const end = packet.length - TAG_BYTES
          const body = cipher.open(
            nonce,
            packet.subarray(0, 4),
            packet.subarray(4, end),
            packet.subarray(end),
          )
          countInvocation(nonce)
          return body
        },
      }
    },
  }
}

/** The last eight bytes of the nonce count packets, modulo 2^64 (RFC 5647 §7.1). */
function countInvocation(nonce: Uint8Array): void {
  for (let at = 11; at >= 4; at--) {
    const next = (nonce[at]! + 1) & 0xff
    nonce[at] = next
    if (next !== 0) return
  }
}

export const aes256Gcm: CipherSpec = gcm('aes256-gcm@openssh.com', 32)
export const aes128Gcm: CipherSpec = gcm('aes128-gcm@openssh.com', 16)

// --- ChaCha20-Poly1305 -----------------------------------------------------------------------

/**
 * OpenSSH PROTOCOL.chacha20poly1305. K_2, the first half of the key, encrypts the packet; K_1, the
 * second, encrypts nothing but the length, so that a decryption oracle on lengths (which must be
 * read before they are authenticated) gives no keystream of the data.
 */
export const chacha20Poly1305: CipherSpec = {
  name: 'chacha20-poly1305@openssh.com',
  keyBytes: 64,
  ivBytes: 0,
  authenticated: true,
  rekeyPackets: REKEY_PACKETS,
  seal(crypto, keys) {
    const core = chachaCore(crypto, keys)
    return {
      blockBytes: 8,
      lengthCounts: false,
      tagBytes: TAG_BYTES,
      seal(packet, sequenceNumber) {
        const end = packet.length - TAG_BYTES
        core.begin(sequenceNumber)
        core.cryptLength(packet.subarray(0, 4))
        core.cryptData(packet.subarray(4, end))
        packet.set(core.tag(packet.subarray(0, end)), end)
      },
    }
  },
  open(crypto, keys) {
    const core = chachaCore(crypto, keys)
    const length = new Uint8Array(4)
    return {
      blockBytes: 8,
      lengthCounts: false,
      tagBytes: TAG_BYTES,
      headBytes: 4,
      packetLength(head, sequenceNumber) {
        core.begin(sequenceNumber)
        // The tag covers the encrypted length, so the packet keeps it.
        for (let at = 0; at < 4; at++) length[at] = head[at]!
        core.cryptLength(length)
        return uint32(length)
      },
      open(packet, sequenceNumber) {
        const end = packet.length - TAG_BYTES
        core.begin(sequenceNumber)
        if (!equalBytes(core.tag(packet.subarray(0, end)), packet.subarray(end))) return undefined
        const body = packet.subarray(4, end)
        core.cryptData(body)
        return body
      },
    }
  },
}

function chachaCore(
  crypto: CryptoProvider,
  keys: DirectionKeys,
): {
  begin(sequenceNumber: number): void
  cryptLength(length: Uint8Array): void
  cryptData(data: Uint8Array): void
  tag(data: Uint8Array): Uint8Array
} {
  const dataKey = keys.key.slice(0, 32)
  const lengthKey = keys.key.slice(32, 64)
  const nonce = new Uint8Array(8)
  const nonceView = new DataView(nonce.buffer)
  const macKey = new Uint8Array(32)
  return {
    begin(sequenceNumber) {
      nonceView.setUint32(4, sequenceNumber)
    },
    cryptLength(length) {
      crypto.chacha20(lengthKey, nonce, 0, length)
    },
    cryptData(data) {
      crypto.chacha20(dataKey, nonce, 1, data)
    },
    tag(data) {
      macKey.fill(0)
      crypto.chacha20(dataKey, nonce, 0, macKey)
      return crypto.poly1305(macKey, data)
    },
  }
}

// --- AES-CTR ---------------------------------------------------------------------------------

/** RFC 4344 §4, with whichever MAC was negotiated. */
function ctr(name: string, keyBytes: number): CipherSpec {
  const stream: CipherFactory = (crypto, keys) => crypto.aesCtr(keys.key, keys.iv)
  return withMac(name, keyBytes, stream, stream)
}

/** Makes the running cipher of one direction. */
export type CipherFactory = (crypto: CryptoProvider, keys: DirectionKeys) => StreamCipher

/** A cipher of AES's block size that leaves authentication to the MAC negotiated with it. */
export function withMac(
  name: string,
  keyBytes: number,
  encrypting: CipherFactory,
  decrypting: CipherFactory,
): CipherSpec {
  return {
    name,
    keyBytes,
    ivBytes: AES_BLOCK_BYTES,
    authenticated: false,
    rekeyBytes: AES_REKEY_BYTES,
    rekeyPackets: REKEY_PACKETS,
    seal(crypto, keys, mac) {
      assert(mac !== undefined, `${name} without a MAC`)
      const cipher = encrypting(crypto, keys)
      const tagOf = mac.create(crypto, keys.macKey)
      return mac.encryptThenMac ? sealEtm(cipher, mac, tagOf) : sealThenMac(cipher, mac, tagOf)
    },
    open(crypto, keys, mac) {
      assert(mac !== undefined, `${name} without a MAC`)
      const cipher = decrypting(crypto, keys)
      const tagOf = mac.create(crypto, keys.macKey)
      return mac.encryptThenMac ? openEtm(cipher, mac, tagOf) : openThenMac(cipher, mac, tagOf)
    },
  }
}

export const aes256Ctr: CipherSpec = ctr('aes256-ctr', 32)
export const aes192Ctr: CipherSpec = ctr('aes192-ctr', 24)
export const aes128Ctr: CipherSpec = ctr('aes128-ctr', 16)

/** The whole tag of a packet; `MacSpec.create`. */
type TagOf = ReturnType<MacSpec['create']>

/** RFC 4253 §6.4: the MAC is over the plaintext, and even the length is encrypted. */
function sealThenMac(cipher: StreamCipher, { tagBytes }: MacSpec, tagOf: TagOf): PacketSealer {
  return {
    blockBytes: AES_BLOCK_BYTES,
    lengthCounts: true,
    tagBytes,
    seal(packet, sequenceNumber) {
      const end = packet.length - tagBytes
      const body = packet.subarray(0, end)
      packet.set(cut(tagOf(sequenceNumber, body), tagBytes), end)
      cipher.apply(body)
    },
  }
}

function openThenMac(cipher: StreamCipher, { tagBytes }: MacSpec, tagOf: TagOf): PacketOpener {
  return {
    blockBytes: AES_BLOCK_BYTES,
    lengthCounts: true,
    tagBytes,
    headBytes: AES_BLOCK_BYTES,
    packetLength(head) {
      cipher.apply(head)
      return uint32(head)
    },
    open(packet, sequenceNumber) {
      const end = packet.length - tagBytes
      cipher.apply(packet.subarray(AES_BLOCK_BYTES, end))
      const tag = cut(tagOf(sequenceNumber, packet.subarray(0, end)), tagBytes)
      return equalBytes(tag, packet.subarray(end)) ? packet.subarray(4, end) : undefined
    },
  }
}

/** OpenSSH PROTOCOL §1.1: the length in clear, the MAC over the ciphertext and checked first. */
function sealEtm(cipher: StreamCipher, { tagBytes }: MacSpec, tagOf: TagOf): PacketSealer {
  return {
    blockBytes: AES_BLOCK_BYTES,
    lengthCounts: false,
    tagBytes,
    seal(packet, sequenceNumber) {
      const end = packet.length - tagBytes
      cipher.apply(packet.subarray(4, end))
      packet.set(cut(tagOf(sequenceNumber, packet.subarray(0, end)), tagBytes), end)
    },
  }
}

function openEtm(cipher: StreamCipher, { tagBytes }: MacSpec, tagOf: TagOf): PacketOpener {
  return {
    blockBytes: AES_BLOCK_BYTES,
    lengthCounts: false,
    tagBytes,
    headBytes: 4,
    packetLength: uint32,
    open(packet, sequenceNumber) {
      const end = packet.length - tagBytes
      const tag = cut(tagOf(sequenceNumber, packet.subarray(0, end)), tagBytes)
      if (!equalBytes(tag, packet.subarray(end))) return undefined
      const body = packet.subarray(4, end)
      cipher.apply(body)
      return body
    },
  }
}

/** A MAC may use only the first bytes of its function's output. */
function cut(tag: Uint8Array, bytes: number): Uint8Array {
  return tag.length === bytes ? tag : tag.subarray(0, bytes)
}
