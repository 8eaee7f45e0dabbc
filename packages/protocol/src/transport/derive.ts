/** The exchange hash and the keys made of it: RFC 4253 §7.2 and §8, RFC 5656 §4. */
import type { DirectionKeys } from '../algorithms/spec.ts'
import type { CryptoProvider, HashName } from '../crypto/provider.ts'
import { Writer } from '../wire/writer.ts'
import type { DirectionAgreement } from './negotiate.ts'

/** All that both sides have seen, in the order in which it is hashed. */
export interface ExchangeTranscript {
  readonly clientIdentification: string
  readonly serverIdentification: string
  /** Whole payloads. */
  readonly clientKexinit: Uint8Array
  readonly serverKexinit: Uint8Array
  readonly hostKey: Uint8Array
  /** Under group exchange what was agreed on first (RFC 4419 §3), else nothing. */
  readonly group: Uint8Array
  readonly clientEphemeral: Uint8Array
  readonly serverEphemeral: Uint8Array
  /** In its wire encoding, mpint or string. */
  readonly sharedSecret: Uint8Array
}

/** H of RFC 4253 §8. */
export function exchangeHash(
  crypto: CryptoProvider,
  hash: HashName,
  transcript: ExchangeTranscript,
): Uint8Array {
  const writer = new Writer(4096)
    .string(transcript.clientIdentification)
    .string(transcript.serverIdentification)
    .string(transcript.clientKexinit)
    .string(transcript.serverKexinit)
    .string(transcript.hostKey)
    .bytes(transcript.group)
    .string(transcript.clientEphemeral)
    .string(transcript.serverEphemeral)
    .bytes(transcript.sharedSecret)
  return crypto.hash(hash, writer.finish())
}

/** What keys are derived from. */
export interface KeyMaterial {
  readonly hash: HashName
  readonly sharedSecret: Uint8Array
  readonly exchangeHash: Uint8Array
  readonly sessionId: Uint8Array
}

/** The letters of RFC 4253 §7.2: initial IV, encryption key, integrity key. */
const LETTERS = { clientToServer: 'ACE', serverToClient: 'BDF' } as const

/** IV, key and MAC key of one direction. */
export function deriveKeys(
  crypto: CryptoProvider,
  material: KeyMaterial,
  direction: keyof typeof LETTERS,
  agreement: DirectionAgreement,
): DirectionKeys {
  const sizes = [
    agreement.cipher.ivBytes,
    agreement.cipher.keyBytes,
    agreement.mac?.keyBytes ?? 0,
  ] as const
  const derive = (index: 0 | 1 | 2): Uint8Array =>
    expand(crypto, material, LETTERS[direction].charCodeAt(index), sizes[index])
  return { iv: derive(0), key: derive(1), macKey: derive(2) }
}

/** K1 = HASH(K ‖ H ‖ X ‖ session_id), Kn = HASH(K ‖ H ‖ K1 ‖ … ‖ Kn−1), as long as needed. */
function expand(
  crypto: CryptoProvider,
  { hash, sharedSecret, exchangeHash, sessionId }: KeyMaterial,
  letter: number,
  length: number,
): Uint8Array {
  if (length === 0) return new Uint8Array(0)
  let key = crypto.hash(hash, sharedSecret, exchangeHash, Uint8Array.of(letter), sessionId)
  while (key.length < length) {
    const longer = new Uint8Array(key.length * 2)
    const next = crypto.hash(hash, sharedSecret, exchangeHash, key)
    longer.set(key)
    longer.set(next, key.length)
    key = longer.subarray(0, key.length + next.length)
  }
  return key.slice(0, length)
}
