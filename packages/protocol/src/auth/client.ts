/** The client's half of authentication: RFC 4252, keyboard-interactive of RFC 4256. */
import { assert } from '../assert.ts'
import { AuthenticationError, SshError } from '../errors.ts'
import { PublicKey } from '../keys/public-key.ts'
import { AUTH_REQUESTS_MAX } from '../limits.ts'
import type { Context } from '../machine/context.ts'
import type { AuthAttempt } from '../machine/event.ts'
import { MSG } from '../wire/numbers.ts'
import {
  hostbasedRequest,
  keyboardInteractiveRequest,
  passwordRequest,
  publickeyHostboundRequest,
  publickeyRequest,
  publickeySigned,
  type UserauthRequest,
  userauthBanner,
  userauthFailure,
  userauthInfoRequest,
  userauthInfoResponse,
  userauthPasswdChangereq,
  userauthPkOk,
  userauthRequest,
  userauthSuccess,
} from '../wire/userauth.ts'
import { Writer } from '../wire/writer.ts'

type PublickeyAttempt = Extract<AuthAttempt, { readonly method: 'publickey' }>

type SignedAttempt = Extract<AuthAttempt, { readonly publicKey: PublicKey }>

type State =
  /** A question to the outside is open, or nothing was asked yet. */
  | { readonly phase: 'asking' }
  | { readonly phase: 'probing'; readonly attempt: PublickeyAttempt }
  /** A complete request is out. */
  | { readonly phase: 'awaiting-verdict'; readonly attempt: AuthAttempt }

const NOTHING = new Uint8Array(0)
/** Banners shown at most; a server has no reason for more. */
const BANNERS_MAX = 16

/** What the client's half needs from the machine. */
export interface ClientAuthOptions {
  readonly username: string
  /** `server-sig-algs`, if the server has told them by now (RFC 8308 §3.1). */
  readonly signatureAlgorithms: () => readonly string[] | undefined
  /** Whether the server takes signatures bound to its host key. */
  readonly hostbound: () => boolean
  readonly authenticated: (username: string, method: string) => void
}

/** Asks what to try next, tries it, and hears the verdict. */
export class ClientAuth {
  readonly #context: Context
  readonly #options: ClientAuthOptions
  #state: State = { phase: 'asking' }
  #attempts = 0
  #banners = 0
  #partialSuccess = false
  /** Methods that can continue, as last told. */
  #methods: readonly string[] | undefined

  constructor(context: Context, options: ClientAuthOptions) {
    this.#context = context
    this.#options = options
  }

  /** Whether `number` (50 to 79) may come now. */
  permits(number: number): boolean {
    if (number === MSG.USERAUTH_BANNER) return true
    const { phase } = this.#state
    switch (number) {
      case MSG.USERAUTH_FAILURE:
      case MSG.USERAUTH_SUCCESS:
        return phase !== 'asking'
      case MSG.USERAUTH_PK_OK:
        return phase === 'probing' || (phase === 'awaiting-verdict' && this.#usesMessage60())
      default:
        return false
    }
  }

  /** Begins once the service was accepted. */
  start(): void {
    this.#askNext(undefined, false)
  }

  /** Takes a message that `permits` let through. */
  receive(payload: Uint8Array): void {
    switch (payload[0]) {
      case MSG.USERAUTH_BANNER: {
        const { text } = userauthBanner.decode(payload)
        if (++this.#banners > BANNERS_MAX) {
          throw new SshError('SSH_LIMIT', `more than ${BANNERS_MAX} banners`)
        }
        return this.#context.emit({ type: 'banner', message: text })
      }
      case MSG.USERAUTH_SUCCESS:
        userauthSuccess.decode(payload)
        return this.#options.authenticated(this.#options.username, this.#attempt().method)
      case MSG.USERAUTH_FAILURE: {
        const { methods, partialSuccess } = userauthFailure.decode(payload)
        this.#methods = methods
        return this.#askNext(this.#attempt(), partialSuccess)
      }
      default:
        return this.#receiveMethodMessage(payload)
    }
  }

  #attempt(): AuthAttempt {
    assert(this.#state.phase !== 'asking', 'permits() lets a verdict through only when one is due')
    return this.#state.attempt
  }

  #usesMessage60(): boolean {
    return (
      this.#attempt().method === 'password' || this.#attempt().method === 'keyboard-interactive'
    )
  }

