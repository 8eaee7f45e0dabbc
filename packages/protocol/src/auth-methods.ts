/** How a client proves who its user is: the methods `connect` tries, in the order given. */

import { ignore } from './deferred.ts'
import type { PublicKey, Signer } from './keys/public-key.ts'
import type { AuthAttempt, Prompt, SessionBinding } from './machine/event.ts'

/** What a method may look at when asked for its next attempt. */
export interface AuthContext {
  readonly username: string
  /** `server-sig-algs` of the server (RFC 8308 §3.1), or undefined if it told none. */
  readonly signatureAlgorithms: readonly string[] | undefined
  /** The connection, for an agent that wants to know. */
  readonly session: SessionBinding
  /** Aborted when nobody waits for the answer any more: connecting was given up, or the peer left. */
  readonly signal: AbortSignal
  /** Notes, for the final error, something that was not even tried, and why. */
  readonly note: (what: string) => void
}

/** One run of a method, for one connection. */
export interface AuthRun {
  /** What to send next; undefined when this method has nothing more to try. */
  next(context: AuthContext): Promise<AuthAttempt | undefined> | AuthAttempt | undefined
  /** The signer for a key of an attempt of ours. */
  signer?(key: PublicKey): Signer | undefined
  /** Answers to prompts of keyboard-interactive. */
  respond?(challenge: Challenge): Promise<readonly string[]> | readonly string[]
  /** A new password, when the server demands one; undefined declines. */
  changePassword?(prompt: string): Promise<AuthAttempt | undefined> | AuthAttempt | undefined
  /** Called once when authentication is over, however it ended. Must not throw. */
  end?(): void
}

/** An authentication method to hand to `connect`. Stateless: one may serve many connections. */
export interface AuthMethod {
  /** Registered name, such as `publickey`. */
  readonly name: string
  start(): AuthRun
}

/** Questions of the server, RFC 4256 §3.2. Its texts are untrusted: strip control characters. */
export interface Challenge {
  readonly name: string
  readonly instruction: string
  readonly prompts: readonly Prompt[]
}

/** Keys to try, or a function that fetches them when their turn comes. See also `agentKeys`. */
export type SignerSource =
  | Signer
  | readonly Signer[]
  | ((context: AuthContext) => Promise<readonly Signer[]> | readonly Signer[])

/**
 * Public key authentication, RFC 4252 §7. Each key is offered first and signs only if the server
 * would take it. The signature algorithm is the signer's first that the server told it accepts.
 *
 * @example
 * import { generateKey, publickey } from '@sandbox-ssh/protocol'
 *
 * const keys = [generateKey('ed25519'), generateKey('ecdsa-nistp256')]
 * const client = await pair(
 *   { auth: { publickey: ({ key }) => key.type === 'ecdsa-sha2-nistp256' } },
 *   { auth: [publickey(keys)] },
 * )
 * console.log((await client.run('echo in')).text().trim()) // in
 */
export function publickey(signers: SignerSource): AuthMethod {
  return { name: 'publickey', start: () => new PublickeyRun(signers) }
}

/** How `password` behaves beyond its first text. */
export interface PasswordOptions {
  /** How often to ask `password` when it is a function; a text is tried once. Default 3. */
  readonly attempts?: number
  /** Called with the server's prompt when it demands a new password; undefined declines. */
  readonly newPassword?: (prompt: string) => string | undefined | Promise<string | undefined>
}

/**
 * Password authentication, RFC 4252 §8. A function is asked when the server can continue with it,
 * again after a refusal; undefined gives up.
 *
 * @example
 * import { equalBytes, password } from '@sandbox-ssh/protocol'
 *
 * const bytes = (text: string) => new TextEncoder().encode(text)
 * const client = await pair(
 *   { auth: { password: (given) => equalBytes(bytes(given.password), bytes('correct horse')) } },
 *   { auth: [password('correct horse')] },
 * )
 * console.log((await client.run('echo in')).text().trim()) // in
 */
