/** The server's half of authentication: RFC 4252, keyboard-interactive of RFC 4256. */
import { attestationOf, attests } from '../algorithms/security-keys.ts'
import type { SignatureSpec } from '../algorithms/spec.ts'
import { assert } from '../assert.ts'
import { equalBytes } from '../crypto/equal-bytes.ts'
import { DisconnectError, SshError } from '../errors.ts'
import { PublicKey } from '../keys/public-key.ts'
import { AUTH_REQUESTS_MAX } from '../limits.ts'
import type { Context } from '../machine/context.ts'
import type { AuthRequest, AuthVerdict, Prompt } from '../machine/event.ts'
import { DISCONNECT, MSG } from '../wire/numbers.ts'
import { Reader } from '../wire/reader.ts'
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

const HOSTBOUND = 'publickey-hostbound-v00@openssh.com'

/** What the server's half needs from the machine. */
export interface ServerAuthOptions {
  /** Methods told in USERAUTH_FAILURE until a partial success names others. */
  readonly methods: readonly string[]
  readonly banner: string | undefined
  /** Signature algorithms taken from a user; undefined stands for all. */
  readonly userAlgorithms: (username: string) => readonly string[] | undefined
  /** Tells the client these, if they are not those that it knows of. */
  readonly tellAlgorithms: (names: readonly string[]) => void
  /** Failures, the first `none` and probes aside, after which the client is sent away. */
  readonly failuresMax: number
  /** Called on success, before anything of the connection protocol. */
  readonly authenticated: (
    username: string,
    method: string,
    publicKey: PublicKey | undefined,
  ) => void
}

/** A keyboard-interactive dialogue that waits for responses. */
interface Dialogue {
  readonly submethods: readonly string[]
  readonly prompts: readonly Prompt[]
}

/** Verifies signatures, asks for verdicts, counts failures. */
export class ServerAuth {
  readonly #context: Context
  readonly #options: ServerAuthOptions
  #methods: readonly string[]
  /** What may sign for the user, once there is one. */
  #userKeys: readonly SignatureSpec[]
  #username: string | undefined
  #requests = 0
  #failures = 0
  #dialogue: Dialogue | undefined
  /** The last key whose signature was accepted. */
  #publicKey: PublicKey | undefined

  constructor(context: Context, options: ServerAuthOptions) {
    this.#context = context
    this.#options = options
    this.#methods = options.methods
    this.#userKeys = context.algorithms.userKeys
  }

  /** Whether `number` (50 to 79) may come now. */
  permits(number: number): boolean {
    if (number === MSG.USERAUTH_REQUEST) return true
    return number === MSG.USERAUTH_INFO_RESPONSE && this.#dialogue !== undefined
  }

  /** Takes a message that `permits` let through. */
  receive(payload: Uint8Array): void {
    if (++this.#requests > AUTH_REQUESTS_MAX) throw tooManyFailures()
    if (payload[0] === MSG.USERAUTH_INFO_RESPONSE) this.#receiveResponses(payload)
    else this.#receiveRequest(payload)
  }

  #receiveRequest(payload: Uint8Array): void {
    const request = userauthRequest.decode(payload)
    // A new request abandons a dialogue that was under way (RFC 4256 §3.2).
    this.#dialogue = undefined
    if (request.serviceName !== 'ssh-connection') {
      throw new DisconnectError(
        DISCONNECT.SERVICE_NOT_AVAILABLE,
        `no service ${request.serviceName} to authenticate for`,
        false,
      )
    }
    if (this.#username === undefined) {
      this.#username = request.username
      this.#limitAlgorithms(request.username)
      const { banner } = this.#options
      if (banner !== undefined) {
        this.#context.send(userauthBanner.encode({ text: banner, languageTag: '' }))
      }
    } else if (this.#username !== request.username) {
      // Steps passed as one user must not count for another; OpenSSH does the same.
      throw new SshError('SSH_PROTOCOL', 'the user name changed during authentication')
    }
    switch (request.methodName) {
      case 'none':
        return this.#ask({ method: 'none' })
      case 'publickey':
      case HOSTBOUND:
        return this.#publickey(request)
      case 'hostbased':
        return this.#hostbased(request)
      case 'password':
        return this.#password(request)
      case 'keyboard-interactive': {
        // dev-tunnels-ssh leaves both fields out.
        const { submethods } =
          request.methodSpecific.length === 0
            ? { submethods: [] }
            : keyboardInteractiveRequest.decode(request.methodSpecific)
        if (!this.#methods.includes('keyboard-interactive')) return this.#fail(true)
        return this.#ask({ method: 'keyboard-interactive', submethods, responses: undefined })
      }
      default:
        return this.#fail(true)
    }
  }

  #limitAlgorithms(username: string): void {
    const names = this.#options.userAlgorithms(username)
    if (names === undefined) return
    this.#userKeys = this.#userKeys.filter(({ name }) => names.includes(name))
    this.#options.tellAlgorithms(this.#userKeys.map(({ name }) => name))
  }

