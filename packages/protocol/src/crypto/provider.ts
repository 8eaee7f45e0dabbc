/**
 * The seam to cryptography: a record of synchronous primitives. `nobleCrypto` implements all of
 * it; `nativeCrypto()` lays faster ones of the runtime over it where they pass a known-answer test.
 */

/** Hash functions that some algorithm or file format of SSH uses. */
export type HashName = 'md5' | 'sha1' | 'sha256' | 'sha384' | 'sha512'
/** NIST curves by their SSH names, RFC 5656 §10.1. */
export type CurveName = 'nistp256' | 'nistp384' | 'nistp521'

/** A keyed MAC, reusable for any number of messages. */
export interface KeyedMac {
  /** The whole tag over `uint32(sequenceNumber) ‖ data`; the caller truncates. */
  packet(sequenceNumber: number, data: Uint8Array): Uint8Array
}

/** AES-GCM under one key, in place over the caller's buffer. */
export interface AesGcm {
  /** Encrypts `data` in place, returns the 16-byte tag. `nonce` has 12 bytes. */
  seal(nonce: Uint8Array, aad: Uint8Array, data: Uint8Array): Uint8Array
  /**
   * The plaintext: `data` itself, decrypted in place, or an array of its own. Undefined (and
   * unspecified contents of `data`) if `tag` does not fit.
   */
  open(
    nonce: Uint8Array,
    aad: Uint8Array,
    data: Uint8Array,
    tag: Uint8Array,
  ): Uint8Array | undefined
}

/** A running keystream; each call continues where the last one stopped. */
export interface StreamCipher {
  /** Encrypts or decrypts in place. */
  apply(data: Uint8Array): void
}

/** Diffie-Hellman over a named group. */
export interface KeyPair {
  readonly secretKey: Uint8Array
  readonly publicKey: Uint8Array
}

/** Primitives whose speed decides preference; see `CryptoProvider.fast`. */
export type Primitive =
  | 'hash'
  | 'hmac'
  | 'aes-gcm'
  | 'aes-ctr'
  | 'chacha20'
  | 'poly1305'
  | 'x25519'
  | 'ed25519'
  | 'ecdh'
  | 'ecdsa'
  | 'rsa'
  | 'modpow'
  | 'mlkem'

/** All cryptography that the protocol uses, synchronous. */
/** Numbers of an RSA public key, big-endian, without leading zeros. */
export interface RsaPublicKey {
  readonly modulus: Uint8Array
  readonly publicExponent: Uint8Array
}

/** Numbers of an RSA private key, big-endian. */
export interface RsaPrivateKey extends RsaPublicKey {
  readonly privateExponent: Uint8Array
  readonly primeP: Uint8Array
  readonly primeQ: Uint8Array
  /** The inverse of q modulo p. */
  readonly coefficient: Uint8Array
}

/**
 * Every primitive the protocol needs, all of them synchronous.
 *
 * @example
 * import { defaultCrypto } from '@sandbox-ssh/protocol'
 *
 * const crypto = defaultCrypto()
 * const bytes = (text: string) => new TextEncoder().encode(text)
 * console.log(crypto.hash('sha256', bytes('in '), bytes('parts')).length) // 32
 * console.log(crypto.hmac('sha512', crypto.random(64)).packet(0, bytes('packet')).length) // 64
 * console.log(crypto.poly1305(crypto.random(32), bytes('text')).length) // 16
 * const secret = bytes('secret')
 * crypto.chacha20(new Uint8Array(32), new Uint8Array(8), 0, secret)
 * crypto.chacha20(new Uint8Array(32), new Uint8Array(8), 0, secret)
 * console.log(new TextDecoder().decode(secret)) // secret
 *
 * const gcm = crypto.aesGcm(new Uint8Array(32))
 * const nonce = new Uint8Array(12)
 * const header = bytes('not secret, but not to be changed')
 * const tag = gcm.seal(nonce, header, secret)
 * console.log(new TextDecoder().decode(gcm.open(nonce, header, secret, tag))) // secret
 *
 * // Counting from one block on, the same way there and back.
 * const stream = () => crypto.aesCtr(new Uint8Array(16), new Uint8Array(16))
 * stream().apply(secret)
 * stream().apply(secret)
 * console.log(crypto.modPow(Uint8Array.of(2), Uint8Array.of(5), Uint8Array.of(23))) // Uint8Array(1) [ 9 ]
 */
