/** An agent at the other end of a transport: its keys as signers, and what else it can be asked. */
import { defaultCrypto } from '../crypto/native.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { ignore, rejected } from '../deferred.ts'
import { SshError } from '../errors.ts'
import type { Transport } from '../io/transport.ts'
import type { PrivateKey } from '../keys/private-key.ts'
import { PublicKey, type Signer } from '../keys/public-key.ts'
import { requireTransport } from '../validate.ts'
import { throwIfAborted, type WaitOptions, waitFor } from '../wait.ts'
import { Reader } from '../wire/reader.ts'
import { encodeAddedKey, type KeyConstraints } from './added-key.ts'
import {
  AGENT,
  AgentStream,
  addConstrained,
  addIdentity,
  agentFailure,
  agentSuccess,
  extension,
  extensionFailure,
  identitiesAnswer,
  lock,
  removeAllIdentities,
  removeIdentity,
  requestIdentities,
  SIGN_FLAG,
  signRequest,
  signResponse,
  unlock,
} from './messages.ts'

/** How a key is added to an agent. */
export interface AddOptions extends KeyConstraints, WaitOptions {
  /** Shown in lists. Default: the comment of the key. */
  readonly comment?: string
  /** Adds the key under this certificate instead of by itself. */
  readonly certificate?: PublicKey
}

/**
 * An agent. Requests wait for one another, as the protocol has no numbers. Each rejects with
 * SshError `SSH_REQUEST_REFUSED` if the agent will not, `SSH_PROTOCOL` if it answers nonsense, or
 * with what the transport failed of; the agent is of no use after one of the latter. A request that
 * its signal gave up may be done all the same, and those behind it wait for its answer.
 *
 * @example
 * import { agentClient, generateKey, Keyring, memoryPair, serveAgent } from '@sandbox-ssh/protocol'
 *
 * const [near, far] = memoryPair()
 * void serveAgent(far, new Keyring())
 * const agent = agentClient(near)
 * const key = generateKey('ed25519')
 * await agent.add(key, { comment: 'for an hour', lifetimeSeconds: 3600 })
 * const signature = await agent.sign(key.publicKey, new Uint8Array(32), 'ssh-ed25519')
 * console.log(signature.length) // 83
 *
 * await agent.lock('secret')
 * console.log((await agent.list()).length) // 0
 * await agent.unlock('secret')
 * await agent.remove(key.publicKey)
 * await agent.removeAll()
 * console.log(await agent.extension('made-up@example.com').catch((error) => error.code)) // SSH_…
 * await agent.close()
 */
export interface AgentClient {
  /** Its keys, certificates among them, as signers that have it sign. Empty if it is locked. */
  list(options?: WaitOptions): Promise<readonly Signer[]>
  /** A signature blob. Rejects with SshError `SSH_SIGN` if the agent will not. */
  sign(
    key: PublicKey,
    data: Uint8Array,
    algorithm: string,
    options?: WaitOptions,
  ): Promise<Uint8Array>
  /** Gives it a key to hold. */
  add(key: PrivateKey, options?: AddOptions): Promise<void>
  remove(key: PublicKey, options?: WaitOptions): Promise<void>
  removeAll(options?: WaitOptions): Promise<void>
  /** Has it use no key until it is unlocked with the same passphrase. */
  lock(passphrase: string, options?: WaitOptions): Promise<void>
  unlock(passphrase: string, options?: WaitOptions): Promise<void>
  /** An extension, §4.7; gives the contents of the success. */
  extension(name: string, contents?: Uint8Array, options?: WaitOptions): Promise<Uint8Array>
  /** Ends the connection to it. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Speaks to the agent behind `transport`, which it takes over: a Unix socket, a forwarded channel, an
 * end of `memoryPair`, or on Windows the named pipe of its OpenSSH, which Node connects to in the same
 * way: `nodeSocket(createConnection('\\\\.\\pipe\\openssh-ssh-agent'))`.
 *
 * @example
 * import { createConnection } from 'node:net'
 * import { agentClient, nodeSocket } from '@sandbox-ssh/protocol'
 *
 * const agent = agentClient(nodeSocket(createConnection(process.env['SSH_AUTH_SOCK'] ?? '')))
 * const [signer] = await agent.list()
 * console.log(signer?.publicKey.type, signer?.publicKey.comment) // ssh-ed25519 ada@laptop
 * await agent.close()
 */
export function agentClient(
  transport: Transport,
  options: { readonly crypto?: CryptoProvider } = {},
): AgentClient {
  requireTransport(transport)
  return new Connection(transport, options.crypto ?? defaultCrypto())
}

const text = new TextDecoder()
const bytes = new TextEncoder()

/** A request, or what makes it when its turn comes. */
type Request = Uint8Array | (() => Promise<Uint8Array>)

class Connection implements AgentClient {
  readonly #transport: Transport
  readonly #stream: AgentStream
  readonly #crypto: CryptoProvider
  /** Settled when the request before is done with. */
  #turn: Promise<void> = Promise.resolve()
  #failure: unknown

