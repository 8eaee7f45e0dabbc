/** Messages of the agent protocol and their framing: draft-miller-ssh-agent. */
import { SshError } from '../errors.ts'
import type { Transport } from '../io/transport.ts'
import { ascii, type Field, rest, string, uint32 } from '../wire/fields.ts'
import { type Message, message, type Struct, struct } from '../wire/message.ts'

/** Message numbers, §5.1. */
export const AGENT = {
  FAILURE: 5,
  SUCCESS: 6,
  REQUEST_IDENTITIES: 11,
  IDENTITIES_ANSWER: 12,
  SIGN_REQUEST: 13,
  SIGN_RESPONSE: 14,
  ADD_IDENTITY: 17,
  REMOVE_IDENTITY: 18,
  REMOVE_ALL_IDENTITIES: 19,
  LOCK: 22,
  UNLOCK: 23,
  ADD_ID_CONSTRAINED: 25,
  EXTENSION: 27,
  EXTENSION_FAILURE: 28,
} as const

/** Constraints on an added key, §5.2; those with a name go by the number that OpenSSH gives them. */
export const CONSTRAIN = { LIFETIME: 1, CONFIRM: 2, EXTENSION: 255 } as const

/** The one constraint with a name that is kept, OpenSSH's PROTOCOL.agent §2. */
export const RESTRICT_DESTINATION = 'restrict-destination-v00@openssh.com'

/** Flags of a sign request for an RSA key, §5.3. None means SHA-1, which is not made here. */
export const SIGN_FLAG = { RSA_SHA2_256: 2, RSA_SHA2_512: 4 } as const

/** Tells an agent which connection a signature is for, OpenSSH's PROTOCOL.agent §1. */
export const SESSION_BIND = 'session-bind@openssh.com'

/** Longest message either way; OpenSSH's agent takes as much. */
export const AGENT_MESSAGE_BYTES_MAX: number = 256 * 1024
/** Keys in one list; OpenSSH's limit too. */
export const AGENT_KEYS_MAX = 2048

/** A message of a number and nothing else. */
export type Bare = Readonly<Record<never, never>>
const bare = (number: number, name: string): Message<Bare> => message<Bare>(number, name, {})

export const agentFailure: Message<Bare> = bare(AGENT.FAILURE, 'AGENT_FAILURE')
export const requestIdentities: Message<Bare> = bare(AGENT.REQUEST_IDENTITIES, 'REQUEST_IDENTITIES')
export const removeAllIdentities: Message<Bare> = bare(
  AGENT.REMOVE_ALL_IDENTITIES,
  'REMOVE_ALL_IDENTITIES',
)
export const extensionFailure: Message<Bare> = bare(AGENT.EXTENSION_FAILURE, 'EXTENSION_FAILURE')

/** SSH_AGENT_SUCCESS; extensions may have contents. */
export interface AgentSuccess {
  readonly contents: Uint8Array
}
export const agentSuccess: Message<AgentSuccess> = message(AGENT.SUCCESS, 'AGENT_SUCCESS', {
  contents: rest,
})

/** One key of a list. */
export interface Identity {
  readonly publicKey: Uint8Array
  /** UTF-8 by the draft; what people type is not always. */
  readonly comment: Uint8Array
}

const identities: Field<readonly Identity[]> = {
  read(reader) {
    const count = reader.uint32()
    if (count > AGENT_KEYS_MAX) {
      throw new SshError('SSH_PROTOCOL', `malformed message: ${count} keys in an agent`)
    }
    return Array.from({ length: count }, () => ({
      publicKey: reader.string(),
      comment: reader.string(),
    }))
  },
  write(writer, keys) {
    writer.uint32(keys.length)
    for (const { publicKey, comment } of keys) writer.string(publicKey).string(comment)
  },
}

/** SSH_AGENT_IDENTITIES_ANSWER, §4.4. */
export interface IdentitiesAnswer {
  readonly identities: readonly Identity[]
}
export const identitiesAnswer: Message<IdentitiesAnswer> = message(
  AGENT.IDENTITIES_ANSWER,
  'IDENTITIES_ANSWER',
  { identities },
)

/** SSH_AGENTC_SIGN_REQUEST, §4.5. */
export interface SignRequest {
  readonly publicKey: Uint8Array
  readonly data: Uint8Array
  readonly flags: number
}
export const signRequest: Message<SignRequest> = message(AGENT.SIGN_REQUEST, 'SIGN_REQUEST', {
  publicKey: string,
  data: string,
  flags: uint32,
})

/** SSH_AGENT_SIGN_RESPONSE, §4.5. */
export interface SignResponse {
  /** A whole signature blob, RFC 4253 §6.6. */
  readonly signature: Uint8Array
}
export const signResponse: Message<SignResponse> = message(AGENT.SIGN_RESPONSE, 'SIGN_RESPONSE', {
  signature: string,
})