export interface CryptoProvider {
  readonly name: string
  /** Primitives that run at native speed here. */
  readonly fast: ReadonlySet<Primitive>
  /** Cryptographically strong random bytes. */
  random(length: number): Uint8Array
  /** Hash of the concatenation of `parts`. */
  hash(name: HashName, ...parts: readonly Uint8Array[]): Uint8Array
  /** A MAC under `key`; the key is copied. */
  hmac(name: HashName, key: Uint8Array): KeyedMac
  /** `key` has 16 or 32 bytes. */
  aesGcm(key: Uint8Array): AesGcm
  /** AES in counter mode, the 16-byte IV being the first counter block. */
  aesCtr(key: Uint8Array, iv: Uint8Array): StreamCipher
  /** XORs the ChaCha20 keystream (original, 64-bit nonce and counter) into `data`. */
  chacha20(key: Uint8Array, nonce: Uint8Array, counter: number, data: Uint8Array): void
  poly1305(key: Uint8Array, data: Uint8Array): Uint8Array
  readonly x25519: {
    generate(): KeyPair
    /** Throws on a low-order point or an all-zero result (RFC 8731 §3). */
    agree(secretKey: Uint8Array, peerPublicKey: Uint8Array): Uint8Array
  }
  readonly ecdh: {
    /** `publicKey` is the uncompressed point. */
    generate(curve: CurveName): KeyPair
    /** X coordinate of the shared point; throws on a point not on the curve. */
    agree(curve: CurveName, secretKey: Uint8Array, peerPublicKey: Uint8Array): Uint8Array
  }
  readonly ed25519: {
    /** Secret key is the 32-byte seed. */
    generate(): KeyPair
    publicKey(seed: Uint8Array): Uint8Array
    sign(seed: Uint8Array, data: Uint8Array): Uint8Array
    /** False for any malformed input, never a throw. */
    verify(publicKey: Uint8Array, data: Uint8Array, signature: Uint8Array): boolean
  }
  readonly ecdsa: {
    generate(curve: CurveName): KeyPair
    publicKey(curve: CurveName, secretKey: Uint8Array): Uint8Array
    /** Fixed-width r ‖ s. */
    sign(curve: CurveName, secretKey: Uint8Array, data: Uint8Array): Uint8Array
    verify(
      curve: CurveName,
      publicKey: Uint8Array,
      data: Uint8Array,
      signature: Uint8Array,
    ): boolean
  }
  /** RSASSA-PKCS1-v1_5, RFC 8017 §8.2. Signatures are as long as the modulus. */
  readonly rsa: {
    /** Public exponent 65537. Portable code takes seconds. */
    generate(bits: number): RsaPrivateKey
    sign(hash: HashName, key: RsaPrivateKey, data: Uint8Array): Uint8Array
    /** False for any malformed input, never a throw. */
    verify(hash: HashName, key: RsaPublicKey, data: Uint8Array, signature: Uint8Array): boolean
  }
  /**
   * `base` to the power of `exponent` modulo the safe prime `modulus`, as long as `modulus`.
   * Throws on a base of 0, 1, −1 or beyond the modulus.
   */
  modPow(base: Uint8Array, exponent: Uint8Array, modulus: Uint8Array): Uint8Array
  readonly mlKem: {
    generate(parameters: 768 | 1024): KeyPair
    /** Throws on a public key of the wrong size or encoding (FIPS 203 §7.2). */
    encapsulate(
      parameters: 768 | 1024,
      publicKey: Uint8Array,
    ): { readonly ciphertext: Uint8Array; readonly sharedSecret: Uint8Array }
    decapsulate(parameters: 768 | 1024, secretKey: Uint8Array, ciphertext: Uint8Array): Uint8Array
  }
}