  #publickey(request: UserauthRequest): void {
    const bound = request.methodName === HOSTBOUND
    const fields = bound
      ? publickeyHostboundRequest.decode(request.methodSpecific)
      : { ...publickeyRequest.decode(request.methodSpecific), hostKey: this.#context.hostKey }
    const { signed, algorithm, publicKey: blob, signaturePart } = fields
    const spec = this.#userKeys.find(({ name }) => name === algorithm)
    if (spec === undefined || !this.#methods.includes('publickey')) return this.#fail(signed)
    let publicKey: PublicKey
    try {
      publicKey = userKey(blob)
    } catch {
      return this.#fail(signed)
    }
    if (publicKey.type !== spec.keyType) return this.#fail(signed)
    // Signed for another server: somebody in the middle passes it on.
    if (!equalBytes(fields.hostKey, this.#context.hostKey)) return this.#fail(signed)
    if (!signed) {
      new Reader(signaturePart).end()
      return this.#ask({ method: 'publickey', publicKey, algorithm, probe: true })
    }
    const reader = new Reader(signaturePart)
    const signature = reader.string()
    reader.end()
    const data = publickeySigned.encode({
      sessionId: this.#context.sessionId,
      request: userauthRequest.encode({
        ...request,
        methodSpecific: (bound ? publickeyHostboundRequest : publickeyRequest).encode({
          ...fields,
          signaturePart: new Uint8Array(0),
        }),
      }),
    })
    // What a security key must attest depends on the key, so the verdict says it; see #conclude.
    const lenient = { touchRequired: false }
    if (!spec.verify(this.#context.crypto, publicKey, data, signature, lenient)) {
      return this.#fail(true)
    }
    const attestation = attestationOf(signature)
    assert(
      attestation !== undefined || !spec.keyType.startsWith('sk-'),
      'what verifies as a signature of a security key reads as one',
    )
    this.#ask({
      method: 'publickey',
      publicKey,
      algorithm,
      probe: false,
      ...(attestation && { attestation }),
    })
  }

  /** RFC 4252 §9. There is no probe; the signature is verified before anybody is asked. */
  #hostbased(request: UserauthRequest): void {
    const { signaturePart, hostKey, ...claims } = hostbasedRequest.decode(request.methodSpecific)
    const { algorithm } = claims
    const reader = new Reader(signaturePart)
    const signature = reader.string()
    reader.end()
    const { crypto, sessionId } = this.#context
    const spec = this.#userKeys.find(({ name }) => name === algorithm)
    if (spec === undefined || !this.#methods.includes('hostbased')) return this.#fail(true)
    let publicKey: PublicKey
    try {
      publicKey = PublicKey.fromBlob(hostKey)
    } catch {
      return this.#fail(true)
    }
    const methodSpecific = hostbasedRequest.encode({
      ...claims,
      hostKey,
      signaturePart: new Uint8Array(0),
    })
    const signed = userauthRequest.encode({ ...request, methodSpecific })
    const data = publickeySigned.encode({ sessionId, request: signed })
    if (publicKey.type !== spec.keyType || !spec.verify(crypto, publicKey, data, signature)) {
      return this.#fail(true)
    }
    this.#ask({ method: 'hostbased', publicKey, ...claims })
  }

  #password(request: UserauthRequest): void {
    const { change, password, newPasswordPart } = passwordRequest.decode(request.methodSpecific)
    const reader = new Reader(newPasswordPart)
    const newPassword = change ? reader.utf8() : undefined
    reader.end()
    if (!this.#methods.includes('password')) return this.#fail(true)
    this.#ask({
      method: 'password',
      password,
      ...(newPassword === undefined ? {} : { newPassword }),
    })
  }

