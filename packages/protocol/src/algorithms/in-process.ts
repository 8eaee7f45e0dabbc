/**
 * The profile for two ends in one process: no cipher, no MAC. Between them encryption protects
 * nobody, since whoever can read the memory pair can read the keys. `connect` and `serve` use it
 * only over a `memoryPair` and only when asked; it is in no list that anything else negotiates.
 */
import { clearPackets } from '../transport/packets.ts'
import { curve25519Sha256 } from './kex.ts'
import type { Algorithms, CipherSpec } from './spec.ts'

/** RFC 4253 §6.3: `none`. Kept from export. */
const none: CipherSpec = {
  name: 'none',
  keyBytes: 0,
  ivBytes: 0,
  authenticated: true,
  seal: () => clearPackets,
  open: () => clearPackets,
}

/** What the two ends agree on. Host and user keys still say who is who. */
export function inProcessAlgorithms(algorithms: Algorithms): Algorithms {
  return { ...algorithms, kex: [curve25519Sha256], ciphers: [none] }
}
