/** Keys held for others to sign with, under constraints and a lock. */

import { equalBytes } from '../crypto/equal-bytes.ts'
import { defaultCrypto } from '../crypto/native.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { SshError } from '../errors.ts'
import { PublicKey, type Signer } from '../keys/public-key.ts'
import { nowMs, type Timer, unref } from '../pump.ts'
import type { KeyConstraints } from './added-key.ts'
import { type AgentPath, type BoundSession, DestinationPolicy } from './destinations.ts'

/** What somebody is asked who must agree to a signature. */
export interface ConfirmRequest {
  readonly key: PublicKey
  /** SSH connections that the asking connection was bound to (`session-bind@openssh.com`). */
  readonly sessions: readonly BoundSession[]
}

/** What a keyring is made with. */
export interface KeyringOptions {
  /** Asked before a key with the constraint `confirm` signs. Without it none can be added. */
  readonly confirm?: (request: ConfirmRequest) => boolean | Promise<boolean>
  /** Default: `defaultCrypto()`. */
  readonly crypto?: CryptoProvider
}

interface Entry {
  readonly signer: Signer
  readonly policy: DestinationPolicy
  readonly comment: string
  readonly confirm: boolean
  /** On the clock of `nowMs`. */
  readonly endsMs: number
  readonly timer: Timer | undefined
}

/** Whoever uses the keyring himself. */
const ON_THE_SPOT: AgentPath = { sessions: [] }
/** Keys at most; each costs memory. */
const KEYS_MAX = 256
/** Timers of every runtime take 31 bits. */
const TIMER_MS_MAX = 2 ** 31 - 1
/** Against guessing: each wrong passphrase makes the next attempt wait longer, up to the last. */
const GUESS_MS = 100
const GUESS_MS_MAX = 10_000

/**
 * What an agent holds. One may be served over many transports; see `serveAgent`.
 *
 * @example
 * import { generateKey, Keyring } from '@sandbox-ssh/protocol'
 *
 * const keyring = new Keyring()
 * const key = generateKey('ed25519')
 * keyring.add(key, { lifetimeSeconds: 3600 }, 'for an hour')
 * console.log(keyring.keys.length, keyring.keys[0]?.equals(key.publicKey)) // 1 true
 *
 * const secret = new TextEncoder().encode('secret')
 * keyring.lock(secret)
 * console.log(keyring.locked, keyring.keys.length) // true 0
 * console.log(await keyring.unlock(secret)) // true
 * keyring.removeAll()
 */
export class Keyring {
  readonly crypto: CryptoProvider
  readonly #confirm: KeyringOptions['confirm']
  /** By the text of the public key. */
  readonly #entries = new Map<string, Entry>()
  #lock: { readonly salt: Uint8Array; readonly digest: Uint8Array } | undefined
  #wrongGuesses = 0
  #guess: Promise<void> = Promise.resolve()

  constructor(options: KeyringOptions = {}) {
    this.crypto = options.crypto ?? defaultCrypto()
    this.#confirm = options.confirm
  }

