/** How a client gets in: what the machine asks of our side on the way, and why it failed. */
import { AuthSequence } from './auth-methods.ts'
import type { ClientOptions } from './client-options.ts'
import { ignore } from './deferred.ts'
import { AuthenticationError, DisconnectError, SshError } from './errors.ts'
import type { Link } from './link.ts'
import type { Question } from './machine/event.ts'
import { printable } from './printable.ts'
import { DISCONNECT } from './wire/numbers.ts'

/** Answers the questions of one connection, with the host key decision and the methods given. */
export class ClientLogin {
  readonly #link: Link
  readonly #options: ClientOptions
  readonly #auth: AuthSequence
  /** Aborted if the connection ends: then nobody waits for a decision any more. */
  readonly #connecting = new AbortController()
  /** What the server takes, once it has said so. */
  #methods: readonly string[] | undefined
  #partialSuccess = false

  constructor(link: Link, options: ClientOptions) {
    this.#link = link
    this.#options = options
    this.#auth = new AuthSequence(options.auth)
  }

  /** The user is in. */
  succeed(): void {
    this.#auth.end()
  }

  /** The connection is gone. Returns what to tell who still waits for the login. */
  fail(error: SshError | undefined): SshError {
    const explained = this.#explain(error)
    this.#connecting.abort(explained)
    this.#auth.end()
    return explained
  }

  /** Puts a question of the machine to our own side. */
  answer(question: Question): void {
    const { machine } = this.#link
    const { id } = question
    switch (question.kind) {
      case 'host-key':
        this.#ask(
          () => {
            const { hostKey, algorithm } = question
            return this.#options.hostKey(hostKey, { algorithm, signal: this.#connecting.signal })
          },
          (accepted) => machine.answerHostKey(id, accepted === true),
          DISCONNECT.HOST_KEY_NOT_VERIFIABLE,
        )
        break
      case 'authenticate-next': {
        const { last } = question
        this.#methods = question.methods ?? this.#methods
        this.#partialSuccess ||= last?.partialSuccess === true
        const { signatureAlgorithms, methods } = question
        const context = {
          username: this.#options.username,
          signatureAlgorithms,
          session: this.#link.session,
          signal: this.#connecting.signal,
        }
        this.#ask(
          () => this.#auth.next(context, methods, last?.partialSuccess === true),
          (attempt) => machine.answerAttempt(id, attempt),
        )
        break
      }
      case 'sign':
        // A signer that will not is one attempt lost, not the connection.
        this.#ask(
          () => {
            const { publicKey, data, algorithm } = question
            return this.#auth.sign(publicKey, data, algorithm, this.#connecting.signal)
          },
          (signature) => machine.answerSignature(id, signature),
        )
        break
      case 'prompts': {
        const { name, instruction, prompts } = question
        this.#ask(
          () => this.#auth.current?.respond?.({ name, instruction, prompts }) ?? [],
          (responses) => machine.answerPrompts(id, responses),
        )
        break
      }
      case 'change-password':
        this.#ask(
          () => this.#auth.current?.changePassword?.(question.prompt),
          (attempt) => machine.answerAttempt(id, attempt),
        )
        break
      case 'authenticate':
        break
    }
  }

  /** Puts a decision to our own side. One that throws ends the attempt, with that as the cause. */
  #ask<T>(
    decide: () => T | Promise<T>,
    answer: (value: T) => void,
    reason: number = DISCONNECT.AUTH_CANCELLED_BY_USER,
  ): void {
    const failed = (cause: unknown): void => {
      const error =
        cause instanceof SshError
          ? cause
          : new SshError('SSH_ABORTED', `connecting was given up: ${messageOf(cause)}`, { cause })
      this.#link.disconnect(reason, 'given up', error).catch(ignore)
    }
    this.#link.ask(decide, answer, failed, true).catch(ignore)
  }

  /** Puts what was tried into the error of a failed authentication. */
  #explain(error: SshError | undefined): SshError {
    if (error === undefined) return new SshError('SSH_ABORTED', 'closed while connecting')
    const { tried } = this.#auth
    // Servers also say "too many authentication failures" and disconnect.
    const sentAway = error instanceof DisconnectError && error.byPeer && tried.length > 0
    if (error.code !== 'SSH_AUTHENTICATION' && !sentAway) return error
    const isKnown = this.#methods !== undefined
    const nothing = isKnown ? 'nothing fitted what it takes' : 'nothing fitted'
    const what = tried.length === 0 ? nothing : `tried ${tried.join(', ')}`
    const methods = this.#methods ?? []
    const left = isKnown
      ? `the server would continue with ${printable(methods.join(', ')) || 'nothing'}`
      : 'the server was not asked what it takes'
    const end = sentAway ? error.message : left
    const partly = this.#partialSuccess ? '; part of it succeeded' : ''
    return new AuthenticationError(
      `user ${JSON.stringify(this.#options.username)} was not let in: ${what}; ${end}${partly}`,
      methods,
      this.#partialSuccess,
    )
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