export function password(
  source: string | (() => string | undefined | Promise<string | undefined>),
  options: PasswordOptions = {},
): AuthMethod {
  if (typeof source !== 'string' && typeof source !== 'function') {
    throw new TypeError('password must be a string or a function')
  }
  return { name: 'password', start: () => new PasswordRun(source, options) }
}

/**
 * Keyboard-interactive authentication, RFC 4256. `handler` answers each round, with as many texts
 * as there are prompts, which may be none. After a refusal it is not asked again.
 *
 * @example
 * import { keyboardInteractive } from '@sandbox-ssh/protocol'
 *
 * const client = await pair(
 *   {
 *     auth: {
 *       keyboardInteractive: async (_, ask) => {
 *         const [code] = await ask({ prompts: [{ prompt: 'Code: ', echo: false }] })
 *         return code === '424242'
 *       },
 *     },
 *   },
 *   { auth: [keyboardInteractive(({ prompts }) => prompts.map(() => '424242'))] },
 * )
 * console.log((await client.run('echo in')).text().trim()) // in
 */
export function keyboardInteractive(
  handler: (challenge: Challenge) => readonly string[] | Promise<readonly string[]>,
): AuthMethod {
  if (typeof handler !== 'function') throw new TypeError('handler must be a function')
  return {
    name: 'keyboard-interactive',
    start: () => ({
      next: once({ method: 'keyboard-interactive' }),
      respond: handler,
    }),
  }
}

/**
 * Host-based authentication, RFC 4252 §9: the key of this machine vouches for its user. `hostName`
 * is the name under which the server knows this machine.
 *
 * @example
 * import { generateKey, hostbased } from '@sandbox-ssh/protocol'
 *
 * const machine = generateKey('ed25519')
 * const client = await pair(
 *   {
 *     auth: {
 *       hostbased: ({ key, hostName, clientUser, username }) =>
 *         key.equals(machine.publicKey) && hostName === 'desk' && clientUser === username,
 *     },
 *   },
 *   { username: 'ada', auth: [hostbased(machine, { hostName: 'desk', clientUser: 'ada' })] },
 * )
 * console.log(client.username) // ada
 */
export function hostbased(
  signer: Signer,
  names: { readonly hostName: string; readonly clientUser: string },
): AuthMethod {
  const { hostName, clientUser } = names
  if (typeof hostName !== 'string' || typeof clientUser !== 'string') {
    throw new TypeError('hostName and clientUser must be strings')
  }
  return {
    name: 'hostbased',
    start: () => {
      const run = new PublickeyRun(signer)
      return {
        async next(context) {
          const attempt = await run.next(context)
          if (attempt?.method !== 'publickey') return undefined
          return { ...attempt, method: 'hostbased', hostName, clientUser }
        },
        signer: (key) => run.signer(key),
      }
    },
  }
}

/**
 * The method `none`, RFC 4252 §5.2, for servers that let everybody in.
 *
 * @example
 * import { none } from '@sandbox-ssh/protocol'
 *
 * const client = await pair({ auth: { none: ({ username }) => username === 'guest' } }, {
 *   username: 'guest',
 *   auth: [none()],
 * })
 * console.log(client.username) // guest
 */
export function none(): AuthMethod {
  return { name: 'none', start: () => ({ next: once({ method: 'none' }) }) }
}

class PublickeyRun implements AuthRun {
  readonly #source: SignerSource
  #signers: readonly Signer[] | undefined
  #next = 0

  constructor(source: SignerSource) {
    this.#source = source
  }

  async next(context: AuthContext): Promise<AuthAttempt | undefined> {
    this.#signers ??= await signersOf(this.#source, context)
    for (let signer = this.#signers[this.#next++]; signer; signer = this.#signers[this.#next++]) {
      const accepted = context.signatureAlgorithms
      const algorithm = signer.algorithms.find((name) => !accepted || accepts(accepted, name))
      if (algorithm !== undefined) {
        return { method: 'publickey', publicKey: signer.publicKey, algorithm }
      }
      context.note(
        `publickey (${signer.publicKey.type} ${signer.publicKey.fingerprint()}) not offered: ` +
          `the server accepts no signature it can make`,
      )
    }
    return undefined
  }