  constructor(transport: Transport, crypto: CryptoProvider) {
    this.#transport = transport
    this.#stream = new AgentStream(transport)
    this.#crypto = crypto
  }

  async list(wait: WaitOptions = {}): Promise<readonly Signer[]> {
    const answer = await this.#ask(requestIdentities.encode({}), 'list its keys', wait)
    const { identities } = this.#decode(() => identitiesAnswer.decode(answer))
    return identities.flatMap(({ publicKey: blob, comment }) => {
      try {
        return [this.#signer(PublicKey.fromBlob(blob, text.decode(comment)))]
      } catch {
        // A key of a kind that we cannot even name is no reason to do without the others.
        return []
      }
    })
  }

  async sign(
    key: PublicKey,
    data: Uint8Array,
    algorithm: string,
    wait: WaitOptions = {},
  ): Promise<Uint8Array> {
    const flags = signFlags(key, algorithm)
    const request = signRequest.encode({ publicKey: key.blob, data, flags })
    const answer = await this.#ask(request, 'sign', wait, 'SSH_SIGN')
    const { signature } = this.#decode(() => signResponse.decode(answer))
    const made = this.#decode(() => new Reader(signature).ascii())
    if (!isMadeWith(algorithm, made)) {
      throw new SshError('SSH_SIGN', `the agent signed with ${made} instead of ${algorithm}`)
    }
    return signature
  }

  async add(key: PrivateKey, options: AddOptions = {}): Promise<void> {
    const { certificate, comment = key.publicKey.comment, signal, ...constraints } = options
    const { lifetimeSeconds, confirm, destinations } = constraints
    const constrained =
      lifetimeSeconds !== undefined || confirm === true || destinations !== undefined
    const request = async (): Promise<Uint8Array> => {
      const body = await encodeAddedKey(this.#crypto, key, certificate, comment, constraints)
      const message = (constrained ? addConstrained : addIdentity).encode({ key: body })
      body.fill(0)
      return message
    }
    await this.#succeed(request, 'take the key', { signal })
  }

  remove(key: PublicKey, wait?: WaitOptions): Promise<void> {
    return this.#succeed(removeIdentity.encode({ publicKey: key.blob }), 'remove the key', wait)
  }

  removeAll(wait?: WaitOptions): Promise<void> {
    return this.#succeed(removeAllIdentities.encode({}), 'remove its keys', wait)
  }

  lock(passphrase: string, wait?: WaitOptions): Promise<void> {
    return this.#succeed(lock.encode({ passphrase: bytes.encode(passphrase) }), 'be locked', wait)
  }

  unlock(passphrase: string, wait?: WaitOptions): Promise<void> {
    const request = unlock.encode({ passphrase: bytes.encode(passphrase) })
    return this.#succeed(request, 'be unlocked', wait)
  }

  async extension(
    name: string,
    contents: Uint8Array = new Uint8Array(0),
    wait: WaitOptions = {},
  ): Promise<Uint8Array> {
    const answer = await this.#ask(extension.encode({ name, contents }), `do ${name}`, wait)
    return this.#decode(() => agentSuccess.decode(answer)).contents
  }

  async close(): Promise<void> {
    this.#failure ??= new SshError('SSH_ABORTED', 'the connection to the agent was closed')
    // The agent is to see an end and no failure; nobody waits for it to take what is under way.
    this.#transport.close().catch(ignore)
    this.#transport.abort(this.#failure)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #signer(publicKey: PublicKey): Signer {
    return {
      publicKey,
      algorithms: algorithmsOf(publicKey.type),
      sign: (data, algorithm, wait) => this.sign(publicKey, data, algorithm, wait),
    }
  }

  async #succeed(request: Request, what: string, wait: WaitOptions = {}): Promise<void> {
    const answer = await this.#ask(request, what, wait)
    this.#decode(() => agentSuccess.decode(answer))
  }

  /** The answer to a request, unless that is a failure. */
  async #ask(
    request: Request,
    what: string,
    { signal }: WaitOptions,
    code: 'SSH_REQUEST_REFUSED' | 'SSH_SIGN' = 'SSH_REQUEST_REFUSED',
  ): Promise<Uint8Array> {
    throwIfAborted(signal)
    const answer = await waitFor(this.#exchange(request, signal), { signal, what })
    const [number] = answer
    if (number === AGENT.FAILURE || number === AGENT.EXTENSION_FAILURE) {
      const codec = number === AGENT.FAILURE ? agentFailure : extensionFailure
      this.#decode(() => codec.decode(answer))
      throw new SshError(code, `the agent would not ${what}`)
    }
    return answer
  }

  /** Requests leave in the order of asking, also those that take time to be made. */
  #exchange(request: Request, signal: AbortSignal | undefined): Promise<Uint8Array> {
    if (this.#failure !== undefined) return rejected(this.#failure)
    const answer = this.#turn.then(async () => {
      throwIfAborted(signal)
      const payload = typeof request === 'function' ? await request() : request
      if (this.#failure !== undefined) throw this.#failure
      try {
        await this.#stream.write(payload)
        // It may hold a private key or a passphrase.
        payload.fill(0)
        const received = await this.#stream.read()
        if (received === undefined) {
          throw new SshError('SSH_CONNECTION_LOST', 'the agent closed the connection')
        }
        return received
      } catch (error) {
        // What comes next would be taken for the answer to another request.
        throw this.#fail(error)
      }
    })
    this.#turn = answer.then(
      () => {},
      () => {},
    )
    return answer
  }

