/** AES-GCM over noble's AES and GHASH, in place. */
import { gcm } from '@noble/ciphers/aes.js'
import type { AesGcm } from './provider.ts'

/** AES-GCM under one key, which is copied. */
export function portableGcm(key: Uint8Array): AesGcm {
  const copy = key.slice()
  return {
    seal(nonce, aad, data) {
      const sealed = gcm(copy, nonce, aad).encrypt(data)
      data.set(sealed.subarray(0, data.length))
      return sealed.slice(data.length)
    },
    open(nonce, aad, data, tag) {
      const sealed = new Uint8Array(data.length + 16)
      sealed.set(data)
      sealed.set(tag, data.length)
      try {
        data.set(gcm(copy, nonce, aad).decrypt(sealed))
        return data
      } catch {
        return undefined
      }
    },
  }
}
