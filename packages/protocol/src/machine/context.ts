/** What the layers of the machine share: how to send, to tell and to ask. */
import type { Algorithms } from '../algorithms/spec.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import type { AuthAttempt, AuthVerdict, Event, Question } from './event.ts'

/** What each kind of question is answered with. */
export interface Answers {
  readonly 'host-key': boolean
  readonly sign: Uint8Array | undefined
  readonly 'authenticate-next': AuthAttempt | undefined
  readonly prompts: readonly string[]
  readonly 'change-password': AuthAttempt | undefined
  readonly authenticate: AuthVerdict
}

/** The fields of a question of kind K that its asker fills in. */
export type QuestionFields<K extends keyof Answers> = Omit<
  Extract<Question, { readonly kind: K }>,
  'type' | 'kind' | 'id'
>

/** Layers throw `SshError` when the peer is at fault; the machine turns that into a disconnect. */
export interface Context {
  readonly role: 'client' | 'server'
  readonly crypto: CryptoProvider
  readonly algorithms: Algorithms
  /** Set by the first key exchange. */
  readonly sessionId: Uint8Array
  /** Blob of the host key of the first key exchange. */
  readonly hostKey: Uint8Array
  /** The time last told, milliseconds. */
  readonly nowMs: number
  /** Queues a message; held back while a key exchange forbids it. */
  send(payload: Uint8Array): void
  emit(event: Event): void
  /** Asks the outside; nothing more is read from the peer until `resume` has run. */
  ask<K extends keyof Answers>(
    kind: K,
    fields: QuestionFields<K>,
    resume: (answer: Answers[K]) => void,
  ): void
}