  #askNext(attempt: AuthAttempt | undefined, partialSuccess: boolean): void {
    const methods = this.#methods
    this.#state = { phase: 'asking' }
    this.#partialSuccess ||= partialSuccess
    this.#context.ask(
      'authenticate-next',
      {
        methods,
        signatureAlgorithms: this.#options.signatureAlgorithms(),
        last: attempt === undefined ? undefined : { attempt, partialSuccess },
      },
      (next) => {
        if (next === undefined) {
          const open = methods === undefined ? '' : `; the server takes ${list(methods)}`
          throw new AuthenticationError(
            `not authenticated as ${this.#options.username}${open}`,
            methods ?? [],
            this.#partialSuccess,
          )
        }
        this.#try(next)
      },
    )
  }

  #try(attempt: AuthAttempt): void {
    if (++this.#attempts > AUTH_REQUESTS_MAX) {
      throw new SshError('SSH_LIMIT', `more than ${AUTH_REQUESTS_MAX} authentication attempts`)
    }
    if (attempt.method === 'publickey') {
      this.#state = { phase: 'probing', attempt }
      this.#context.send(userauthRequest.encode(this.#publickeyRequest(attempt, false)))
      return
    }
    this.#state = { phase: 'awaiting-verdict', attempt }
    switch (attempt.method) {
      case 'none':
        return this.#send('none', NOTHING)
      case 'password': {
        const { password, newPassword } = attempt
        const change = newPassword !== undefined
        const newPasswordPart = change ? new Writer().string(newPassword).finish() : NOTHING
        return this.#send('password', passwordRequest.encode({ change, password, newPasswordPart }))
      }
      case 'keyboard-interactive': {
        const submethods = attempt.submethods ?? []
        const fields = keyboardInteractiveRequest.encode({ languageTag: '', submethods })
        return this.#send('keyboard-interactive', fields)
      }
      case 'hostbased': {
        const { publicKey, algorithm, hostName, clientUser } = attempt
        const methodSpecific = hostbasedRequest.encode({
          ...{ algorithm, hostKey: publicKey.blob, hostName, clientUser },
          signaturePart: NOTHING,
        })
        const { username } = this.#options
        const serviceName = 'ssh-connection'
        const fields = { username, serviceName, methodName: 'hostbased', methodSpecific }
        return this.#signAndSend(attempt, userauthRequest.encode(fields))
      }
    }
  }

  #receiveMethodMessage(payload: Uint8Array): void {
    const attempt = this.#attempt()
    switch (attempt.method) {
      case 'publickey':
        return this.#sign(attempt, payload)
      case 'password': {
        const { prompt } = userauthPasswdChangereq.decode(payload)
        this.#state = { phase: 'asking' }
        return this.#context.ask('change-password', { prompt }, (next) => {
          if (next === undefined) this.#askNext(attempt, false)
          else this.#try(next)
        })
      }
      case 'keyboard-interactive': {
        if (++this.#attempts > AUTH_REQUESTS_MAX) {
          throw new SshError('SSH_LIMIT', `more than ${AUTH_REQUESTS_MAX} rounds of prompts`)
        }
        const { name, instruction, prompts } = userauthInfoRequest.decode(payload)
        this.#state = { phase: 'asking' }
        return this.#context.ask('prompts', { name, instruction, prompts }, (responses) => {
          this.#state = { phase: 'awaiting-verdict', attempt }
          this.#context.send(userauthInfoResponse.encode({ responses }))
        })
      }
      case 'none':
      case 'hostbased':
        throw new SshError('SSH_PROTOCOL', `a method message in answer to "${attempt.method}"`)
    }
  }

  /** PK_OK came: have the same request signed and send it. */
  #sign(attempt: PublickeyAttempt, payload: Uint8Array): void {
    const answer = userauthPkOk.decode(payload)
    // Some servers echo another algorithm name; the key is what must be ours.
    if (!attempt.publicKey.equals(PublicKey.fromBlob(answer.publicKey))) {
      throw new SshError('SSH_PROTOCOL', 'PK_OK for a key that was not offered')
    }
    this.#signAndSend(attempt, userauthRequest.encode(this.#publickeyRequest(attempt, true)))
  }

  /** Sends a request with its signature, which comes last in it and covers all before. */
  #signAndSend(attempt: SignedAttempt, request: Uint8Array): void {
    const data = publickeySigned.encode({ sessionId: this.#context.sessionId, request })
    this.#state = { phase: 'asking' }
    const { publicKey, algorithm } = attempt
    this.#context.ask('sign', { purpose: 'user-auth', publicKey, algorithm, data }, (signature) => {
      // A signer that will not is one attempt lost, not the connection.
      if (signature === undefined) return this.#askNext(attempt, false)
      this.#state = { phase: 'awaiting-verdict', attempt }
      this.#context.send(new Writer(1024).bytes(request).string(signature).finish())
    })
  }

  /** The request for a key, up to where a signature would follow. */
  #publickeyRequest({ publicKey, algorithm }: PublickeyAttempt, signed: boolean): UserauthRequest {
    const fields = { signed, algorithm, publicKey: publicKey.blob, signaturePart: NOTHING }
    const bound = this.#options.hostbound()
    return {
      username: this.#options.username,
      serviceName: 'ssh-connection',
      methodName: bound ? 'publickey-hostbound-v00@openssh.com' : 'publickey',
      methodSpecific: bound
        ? publickeyHostboundRequest.encode({ ...fields, hostKey: this.#context.hostKey })
        : publickeyRequest.encode(fields),
    }
  }

  #send(methodName: string, methodSpecific: Uint8Array): void {
    const { username } = this.#options
    this.#context.send(
      userauthRequest.encode({
        username,
        serviceName: 'ssh-connection',
        methodName,
        methodSpecific,
      }),
    )
  }
}

function list(methods: readonly string[]): string {
  return methods.length === 0 ? 'nothing more' : methods.join(', ')
}
