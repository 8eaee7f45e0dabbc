/**
 * What an algorithm is: a plain value with its registered name, its sizes and its factory. After
 * negotiation code holds the value, never the name, so no second switch on strings exists.
 */
import type { CryptoProvider, HashName } from '../crypto/provider.ts'
import type { PublicKey } from '../keys/public-key.ts'

/** Keys derived for one direction, RFC 4253 §7.2. Sizes are those the specs ask for. */
export interface DirectionKeys {
  readonly iv: Uint8Array
  readonly key: Uint8Array
  /** Empty when the cipher authenticates by itself. */
  readonly macKey: Uint8Array
}

/**
 * Seals packets of one direction, in place. A packet buffer holds
 * `uint32 packet_length ‖ padding_length ‖ payload ‖ padding` and then `tagBytes` of room.
 */
export interface PacketSealer {
  /** What the padded part must be a multiple of (at least 8). */
  readonly blockBytes: number
  /** False if the four length bytes do not count towards the block (AEAD and -etm). */
  readonly lengthCounts: boolean
  readonly tagBytes: number
  seal(packet: Uint8Array, sequenceNumber: number): void
}

/** Opens packets of one direction, in place. */
export interface PacketOpener {
  readonly blockBytes: number
  readonly lengthCounts: boolean
  readonly tagBytes: number
  /** Bytes that must have arrived before `packetLength` may be called: 4, or one cipher block. */
  readonly headBytes: number
  /**
   * The packet_length told by the first `headBytes` bytes. Called exactly once a packet, before
   * `open`; a cipher that must decrypt the head to know does so in place. Not yet authenticated.
   */
  packetLength(head: Uint8Array, sequenceNumber: number): number
  /**
   * Verifies and decrypts the whole packet (head included, tag at the end) and returns
   * `padding_length ‖ payload ‖ padding`, decrypted in place or in an array of its own. Undefined if
   * it is not authentic.
   */
  open(packet: Uint8Array, sequenceNumber: number): Uint8Array | undefined
}

/** A message authentication code, RFC 4253 §6.4. */
export interface MacSpec {
  readonly name: string
  readonly keyBytes: number
  readonly tagBytes: number
  /** Over the ciphertext (`-etm@openssh.com`) rather than the plaintext. */
  readonly encryptThenMac: boolean
  create(
    crypto: CryptoProvider,
    key: Uint8Array,
  ): (sequenceNumber: number, data: Uint8Array) => Uint8Array
}

/** A cipher, RFC 4253 §6.3, with the MAC it is joined to. */
export interface CipherSpec {
  readonly name: string
  readonly keyBytes: number
  readonly ivBytes: number
  /** True for ciphers that carry their own tag; MAC negotiation is then void. */
  readonly authenticated: boolean
  /** Packets after which RFC 4344 wants new keys, if lower than the global limit. */
  readonly rekeyPackets?: number
  /** Bytes after which it wants new keys, if lower than the global limit. */
  readonly rekeyBytes?: number
  seal(crypto: CryptoProvider, keys: DirectionKeys, mac: MacSpec | undefined): PacketSealer
  open(crypto: CryptoProvider, keys: DirectionKeys, mac: MacSpec | undefined): PacketOpener
}

/** What the initiator of a one-round-trip exchange sends, and how it ends it. */
export interface KexInitiator {
  /** Contents of the string in SSH_MSG_KEX_*_INIT (Q_C, e, C_INIT). */
  readonly init: Uint8Array
  /** K in its wire encoding (mpint or string). Throws SshError `SSH_KEY_EXCHANGE`. */
  finish(reply: Uint8Array): Uint8Array
}

/** What the responder computes. */
export interface KexResponse {
  /** Contents of the string in SSH_MSG_KEX_*_REPLY (Q_S, f, S_REPLY). */
  readonly reply: Uint8Array
  /** K in its wire encoding. */
  readonly sharedSecret: Uint8Array
}

/** A finite field that both sides compute in. */
export interface DhGroup {
  /** The safe prime p, big-endian without leading zeros. */
  readonly prime: Uint8Array
  /** g, likewise. */
  readonly generator: Uint8Array
}

/** Sizes of the prime that a client takes, in bits, RFC 4419 §3. */
export interface DhGroupRequest {
  readonly minimum: number
  readonly preferred: number
  readonly maximum: number
}

/**
 * A key exchange method of the shape INIT → REPLY. Finite-field DH has the same wire, the strings
 * being the bodies of mpints.
 */
export interface KexSpec {
  readonly name: string
  readonly hash: HashName
  /** True if a quantum computer would not read it later. */
  readonly postQuantum: boolean
  /** Present if the group is agreed on first (RFC 4419); it is then passed to the functions below. */
  readonly groupExchange?: {
    /** What a client of ours asks for. */
    readonly request: DhGroupRequest
    /** A server's choice. Throws SshError `SSH_KEY_EXCHANGE` if nothing fits. */
    choose(request: DhGroupRequest): DhGroup
    /** A client's check. Throws SshError `SSH_KEY_EXCHANGE` on a group it did not ask for. */
    check(group: DhGroup): void
  }
  initiate(crypto: CryptoProvider, group?: DhGroup): KexInitiator
  /** Throws SshError `SSH_KEY_EXCHANGE` on a bad value. */
  respond(crypto: CryptoProvider, init: Uint8Array, group?: DhGroup): KexResponse
}

/** What a signature of a security key must attest, OpenSSH PROTOCOL.u2f. Others ignore it. */
export interface SignaturePolicy {
  /** That somebody touched the key. Default true; `no-touch-required` makes it false. */
  readonly touchRequired?: boolean
  /** That the key verified its user, by PIN or finger. Default false; see `verify-required`. */
  readonly verifyRequired?: boolean
}

/** A public key algorithm as named in negotiation and signatures, RFC 8332. */
export interface SignatureSpec {
  /** Name in KEXINIT, USERAUTH_REQUEST and signature blobs, such as `rsa-sha2-256`. */
  readonly name: string
  /** Type at the head of the key blob, such as `ssh-rsa`. */
  readonly keyType: string
  /**
   * True if `signature` (a whole signature blob: name and data) is one of `data` by `key`. Never
   * throws on malformed input.
   */
  verify(
    crypto: CryptoProvider,
    key: PublicKey,
    data: Uint8Array,
    signature: Uint8Array,
    policy?: SignaturePolicy,
  ): boolean
}

/** A compression method, RFC 4253 §6.2; one without functions leaves payloads as they are. */
export interface CompressionSpec {
  readonly name: string
  /** A fresh compressor for one direction under one set of keys, fed payload by payload. */
  readonly compressor?: () => (payload: Uint8Array) => Uint8Array
  /** Its reverse. Throws SshError `SSH_PROTOCOL` on broken data, `SSH_LIMIT` on too much of it. */
  readonly decompressor?: () => (payload: Uint8Array) => Uint8Array
}

/** Everything a side is willing to use; order is preference, absence is refusal. */
export interface Algorithms {
  readonly kex: readonly KexSpec[]
  readonly hostKeys: readonly SignatureSpec[]
  readonly ciphers: readonly CipherSpec[]
  readonly macs: readonly MacSpec[]
  readonly compression: readonly CompressionSpec[]
  /** What a server takes from users, told in `server-sig-algs` (RFC 8308 §3.1). */
  readonly userKeys: readonly SignatureSpec[]
}
