/** A keyring served as an agent: draft-miller-ssh-agent, and OpenSSH's PROTOCOL.agent. */
import { modern } from '../algorithms/modern.ts'
import { UNATTENDED } from '../algorithms/security-keys.ts'
import { equalBytes } from '../crypto/equal-bytes.ts'
import { SshError } from '../errors.ts'
import type { Transport } from '../io/transport.ts'
import { plainKey } from '../keys/certificate.ts'
import { PublicKey } from '../keys/public-key.ts'
import { requireTransport } from '../validate.ts'
import { Reader } from '../wire/reader.ts'
import { Writer } from '../wire/writer.ts'
import { decodeAddedKey } from './added-key.ts'
import type { AgentPath, BoundSession } from './destinations.ts'
import type { Keyring } from './keyring.ts'
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
  SESSION_BIND,
  SIGN_FLAG,
  sessionBind,
  signRequest,
  signResponse,
  unlock,
} from './messages.ts'

/** What a connection to an agent may do. */
export interface ServeAgentOptions {
  /** Only lists and signs: for a keyring served to somebody else's machine. */
  readonly readOnly?: boolean
  /** Hears why requests failed; their senders only hear that they did. */
  readonly onError?: (error: unknown) => void
}

/** Connections one agent connection can be bound to, hop by hop; OpenSSH's limit too. */
const SESSIONS_MAX = 16
const QUERY = 'query'
const EXTENSION_PREFIX = new Writer().string(SESSION_BIND).finish()

/**
 * Serves `keyring` over `transport` until the other end closes; then resolves, having closed too.
 * Rejects with SshError `SSH_PROTOCOL` on broken framing, or with what the transport failed of.
 * Requests are answered one by one, and what is not understood with a failure.
 * Keys with destinations are shown and used only for who is bound to one of them.
 *
 * @example
 * import {
 *   agentClient,
 *   generateKey,
 *   Keyring,
 *   memoryPair,
 *   publickey,
 *   serveAgent,
 * } from '@sandbox-ssh/protocol'
 *
 * const keyring = new Keyring()
 * keyring.add(generateKey('ed25519'), {}, 'laptop')
 * const [near, far] = memoryPair()
 * const serving = serveAgent(far, keyring)
 *
 * const agent = agentClient(near)
 * const client = await pair(
 *   { auth: { publickey: ({ key }) => key.equals(keyring.keys[0]!) } },
 *   { auth: [publickey(() => agent.list())] },
 * )
 * console.log((await client.run('echo signed by an agent')).text().trim()) // signed by an agent
 * await agent.close()
 * await serving
 */
export async function serveAgent(
  transport: Transport,
  keyring: Keyring,
  options: ServeAgentOptions = {},
): Promise<void> {
  requireTransport(transport)
  const stream = new AgentStream(transport)
  const service = new Service(keyring, options)
  try {
    for (let request = await stream.read(); request; request = await stream.read()) {
      const answer = await service.answer(request)
      request.fill(0)
      await stream.write(answer)
    }
    await transport.close()
  } catch (error) {
    transport.abort(error)
    throw error
  }
}

/** One connection's requests. */
class Service {
  readonly #keyring: Keyring
  readonly #options: ServeAgentOptions
  readonly #sessions: BoundSession[] = []
  #bindFailed = false

  constructor(keyring: Keyring, options: ServeAgentOptions) {
    this.#keyring = keyring
    this.#options = options
  }

  async answer(request: Uint8Array): Promise<Uint8Array> {
    try {
      return await this.#answer(request)
    } catch (error) {
      this.#report(error)
      return (
        request[0] === AGENT.EXTENSION && this.#knows(request) ? extensionFailure : agentFailure
      ).encode({})
    }
  }

