/**
 * Algorithms that are broken or nearly so, for peers that know nothing better. None of them is used
 * unless it is imported from here and put into the lists by hand. What is wrong with each is said
 * where it is defined.
 *
 * @example
 * import type { Algorithms } from '@sandbox-ssh/protocol'
 * import {
 *   aes128Cbc,
 *   aes192Cbc,
 *   aes256Cbc,
 *   group14Sha1,
 *   hmacSha1,
 *   hmacSha1Etm,
 *   rsaSha1,
 * } from '@sandbox-ssh/protocol/legacy'
 *
 * const algorithms = (modern: Algorithms): Algorithms => ({
 *   ...modern,
 *   kex: [...modern.kex, group14Sha1],
 *   ciphers: [...modern.ciphers, aes256Cbc, aes192Cbc, aes128Cbc],
 *   macs: [...modern.macs, hmacSha1Etm, hmacSha1],
 *   hostKeys: [...modern.hostKeys, rsaSha1],
 * })
 * // The server has nothing else; between two modern peers none of it would be chosen.
 * const old = (modern: Algorithms): Algorithms => ({
 *   ...modern,
 *   kex: [group14Sha1],
 *   ciphers: [aes128Cbc],
 *   macs: [hmacSha1],
 * })
 * const client = await pair({ algorithms: old }, { algorithms })
 * console.log(client.negotiated.kex) // diffie-hellman-group14-sha1
 * console.log(client.negotiated.cipherOut) // aes128-cbc
 */
import { cbc } from '@noble/ciphers/aes.js'
import { type CipherFactory, withMac } from './ciphers.ts'
import { fixedGroup } from './group-kex.ts'
import { hmac } from './macs.ts'
import { rsa } from './signatures.ts'
import type { CipherSpec, KexSpec, MacSpec, SignatureSpec } from './spec.ts'

/**
 * RFC 4253 §6.3. With a MAC over the plaintext, whoever can inject bytes learns some of the
 * plaintext from when the connection ends (CPNI-957037): combine it with an `-etm` MAC.
 */
function aesCbc(name: string, keyBytes: number): CipherSpec {
  const encrypting: CipherFactory = (_crypto, keys) => {
    const key = keys.key.slice()
    let iv = keys.iv.slice()
    return {
      apply(data) {
        data.set(cbc(key, iv, { disablePadding: true }).encrypt(data))
        iv = data.slice(-16)
      },
    }
  }
  const decrypting: CipherFactory = (_crypto, keys) => {
    const key = keys.key.slice()
    let iv = keys.iv.slice()
    return {
      apply(data) {
        if (data.length === 0) return
        const next = data.slice(-16)
        data.set(cbc(key, iv, { disablePadding: true }).decrypt(data))
        iv = next
      },
    }
  }
  return withMac(name, keyBytes, encrypting, decrypting)
}

/** Slow here as well as weak: for peers that have no counter mode. */
export const aes256Cbc: CipherSpec = aesCbc('aes256-cbc', 32)
export const aes192Cbc: CipherSpec = aesCbc('aes192-cbc', 24)
export const aes128Cbc: CipherSpec = aesCbc('aes128-cbc', 16)

/** HMAC with SHA-1 still stands, but nothing new should rest on SHA-1. RFC 4253 §6.4. */
export const hmacSha1: MacSpec = hmac('hmac-sha1', 'sha1', 20)
export const hmacSha1Etm: MacSpec = hmac('hmac-sha1-etm@openssh.com', 'sha1', 20)

/** 2048 bits with SHA-1: forged transcripts are within reach of the rich. RFC 4253 §8.2. */
export const group14Sha1: KexSpec = fixedGroup('diffie-hellman-group14-sha1', 2048, 'sha1')

/** RSA with SHA-1: chosen-prefix collisions are practical. Only verified, never signed. */
export const rsaSha1: SignatureSpec = rsa('ssh-rsa', 'sha1')