/** SSH_AGENTC_ADD_IDENTITY and SSH_AGENTC_ADD_ID_CONSTRAINED, §4.2; see `added-key.ts`. */
export interface AddIdentity {
  readonly key: Uint8Array
}
export const addIdentity: Message<AddIdentity> = message(AGENT.ADD_IDENTITY, 'ADD_IDENTITY', {
  key: rest,
})
export const addConstrained: Message<AddIdentity> = message(
  AGENT.ADD_ID_CONSTRAINED,
  'ADD_ID_CONSTRAINED',
  { key: rest },
)

/** SSH_AGENTC_REMOVE_IDENTITY, §4.3. */
export interface RemoveIdentity {
  readonly publicKey: Uint8Array
}
export const removeIdentity: Message<RemoveIdentity> = message(
  AGENT.REMOVE_IDENTITY,
  'REMOVE_IDENTITY',
  { publicKey: string },
)

/** SSH_AGENTC_LOCK and SSH_AGENTC_UNLOCK, §4.6. */
export interface Passphrase {
  readonly passphrase: Uint8Array
}
export const lock: Message<Passphrase> = message(AGENT.LOCK, 'LOCK', { passphrase: string })
export const unlock: Message<Passphrase> = message(AGENT.UNLOCK, 'UNLOCK', { passphrase: string })

/** SSH_AGENTC_EXTENSION, §4.7. */
export interface Extension {
  readonly name: string
  readonly contents: Uint8Array
}
export const extension: Message<Extension> = message(AGENT.EXTENSION, 'EXTENSION', {
  name: ascii,
  contents: rest,
})

/** Contents of `session-bind@openssh.com`. */
export interface SessionBind {
  readonly hostKey: Uint8Array
  readonly sessionId: Uint8Array
  /** The server's signature of the session id: that of the first key exchange. */
  readonly signature: Uint8Array
  /** 1 if the agent is being forwarded over that connection, 0 if used to log in. */
  readonly forwarding: number
}
const flag: Field<number> = {
  read: (reader) => (reader.boolean() ? 1 : 0),
  write: (writer, value) => writer.boolean(value !== 0),
}
export const sessionBind: Struct<SessionBind> = struct({
  hostKey: string,
  sessionId: string,
  signature: string,
  forwarding: flag,
})

/** Whole messages over a transport, each behind its length (§3). */
export class AgentStream {
  readonly #transport: Transport
  #chunks: Uint8Array[] = []
  #bytes = 0

  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** Bytes that came behind the last message read. */
  get bufferedBytes(): number {
    return this.#bytes
  }

  /**
   * The next message, its to keep, or undefined if the peer ended between two. Rejects with
   * SshError `SSH_PROTOCOL` if it is cut off, empty or longer than 256 KiB.
   */
  async read(): Promise<Uint8Array | undefined> {
    if (!(await this.#fill(4))) {
      if (this.#bytes === 0) return undefined
      throw new SshError('SSH_PROTOCOL', 'the agent connection ended within a message')
    }
    const [a = 0, b = 0, c = 0, d = 0] = this.#take(4)
    const length = ((a << 24) | (b << 16) | (c << 8) | d) >>> 0
    if (length === 0 || length > AGENT_MESSAGE_BYTES_MAX) {
      throw new SshError('SSH_PROTOCOL', `an agent message of ${length} bytes`)
    }
    if (!(await this.#fill(length))) {
      throw new SshError('SSH_PROTOCOL', 'the agent connection ended within a message')
    }
    return this.#take(length)
  }

  write(payload: Uint8Array): Promise<void> {
    const framed = new Uint8Array(4 + payload.length)
    new DataView(framed.buffer).setUint32(0, payload.length)
    framed.set(payload, 4)
    return this.#transport.write(framed)
  }

  async #fill(bytes: number): Promise<boolean> {
    while (this.#bytes < bytes) {
      const chunk = await this.#transport.read()
      if (chunk === undefined) return false
      this.#chunks.push(chunk)
      this.#bytes += chunk.length
    }
    return true
  }

  /** Joins only what is taken: a message that comes byte by byte is copied once. */
  #take(bytes: number): Uint8Array {
    const taken = new Uint8Array(bytes)
    let at = 0
    let used = 0
    while (at < bytes) {
      const chunk = this.#chunks[used] as Uint8Array
      const piece = chunk.subarray(0, bytes - at)
      taken.set(piece, at)
      at += piece.length
      if (piece.length === chunk.length) used++
      else this.#chunks[used] = chunk.subarray(piece.length)
    }
    this.#chunks = this.#chunks.slice(used)
    this.#bytes -= bytes
    return taken
  }
}