  signer(key: PublicKey): Signer | undefined {
    return this.#signers?.find((signer) => signer.publicKey.equals(key))
  }
}

/** OpenSSH tells plain names only, and takes certificates whose signatures have those names. */
function accepts(accepted: readonly string[], name: string): boolean {
  const plain = name.replace(/-cert-v01@openssh\.com$/, '')
  return [name, plain, `${plain}@openssh.com`].some((one) => accepted.includes(one))
}

async function signersOf(source: SignerSource, context: AuthContext): Promise<readonly Signer[]> {
  const signers = typeof source === 'function' ? await source(context) : source
  return 'publicKey' in signers ? [signers] : signers
}

class PasswordRun implements AuthRun {
  readonly #source: string | (() => string | undefined | Promise<string | undefined>)
  readonly #options: PasswordOptions
  #left: number
  #last = ''

  constructor(
    source: string | (() => string | undefined | Promise<string | undefined>),
    options: PasswordOptions,
  ) {
    this.#source = source
    this.#options = options
    this.#left = typeof source === 'string' ? 1 : (options.attempts ?? 3)
  }

  async next(): Promise<AuthAttempt | undefined> {
    if (this.#left-- <= 0) return undefined
    const text = typeof this.#source === 'string' ? this.#source : await this.#source()
    if (text === undefined) {
      this.#left = 0
      return undefined
    }
    this.#last = text
    return { method: 'password', password: text }
  }

  async changePassword(prompt: string): Promise<AuthAttempt | undefined> {
    const newPassword = await this.#options.newPassword?.(prompt)
    if (newPassword === undefined) return undefined
    return { method: 'password', password: this.#last, newPassword }
  }
}

function once(attempt: AuthAttempt): () => AuthAttempt | undefined {
  let used = false
  return () => {
    if (used) return undefined
    used = true
    return attempt
  }
}

/** What an attempt was, for an error message; never the secret of it. */
export function describeAttempt(attempt: AuthAttempt): string {
  if (attempt.method !== 'publickey' && attempt.method !== 'hostbased') return attempt.method
  return `${attempt.method} (${attempt.publicKey.type} ${attempt.publicKey.fingerprint()})`
}

/** How far authentication has come, as told to a plan. */
export interface AuthState {
  readonly username: string
  /** What the server can continue with; undefined before it has said anything. */
  readonly methods: readonly string[] | undefined
  /** Whether the latest attempt was a step of several that succeeded (RFC 4252 §5.1). */
  readonly partialSuccess: boolean
  /** Everything tried so far, in words, as in the error at the end. */
  readonly tried: readonly string[]
}

/**
 * Decides what to try next, as a generator: each method that it yields is tried until it has nothing
 * more to offer or a step has succeeded, and `yield` gives the state then. Its end gives up. What a
 * server cannot continue with is tried all the same, for the plan has been told.
 *
 * @example
 * import {
 *   type AuthState,
 *   type AuthSteps,
 *   generateKey,
 *   keyboardInteractive,
 *   publickey,
 * } from '@sandbox-ssh/protocol'
 *
 * const key = generateKey('ed25519')
 * // A key first, then a code if the server wants both.
 * async function* plan(_: AuthState): AuthSteps {
 *   const { partialSuccess } = yield publickey(key)
 *   if (partialSuccess) yield keyboardInteractive(() => ['424242'])
 * }
 * const client = await pair(
 *   {
 *     auth: {
 *       publickey: () => ({ continueWith: ['keyboard-interactive'] }),
 *       keyboardInteractive: async (_, ask) =>
 *         (await ask({ prompts: [{ prompt: 'Code: ', echo: false }] }))[0] === '424242',
 *     },
 *   },
 *   { auth: plan },
 * )
 * console.log((await client.run('echo in')).text().trim()) // in
 */
export type AuthPlan = (state: AuthState) => AuthSteps

/** What a plan is: an async generator of methods. */
export type AuthSteps = AsyncGenerator<AuthMethod, void, AuthState>

interface Started {
  readonly name: string
  readonly run: AuthRun
}

/** Goes through the methods of one connection, in order or as planned. */
export class AuthSequence {
  /** Those of the list, or of the plan so far. */
  readonly #runs: Started[]
  readonly #plan: AuthPlan | undefined
  readonly #tried: string[] = []
  #steps: AuthSteps | undefined
  #at = 0

  constructor(methods: readonly AuthMethod[] | AuthPlan) {
    this.#plan = typeof methods === 'function' ? methods : undefined
    this.#runs = typeof methods === 'function' ? [] : methods.map(started)
  }

  /** Everything tried so far, in words. */
  get tried(): readonly string[] {
    return this.#tried
  }

  /** The method of the latest attempt. */
  get current(): AuthRun | undefined {
    return this.#runs[this.#at]?.run
  }

  /**
   * The next attempt that `allowed` permits (undefined: not known yet, anything may be tried).
   * After a partial success methods passed over before get another chance.
   */
  async next(
    context: Omit<AuthContext, 'note'>,
    allowed: readonly string[] | undefined,
    afterPartialSuccess: boolean,
  ): Promise<AuthAttempt | undefined> {
    if (this.#plan !== undefined) {
      const { username } = context
      const state = { username, methods: allowed, partialSuccess: afterPartialSuccess }
      return this.#nextPlanned(this.#plan, context, state)
    }
    if (afterPartialSuccess) this.#at = 0
    for (; this.#at < this.#runs.length; this.#at++) {
      const { name, run } = this.#runs[this.#at] as Started
      // `none` is never listed, and a signer refused by the list is no reason to skip the method.
      if (allowed !== undefined && name !== 'none' && !allowed.includes(name)) continue
      const attempt = await this.#attempt(run, context)
      if (attempt !== undefined) return attempt
    }
    return undefined
  }

  async #nextPlanned(
    plan: AuthPlan,
    context: Omit<AuthContext, 'note'>,
    reached: Omit<AuthState, 'tried'>,
  ): Promise<AuthAttempt | undefined> {
    let run = reached.partialSuccess ? undefined : this.current
    for (;;) {
      const attempt = run && (await this.#attempt(run, context))
      if (attempt !== undefined) return attempt
      const state = { ...reached, tried: [...this.#tried] }
      this.#steps ??= plan(state)
      const step = await this.#steps.next(state)
      if (step.done === true) return undefined
      this.#runs.push(started(step.value))
      this.#at = this.#runs.length - 1
      run = this.current
    }
  }

  async #attempt(
    run: AuthRun,
    context: Omit<AuthContext, 'note'>,
  ): Promise<AuthAttempt | undefined> {
    const attempt = await run.next({ ...context, note: (what) => this.#tried.push(what) })
    if (attempt !== undefined) this.#tried.push(describeAttempt(attempt))
    return attempt
  }

  /** Lets everything go that methods hold. */
  end(): void {
    for (const { run } of this.#runs.splice(0)) run.end?.()
    // A plan that stands at a `yield` gets its chance to clean up.
    this.#steps?.return().catch(ignore)
  }

  /** A signature by the signer that offered `key`; undefined, and a note, if it will not. */
  async sign(
    key: PublicKey,
    data: Uint8Array,
    algorithm: string,
    signal: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    try {
      for (const { run } of this.#runs) {
        const signer = run.signer?.(key)
        if (signer !== undefined) return await signer.sign(data, algorithm, { signal })
      }
      this.#tried.push('its signer is gone')
    } catch (error) {
      this.#tried.push(`its signer failed: ${error instanceof Error ? error.message : 'unknown'}`)
    }
    return undefined
  }
}

function started(method: AuthMethod): Started {
  return { name: method.name, run: method.start() }
}
