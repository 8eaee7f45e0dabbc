/**
 * What is used of `node:crypto`, typed by the few functions it is. The module is handed in: nothing
 * here imports Node.
 */
import { equalBytes } from './equal-bytes.ts'
import type { CryptoProvider, Primitive } from './provider.ts'

/** What the runtime takes and gives; a Buffer is one. */
export type Bytes = Uint8Array

/**
 * A Buffer as an honest Uint8Array: the `slice` of a Buffer does not copy, which callers of a
 * runtime-neutral library cannot be asked to know.
 */
export function plain(buffer: Bytes): Bytes {
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

/** The runtime's handle of a key. */
export interface KeyObject {
  export(options: { format: 'jwk' }): { readonly [name: string]: string | undefined }
}

/** A JSON Web Key, RFC 7517; its numbers are base64url. */
export type Jwk = Readonly<Record<string, string>>

/** A key in DER, as the runtime takes it. */
export interface Der {
  readonly key: Bytes
  readonly format: 'der'
  readonly type: 'pkcs8' | 'spki' | 'sec1'
}

/** What is used of `node:crypto`. Its Buffers are Uint8Arrays, and that is all we take them for. */
export interface NodeCrypto {
  createHash(name: string): Hash
  createHmac(name: string, key: KeyObject): Hash
  createSecretKey(key: Bytes): KeyObject
  createPrivateKey(key: Der | { key: Jwk; format: 'jwk' }): KeyObject
  createPublicKey(key: Der | { key: Jwk; format: 'jwk' }): KeyObject
  generateKeyPairSync(type: 'rsa', options: object): { readonly privateKey: Bytes }
  createDiffieHellman(
    prime: Bytes,
    generator: Bytes,
  ): {
    setPrivateKey(key: Bytes): void
    computeSecret(peer: Bytes): Bytes
  }
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

/** The input of many a known-answer test. */
export const abc: Bytes = new Uint8Array([0x61, 0x62, 0x63])

/** Throws RangeError unless `bytes` has that length. */
export function sized(bytes: Bytes, length: number, what: string): Bytes {
  if (bytes.length !== length) throw new RangeError(`${what} must have ${length} bytes`)
  return bytes
}

/** A scalar or secret with the leading zeros that OpenSSL drops. */
export function padded(bytes: Bytes, length: number): Bytes {
  if (bytes.length === length) return plain(bytes)
  const full = new Uint8Array(length)
  full.set(bytes, length - bytes.length)
  return full
}

/** Bytes of a number in a JSON Web Key. */
export function fromBase64Url(text = ''): Bytes {
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  return Uint8Array.from(binary, (character) => character.charCodeAt(0))
}

/** The reverse of `fromBase64Url`. */
export function toBase64Url(bytes: Bytes): string {
  let binary = ''
  for (const byte of bytes) binary += String.fromCharCode(byte)
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')
}

/**
 * Remembers what a raw key was loaded into: loading takes OpenSSL ten times as long as using. An
 * entry lives as long as the caller's array, and holds only while that has not changed.
 */
export function remembered(load: (key: Bytes) => KeyObject): {
  get(key: Bytes): KeyObject
} {
  const loaded = new WeakMap<Bytes, { readonly copy: Bytes; readonly object: KeyObject }>()
  return {
    get(key) {
      const entry = loaded.get(key)
      if (entry !== undefined && equalBytes(entry.copy, key)) return entry.object
      const object = load(key)
      loaded.set(key, { copy: key.slice(), object })
      return object
    },
  }
}

/** False if it throws. */
export function succeeds(action: () => boolean): boolean {
  try {
    return action()
  } catch {
    return false
  }
}