  #receiveResponses(payload: Uint8Array): void {
    const dialogue = this.#dialogue
    assert(dialogue !== undefined, 'permits() lets responses through only in a dialogue')
    this.#dialogue = undefined
    const { responses } = userauthInfoResponse.decode(payload)
    if (responses.length !== dialogue.prompts.length) {
      throw new SshError(
        'SSH_PROTOCOL',
        `${responses.length} responses to ${dialogue.prompts.length} prompts`,
      )
    }
    this.#ask({ method: 'keyboard-interactive', submethods: dialogue.submethods, responses })
  }

  #ask(request: AuthRequest): void {
    const username = this.#username
    assert(username !== undefined, 'a request named the user')
    this.#context.ask('authenticate', { username, request }, (verdict) =>
      this.#conclude(username, request, verdict),
    )
  }

  #conclude(username: string, request: AuthRequest, verdict: AuthVerdict): void {
    if (
      request.method === 'publickey' &&
      !request.probe &&
      (verdict.type === 'accept' || verdict.type === 'partial')
    ) {
      if (!attests(request.attestation, verdict.policy ?? {})) return this.#fail(true)
      this.#publicKey = request.publicKey
    }
    switch (verdict.type) {
      case 'accept':
        if (request.method === 'publickey' && request.probe) {
          const { algorithm, publicKey } = request
          this.#context.send(userauthPkOk.encode({ algorithm, publicKey: publicKey.blob }))
          return
        }
        return this.#options.authenticated(username, request.method, this.#publicKey)
      case 'reject':
        return this.#fail(
          request.method === 'publickey' ? !request.probe : request.method !== 'none',
        )
      case 'partial':
        this.#methods = verdict.methods
        this.#context.send(
          userauthFailure.encode({ methods: verdict.methods, partialSuccess: true }),
        )
        return
      case 'prompt':
        if (request.method !== 'keyboard-interactive') return this.#fail(true)
        this.#dialogue = { submethods: request.submethods, prompts: verdict.prompts }
        this.#context.send(
          userauthInfoRequest.encode({
            name: verdict.name,
            instruction: verdict.instruction,
            languageTag: '',
            prompts: verdict.prompts,
          }),
        )
        return
      case 'change-password':
        if (request.method !== 'password') return this.#fail(true)
        this.#context.send(
          userauthPasswdChangereq.encode({ prompt: verdict.prompt, languageTag: '' }),
        )
        return
    }
  }

  #fail(counts: boolean): void {
    if (counts && ++this.#failures >= this.#options.failuresMax) throw tooManyFailures()
    this.#context.send(userauthFailure.encode({ methods: this.#methods, partialSuccess: false }))
  }

  /** Told to the client just before the connection protocol begins. */
  static success(): Uint8Array {
    return userauthSuccess.encode({})
  }
}

/**
 * The key in a request. dev-tunnels-ssh names an RSA key after its signature, where RFC 8332 §3 wants
 * `ssh-rsa` as ever; OpenSSH takes that too. What the client signed is the blob as it sent it.
 */
function userKey(blob: Uint8Array): PublicKey {
  const key = PublicKey.fromBlob(blob)
  if (!/^rsa-sha2-(256|512)$/.test(key.type)) return key
  const reader = new Reader(blob)
  reader.string()
  return PublicKey.fromBlob(new Writer().string('ssh-rsa').bytes(reader.rest()).finish())
}

function tooManyFailures(): DisconnectError {
  return new DisconnectError(
    DISCONNECT.NO_MORE_AUTH_METHODS_AVAILABLE,
    'too many authentication failures',
    false,
    'SSH_AUTHENTICATION',
  )
}