  #decode<T>(decode: () => T): T {
    try {
      return decode()
    } catch (error) {
      throw this.#fail(error)
    }
  }

  #fail(error: unknown): unknown {
    this.#failure ??= error
    this.#transport.abort(error)
    return this.#failure
  }
}

const CERTIFICATE = '-cert-v01@openssh.com'

/** Signature algorithms for a type of key; for RSA the type does not say which. */
function algorithmsOf(type: string): readonly string[] {
  if (type === 'ssh-rsa') return ['rsa-sha2-512', 'rsa-sha2-256']
  if (type === `ssh-rsa${CERTIFICATE}`) {
    return [`rsa-sha2-512${CERTIFICATE}`, `rsa-sha2-256${CERTIFICATE}`]
  }
  return [type]
}

function signFlags(key: PublicKey, algorithm: string): number {
  if (!algorithmsOf(key.type).includes(algorithm)) {
    throw new SshError('SSH_SIGN', `a ${key.type} key cannot sign with ${algorithm}`)
  }
  if (algorithm.startsWith('rsa-sha2-512')) return SIGN_FLAG.RSA_SHA2_512
  return algorithm.startsWith('rsa-sha2-256') ? SIGN_FLAG.RSA_SHA2_256 : 0
}

/** Whether a signature of that name is what was asked for: certificates sign with the plain name. */
function isMadeWith(algorithm: string, made: string): boolean {
  const suffix = algorithm.startsWith('sk-') ? '@openssh.com' : ''
  const plain = algorithm.replace(CERTIFICATE, suffix)
  return made === plain || (plain.startsWith('sk-ecdsa-') && made === `webauthn-${plain}`)
}