  /**
   * Holds a key from now on; one that is there already gets the new constraints. Throws SshError
   * `SSH_REQUEST_REFUSED` while locked or if the constraint cannot be kept, `SSH_LIMIT` past 256.
   * `path`, here and below, is over what an agent is asked; a key that does not show there is as if
   * it were not held.
   */
  add(
    signer: Signer,
    constraints: KeyConstraints = {},
    comment?: string,
    path: AgentPath = ON_THE_SPOT,
  ): void {
    const { lifetimeSeconds, confirm = false, destinations } = constraints
    this.#needUnlocked()
    if (confirm && this.#confirm === undefined) {
      throw new SshError('SSH_REQUEST_REFUSED', 'there is nobody to confirm the use of a key')
    }
    const id = idOf(signer.publicKey)
    // Nobody far away may widen what a key that he does not even see is for.
    if (this.#entries.get(id)?.policy.shows(path) === false) {
      throw new SshError('SSH_REQUEST_REFUSED', 'the key cannot be replaced from there')
    }
    if (!this.#entries.has(id) && this.#entries.size >= KEYS_MAX) {
      throw new SshError('SSH_LIMIT', `${KEYS_MAX} keys are held already`)
    }
    this.#forget(id)
    const ms = lifetimeSeconds === undefined ? Number.POSITIVE_INFINITY : lifetimeSeconds * 1000
    // A longer one is noticed when the key is next asked for.
    const timer = ms <= TIMER_MS_MAX ? setTimeout(() => this.#forget(id), ms) : undefined
    if (timer !== undefined) unref(timer)
    const policy = new DestinationPolicy(destinations, this.crypto)
    const entry = { signer, policy, confirm, endsMs: nowMs() + ms, timer }
    this.#entries.set(id, { ...entry, comment: comment ?? signer.publicKey.comment })
  }

  /** False if there was no such key. Throws SshError `SSH_REQUEST_REFUSED` while locked. */
  remove(key: PublicKey, path: AgentPath = ON_THE_SPOT): boolean {
    this.#needUnlocked()
    return this.#entry(key, path) !== undefined && this.#forget(idOf(key))
  }

  /** Forgets every key. Throws SshError `SSH_REQUEST_REFUSED` while locked. */
  removeAll(): void {
    this.#needUnlocked()
    for (const id of [...this.#entries.keys()]) this.#forget(id)
  }

  /** The keys with their comments; none while locked. */
  get keys(): readonly PublicKey[] {
    return this.keysOver(ON_THE_SPOT)
  }

  /** Internal: those of them that show over `path`. */
  keysOver(path: AgentPath): readonly PublicKey[] {
    if (this.#lock !== undefined) return []
    this.#forgetEnded()
    return [...this.#entries.values()]
      .filter(({ policy }) => policy.shows(path))
      .map(({ signer, comment }) => PublicKey.fromBlob(signer.publicKey.blob, comment))
  }

  /**
   * Algorithms that a held key signs with; undefined if there is no such key, or while locked.
   *
   * @example
   * import { generateKey, Keyring } from '@sandbox-ssh/protocol'
   *
   * const keyring = new Keyring()
   * const key = generateKey('ed25519')
   * keyring.add(key, {}, 'deploy')
   * const [algorithm = ''] = keyring.algorithmsOf(key.publicKey) ?? []
   * const signature = await keyring.sign(key.publicKey, new Uint8Array(32), algorithm)
   * console.log(algorithm, signature.length) // ssh-ed25519 83
   * console.log(keyring.remove(key.publicKey), keyring.remove(key.publicKey)) // true false
   */
  algorithmsOf(key: PublicKey): readonly string[] | undefined {
    return this.#entry(key)?.signer.algorithms
  }

  /**
   * A signature blob. Rejects with SshError `SSH_SIGN` if there is no such key, while locked, if its
   * destinations do not permit it, or if it is not confirmed. A key with destinations signs only
   * logins, over a path that is bound to them.
   */
  async sign(
    key: PublicKey,
    data: Uint8Array,
    algorithm: string,
    path: AgentPath = ON_THE_SPOT,
  ): Promise<Uint8Array> {
    const entry = this.#entry(key)
    if (entry === undefined) throw new SshError('SSH_SIGN', 'no such key is held')
    const refusal = entry.policy.refusal(path, key, data)
    if (refusal !== undefined) throw new SshError('SSH_SIGN', `the key may not sign: ${refusal}`)
    if (entry.confirm) {
      const { sessions } = path
      const agreed = (await this.#confirm?.({ key: entry.signer.publicKey, sessions })) === true
      // Meanwhile the key may have ended, or the ring been locked.
      if (!agreed || this.#entry(key) !== entry) {
        throw new SshError('SSH_SIGN', 'the use of the key was not confirmed')
      }
    }
    return entry.signer.sign(data, algorithm)
  }

  get locked(): boolean {
    return this.#lock !== undefined
  }

  /** Shows and uses no key until `unlock`. Throws SshError `SSH_REQUEST_REFUSED` while locked. */
  lock(passphrase: Uint8Array): void {
    this.#needUnlocked()
    const salt = this.crypto.random(32)
    this.#lock = { salt, digest: this.crypto.hash('sha256', salt, passphrase) }
  }

  /**
   * Resolves with false if it is not locked or the passphrase is wrong. One guess at a time, and
   * wrong ones are answered ever more slowly.
   */
  unlock(passphrase: Uint8Array): Promise<boolean> {
    const outcome = this.#guess.then(async () => {
      if (this.#lock === undefined) return false
      const { salt, digest } = this.#lock
      if (equalBytes(this.crypto.hash('sha256', salt, passphrase), digest)) {
        this.#lock = undefined
        this.#wrongGuesses = 0
        return true
      }
      const ms = Math.min(GUESS_MS * 2 ** this.#wrongGuesses++, GUESS_MS_MAX)
      await new Promise((resolve) => setTimeout(resolve, ms))
      return false
    })
    this.#guess = outcome.then(() => {})
    return outcome
  }

  #entry(key: PublicKey, path?: AgentPath): Entry | undefined {
    if (this.#lock !== undefined) return undefined
    this.#forgetEnded()
    const entry = this.#entries.get(idOf(key))
    return path === undefined || entry?.policy.shows(path) ? entry : undefined
  }

  #forgetEnded(): void {
    const now = nowMs()
    for (const [id, { endsMs }] of this.#entries) if (endsMs <= now) this.#forget(id)
  }

  #forget(id: string): boolean {
    clearTimeout(this.#entries.get(id)?.timer)
    return this.#entries.delete(id)
  }

  #needUnlocked(): void {
    if (this.#lock !== undefined) {
      throw new SshError('SSH_REQUEST_REFUSED', 'the keyring is locked')
    }
  }
}

function idOf(key: PublicKey): string {
  return key.fingerprint()
}
