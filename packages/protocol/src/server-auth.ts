/** Who may come in: what a server's authentication handlers decide, as verdicts of the machine. */
import type { Attestation } from './algorithms/security-keys.ts'
import type { SignaturePolicy } from './algorithms/spec.ts'
import { type Deferred, deferred } from './deferred.ts'
import { SshError } from './errors.ts'
import type { PublicKey } from './keys/public-key.ts'
import type { AuthRequest, AuthVerdict, Prompt } from './machine/event.ts'

/**
 * True lets the user in, false does not. `continueWith`: this step is passed, and one of these
 * methods (registered names) must follow (RFC 4252 §5.1, partial success).
 */
export type AuthDecision = boolean | { readonly continueWith: readonly string[] }

/**
 * As AuthDecision, with what the signature of a security key must attest: `touchRequired` (default
 * true), `verifyRequired` (default false). What `authorize` returns is one. A signature that attests
 * less is refused; keys of other kinds are not concerned.
 */
export type PublickeyDecision =
  | boolean
  | (SignaturePolicy & ({ readonly accept: true } | { readonly continueWith: readonly string[] }))

/**
 * Handlers, one a method; a method without one is not offered and always refused. A refusal is told
 * after a time that is the same whatever the handler looked up, so that nobody learns from it who
 * exists; answer for users who do not exist as for those who do.
 */
export interface ServerAuthHandlers {
  /**
   * Asked about a key, first perhaps only whether it would do (`probe`), then for good, when its
   * signature has been verified. Must decide the same both times. `attestation` is what a security
   * key said with that signature, for a log, or to keep its counter.
   */
  readonly publickey?: (request: {
    readonly username: string
    readonly key: PublicKey
    readonly algorithm: string
    readonly probe: boolean
    readonly attestation?: Attestation
  }) => PublickeyDecision | Promise<PublickeyDecision>
  /**
   * Compare secrets in constant time. `newPassword` is there if the client answers a
   * `changePassword`, which asks for a new one with that prompt (RFC 4252 §8).
   */
  readonly password?: (request: {
    readonly username: string
    readonly password: string
    readonly newPassword?: string
  }) => PasswordDecision | Promise<PasswordDecision>
  /**
   * RFC 4256: asks as often as it likes, then decides. `ask` rejects with SshError `SSH_ABORTED`
   * if the client turns to something else.
   */
  readonly keyboardInteractive?: (
    request: { readonly username: string; readonly submethods: readonly string[] },
    ask: (challenge: {
      readonly name?: string
      readonly instruction?: string
      readonly prompts: readonly Prompt[]
    }) => Promise<readonly string[]>,
  ) => AuthDecision | Promise<AuthDecision>
  /**
   * RFC 4252 §9: the machine of the client vouches for its user. The signature by `key` has been
   * verified; that it is the key of `hostName` (which may end with a dot), that the connection comes
   * from there and that `clientUser` may be `username` is for the handler to check.
   */
  readonly hostbased?: (request: {
    readonly username: string
    readonly key: PublicKey
    readonly algorithm: string
    readonly hostName: string
    readonly clientUser: string
  }) => AuthDecision | Promise<AuthDecision>
  /** Lets users in without proof. Think twice. */
  readonly none?: (request: { readonly username: string }) => boolean | Promise<boolean>
}

/** As AuthDecision; `changePassword` is right but must be replaced first, with that prompt. */
export type PasswordDecision = AuthDecision | { readonly changePassword: string }

/** A keyboard-interactive handler at work. */
interface Dialogue {
  /** The verdict the machine waits for: a prompt, or the end. */
  verdict: Deferred<AuthVerdict>
  /** What the handler waits for, if it has asked. */
  responses: Deferred<readonly string[]> | undefined
}

/** Asks the handlers of one connection and keeps a dialogue going between rounds. */
export class Verdicts {
  readonly #handlers: ServerAuthHandlers
  readonly #onError: (error: unknown) => void
  #dialogue: Dialogue | undefined

  constructor(handlers: ServerAuthHandlers, onError: (error: unknown) => void) {
    this.#handlers = handlers
    this.#onError = onError
  }