  async #answer(request: Uint8Array): Promise<Uint8Array> {
    const keyring = this.#keyring
    switch (request[0]) {
      case AGENT.REQUEST_IDENTITIES: {
        requestIdentities.decode(request)
        const text = new TextEncoder()
        const identities = keyring.keysOver(this.#path).map(({ blob, comment }) => ({
          publicKey: blob,
          comment: text.encode(comment),
        }))
        return identitiesAnswer.encode({ identities })
      }
      case AGENT.SIGN_REQUEST:
        return signResponse.encode({ signature: await this.#sign(request) })
      case AGENT.ADD_IDENTITY:
        return this.#add(addIdentity.decode(request).key, false)
      case AGENT.ADD_ID_CONSTRAINED:
        return this.#add(addConstrained.decode(request).key, true)
      case AGENT.REMOVE_IDENTITY: {
        this.#needWritable()
        const key = PublicKey.fromBlob(removeIdentity.decode(request).publicKey)
        if (!keyring.remove(key, this.#path)) throw refused('no such key is held')
        return success()
      }
      case AGENT.REMOVE_ALL_IDENTITIES:
        this.#needWritable()
        removeAllIdentities.decode(request)
        keyring.removeAll()
        return success()
      case AGENT.LOCK:
        this.#needWritable()
        keyring.lock(lock.decode(request).passphrase)
        return success()
      case AGENT.UNLOCK:
        this.#needWritable()
        if (!(await keyring.unlock(unlock.decode(request).passphrase))) {
          throw refused('not locked, or another passphrase')
        }
        return success()
      case AGENT.EXTENSION:
        return this.#extension(request)
      default:
        throw refused(`request ${request[0]} is not supported`)
    }
  }

  get #path(): AgentPath {
    return { sessions: this.#sessions, bindFailed: this.#bindFailed }
  }

  #sign(request: Uint8Array): Promise<Uint8Array> {
    const { publicKey, data, flags } = signRequest.decode(request)
    const key = PublicKey.fromBlob(publicKey)
    const algorithms = this.#keyring.algorithmsOf(key)
    if (algorithms === undefined) throw refused('no such key is held')
    const algorithm = key.type.startsWith('ssh-rsa')
      ? rsaAlgorithm(algorithms, flags)
      : algorithms[0]
    if (algorithm === undefined) throw refused('the key cannot sign that way')
    return this.#keyring.sign(key, data, algorithm, this.#path)
  }

  #add(body: Uint8Array, constrained: boolean): Uint8Array {
    this.#needWritable()
    const { signer, comment, constraints } = decodeAddedKey(this.#keyring.crypto, body, constrained)
    this.#keyring.add(signer, constraints, comment, this.#path)
    return success()
  }

  #extension(request: Uint8Array): Uint8Array {
    const { name, contents } = extension.decode(request)
    switch (name) {
      case QUERY:
        return agentSuccess.encode({
          contents: new Writer().string(QUERY).string(SESSION_BIND).finish(),
        })
      case SESSION_BIND:
        // Whoever tried and failed is not taken for somebody on the spot.
        this.#bindFailed = true
        this.#bind(contents)
        this.#bindFailed = false
        return success()
      default:
        throw refused('no such extension')
    }
  }

  /** Believes a binding only with the host's own signature; records it for who confirms. */
  #bind(contents: Uint8Array): void {
    const { hostKey: blob, sessionId, signature, forwarding } = sessionBind.decode(contents)
    const hostKey = PublicKey.fromBlob(blob)
    const { crypto } = this.#keyring
    const name = new Reader(signature).ascii()
    const signer = plainKey(hostKey)
    const spec = modern(crypto).hostKeys.find(
      (known) => known.name === name && known.keyType === signer.type,
    )
    if (!spec?.verify(crypto, signer, sessionId, signature, UNATTENDED)) {
      throw refused('the host key has not signed the session id')
    }
    for (const bound of this.#sessions) {
      // Whoever came to log in must not go on as another hop.
      if (!bound.forwarding) throw refused('the connection is bound for authentication already')
      if (!equalBytes(bound.sessionId, sessionId)) continue
      if (bound.hostKey.equals(hostKey)) return
      throw refused('the session id is bound to another host key')
    }
    if (this.#sessions.length >= SESSIONS_MAX) throw refused('bound to too many connections')
    this.#sessions.push({ hostKey, sessionId: sessionId.slice(), forwarding: forwarding !== 0 })
  }

  /** Extensions that fail say so in another way than those that are unknown (§4.7). */
  #knows(request: Uint8Array): boolean {
    return EXTENSION_PREFIX.every((byte, at) => request[at + 1] === byte)
  }

  #needWritable(): void {
    if (this.#options.readOnly === true) throw refused('this connection may only list and sign')
  }

  #report(error: unknown): void {
    try {
      this.#options.onError?.(error)
    } catch {
      // There is nobody left to tell.
    }
  }
}

function rsaAlgorithm(algorithms: readonly string[], flags: number): string | undefined {
  // Without a flag it would be SHA-1.
  const wanted =
    flags & SIGN_FLAG.RSA_SHA2_512
      ? 'rsa-sha2-512'
      : flags & SIGN_FLAG.RSA_SHA2_256
        ? 'rsa-sha2-256'
        : undefined
  return wanted && algorithms.find((name) => name.startsWith(wanted))
}

function success(): Uint8Array {
  return agentSuccess.encode({ contents: new Uint8Array(0) })
}

function refused(why: string): SshError {
  return new SshError('SSH_REQUEST_REFUSED', why)
}