  /** Registered names of what can succeed. `none` is never told (RFC 4252 §5.2). */
  get methods(): readonly string[] {
    const { publickey, password, keyboardInteractive, hostbased } = this.#handlers
    return [
      ...(publickey ? ['publickey'] : []),
      ...(password ? ['password'] : []),
      ...(keyboardInteractive ? ['keyboard-interactive'] : []),
      ...(hostbased ? ['hostbased'] : []),
    ]
  }

  /** Ends a dialogue that nobody will go on with. */
  abandon(): void {
    this.#dialogue?.responses?.reject(new SshError('SSH_ABORTED', 'the client went away'))
    this.#dialogue = undefined
  }

  async decide(username: string, request: AuthRequest): Promise<AuthVerdict> {
    const isAnswer = request.method === 'keyboard-interactive' && request.responses !== undefined
    if (!isAnswer) this.abandon()
    switch (request.method) {
      case 'none':
        return verdictOf((await this.#handlers.none?.({ username })) ?? false)
      case 'publickey': {
        const { publicKey: key, method, ...asked } = request
        const decision = (await this.#handlers.publickey?.({ username, key, ...asked })) ?? false
        const verdict = verdictOf(decision)
        // A probe is only told whether to go on; what follows is told with the signature.
        return asked.probe && verdict.type === 'partial' ? { type: 'accept' } : verdict
      }
      case 'password': {
        const { method, ...asked } = request
        const decision = (await this.#handlers.password?.({ username, ...asked })) ?? false
        if (typeof decision === 'object' && 'changePassword' in decision) {
          return { type: 'change-password', prompt: decision.changePassword }
        }
        return verdictOf(decision)
      }
      case 'hostbased': {
        const { publicKey: key, method, ...claims } = request
        const asked = { username, key, ...claims }
        return verdictOf((await this.#handlers.hostbased?.(asked)) ?? false)
      }
      case 'keyboard-interactive':
        return this.#converse(username, request.submethods, request.responses)
    }
  }

  #converse(
    username: string,
    submethods: readonly string[],
    responses: readonly string[] | undefined,
  ): Promise<AuthVerdict> {
    const handler = this.#handlers.keyboardInteractive
    if (handler === undefined) return Promise.resolve({ type: 'reject' })
    if (responses !== undefined) {
      const dialogue = this.#dialogue
      if (dialogue?.responses === undefined) return Promise.resolve({ type: 'reject' })
      dialogue.verdict = deferred()
      const waiting = dialogue.responses
      dialogue.responses = undefined
      waiting.resolve(responses)
      return dialogue.verdict.promise
    }
    const dialogue: Dialogue = { verdict: deferred(), responses: undefined }
    this.#dialogue = dialogue
    void this.#run(handler, { username, submethods }, dialogue)
    return dialogue.verdict.promise
  }

  async #run(
    handler: NonNullable<ServerAuthHandlers['keyboardInteractive']>,
    request: { readonly username: string; readonly submethods: readonly string[] },
    dialogue: Dialogue,
  ): Promise<void> {
    let verdict: AuthVerdict = { type: 'reject' }
    try {
      const decision = await handler(request, ({ name = '', instruction = '', prompts }) => {
        dialogue.responses = deferred()
        dialogue.verdict.resolve({ type: 'prompt', name, instruction, prompts })
        return dialogue.responses.promise
      })
      verdict = verdictOf(decision)
    } catch (error) {
      if (this.#dialogue === dialogue) this.#onError(error)
    }
    if (this.#dialogue === dialogue) this.#dialogue = undefined
    dialogue.verdict.resolve(verdict)
  }
}

/** Only `true` lets anybody in: a handler that returns some object by mistake does not. */
function verdictOf(decision: PublickeyDecision): AuthVerdict {
  if (decision === true) return { type: 'accept' }
  if (typeof decision !== 'object' || decision === null) return { type: 'reject' }
  const policy = policyOf(decision)
  if ('continueWith' in decision) {
    if (!Array.isArray(decision.continueWith)) return { type: 'reject' }
    return { type: 'partial', methods: decision.continueWith, policy }
  }
  return decision.accept === true ? { type: 'accept', policy } : { type: 'reject' }
}

/** The strict reading of anything that is not plainly a boolean. */
function policyOf({ touchRequired, verifyRequired }: SignaturePolicy): SignaturePolicy {
  return {
    touchRequired: touchRequired !== false,
    verifyRequired: verifyRequired !== undefined && verifyRequired !== false,
  }
}
