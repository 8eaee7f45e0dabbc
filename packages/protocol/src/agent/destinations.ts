/**
 * Keys that may be used only on the way to some hosts: the constraint
 * `restrict-destination-v00@openssh.com` and whether it permits a use (OpenSSH's PROTOCOL.agent §2).
 * The way is known from the bindings of the connection over which the agent is asked.
 */
import { equalBytes } from '../crypto/equal-bytes.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { SshError } from '../errors.ts'
import { checkCertificate, isCertificate } from '../keys/certificate.ts'
import { matchesPattern } from '../keys/pattern.ts'
import { PublicKey } from '../keys/public-key.ts'
import { MSG } from '../wire/numbers.ts'
import { Reader } from '../wire/reader.ts'
import {
  publickeyHostboundRequest,
  publickeyRequest,
  publickeySigned,
  userauthRequest,
} from '../wire/userauth.ts'
import { Writer } from '../wire/writer.ts'

/** How a host is recognized. */
export interface DestinationKey {
  readonly key: PublicKey
  /** The key signs host certificates, whose principals must match the name of the host. */
  readonly isAuthority: boolean
}

/** A host on the way. */
export interface DestinationHost {
  /** For people, and for the principals of its certificate. Not empty. */
  readonly hostName: string
  /** Not empty. */
  readonly hostKeys: readonly DestinationKey[]
}

/** One permitted hop. A way through several hosts needs one constraint for each of its hops. */
export interface DestinationConstraint {
  /** Where the hop begins; undefined: where the agent runs. */
  readonly from?: DestinationHost
  readonly to: DestinationHost & {
    /** Pattern for the user names there. Default: any. */
    readonly username?: string
  }
}

/** A connection that an agent was bound to: the host key has signed the session id. */
export interface BoundSession {
  readonly hostKey: PublicKey
  readonly sessionId: Uint8Array
  /** True if the agent was forwarded there: who asks may be anybody on that host. */
  readonly forwarding: boolean
}

/** Over what an agent is asked: hop by hop the SSH connections that it was bound to. */
export interface AgentPath {
  /** Empty for who asks on the spot. */
  readonly sessions: readonly BoundSession[]
  /** Somebody tried to bind the connection and failed: then nothing is known of the way. */
  readonly bindFailed?: boolean
}

/** Constraints of one key, and hosts of one hop; far more than anybody types. */
const CONSTRAINTS_MAX = 1024
const HOST_KEYS_MAX = 1024

/** The contents of the constraint. Throws TypeError on one that OpenSSH would not take. */
export function encodeDestinations(constraints: readonly DestinationConstraint[]): Uint8Array {
  if (constraints.length > CONSTRAINTS_MAX) throw new TypeError('destinations: too many')
  const list = new Writer()
  for (const { from, to } of constraints) {
    for (const [name, host] of [['from', from] as const, ['to', to] as const]) {
      if (host !== undefined && (host.hostName === '' || host.hostKeys.length === 0)) {
        throw new TypeError(`destinations: "${name}" needs a name and host keys`)
      }
    }
    const hop = new Writer()
      .string(encodeHost('', from?.hostName ?? '', from?.hostKeys ?? []))
      .string(encodeHost(to.username ?? '', to.hostName, to.hostKeys))
      .string('')
      .finish()
    list.string(hop)
  }
  return new Writer().string(list.finish()).finish()
}

function encodeHost(user: string, name: string, keys: readonly DestinationKey[]): Uint8Array {
  const writer = new Writer().string(user).string(name).string('')
  for (const { key, isAuthority } of keys) writer.string(key.blob).boolean(isAuthority)
  return writer.finish()
}

/** Reads them. Throws SshError `SSH_PROTOCOL` or `SSH_KEY_INVALID` on what is not understood. */
export function decodeDestinations(reader: Reader): readonly DestinationConstraint[] {
  const list = new Reader(reader.string())
  const constraints: DestinationConstraint[] = []
  while (list.remaining > 0) {
    if (constraints.length >= CONSTRAINTS_MAX) throw invalid('too many')
    const hop = new Reader(list.string())
    const from = decodeHost(hop.string())
    const to = decodeHost(hop.string())
    if (hop.string().length > 0) throw invalid('extensions')
    hop.end()
    if (from.username !== '') throw invalid('a user where the hop begins')
    if ((from.hostName === '') !== (from.hostKeys.length === 0)) throw invalid('half a beginning')
    if (to.hostName === '' || to.hostKeys.length === 0) throw invalid('no end')
    const { hostName, hostKeys } = from
    constraints.push({
      ...(hostName === '' ? {} : { from: { hostName, hostKeys } }),
      to: {
        hostName: to.hostName,
        hostKeys: to.hostKeys,
        ...(to.username === '' ? {} : { username: to.username }),
      },
    })
  }
  if (constraints.length === 0) throw invalid('none at all')
  return constraints
}

function decodeHost(bytes: Uint8Array): DestinationHost & { readonly username: string } {
  const reader = new Reader(bytes)
  const username = reader.utf8(1024)
  const hostName = reader.utf8(1024)
  if (reader.string().length > 0) throw invalid('extensions of a host')
  const hostKeys: DestinationKey[] = []
  while (reader.remaining > 0) {
    if (hostKeys.length >= HOST_KEYS_MAX) throw invalid('too many host keys')
    hostKeys.push({ key: PublicKey.fromBlob(reader.string()), isAuthority: reader.boolean() })
  }
  return { username, hostName, hostKeys }
}

function invalid(what: string): SshError {
  return new SshError('SSH_KEY_INVALID', `destination constraints with ${what}`)
}

/** Decides for one key; `undefined` constraints permit all. */
export class DestinationPolicy {
  readonly #constraints: readonly DestinationConstraint[] | undefined
  readonly #crypto: CryptoProvider

  constructor(constraints: readonly DestinationConstraint[] | undefined, crypto: CryptoProvider) {
    this.#constraints = constraints
    this.#crypto = crypto
  }

  /** Whether the key is there at all for who asks over `path`: to list, to remove, to replace. */
  shows(path: AgentPath): boolean {
    if (!this.#walks(path, undefined)) return false
    const last = path.sessions.at(-1)
    // Where the agent was forwarded to, a key that leads no further from there is of no use.
    return (
      this.#constraints === undefined ||
      last?.forwarding !== true ||
      this.#constraints.some(({ from }) => this.#isHost(last.hostKey, from))
    )
  }

  /**
   * Why `data` may not be signed for who asks over `path`; undefined if it may. Only what logs in at
   * the end of the way may: what else a key signs says nothing of where it is for.
   */
  refusal(path: AgentPath, key: PublicKey, data: Uint8Array): string | undefined {
    if (this.#constraints === undefined) return undefined
    const last = path.sessions.at(-1)
    if (last === undefined) return 'the connection is bound to no destination'
    const login = loginIn(data, key)
    if (login === undefined) return 'it signs nothing but logins'
    if (!this.#walks(path, login.username)) return 'its destinations do not permit that'
    if (!equalBytes(login.sessionId, last.sessionId)) return 'the login is for another connection'
    const { hostKey } = login
    if (hostKey === undefined) {
      return path.sessions.length > 1 ? 'the login does not name its host key' : undefined
    }
    return hostKey.equals(last.hostKey) ? undefined : 'the login is for another host'
  }

  /** Whether each hop of the way is permitted; `username` is there if somebody is to log in. */
  #walks({ sessions, bindFailed }: AgentPath, username: string | undefined): boolean {
    if (this.#constraints === undefined) return true
    if (sessions.length === 0) return bindFailed !== true
    let from: PublicKey | undefined
    for (const [at, { hostKey, forwarding }] of sessions.entries()) {
      const isLast = at === sessions.length - 1
      // Nobody logs in over a hop that was made for forwarding, nor goes on from one that was not.
      if (isLast ? forwarding && username !== undefined : !forwarding) return false
      if (!this.#permitsHop(from, hostKey, isLast ? username : undefined)) return false
      from = hostKey
    }
    return true
  }

  #permitsHop(from: PublicKey | undefined, to: PublicKey, username: string | undefined): boolean {
    return (this.#constraints ?? []).some((constraint) => {
      const begins =
        from === undefined ? constraint.from === undefined : this.#isHost(from, constraint.from)
      if (!begins || !this.#isHost(to, constraint.to)) return false
      const pattern = constraint.to.username
      return username === undefined || pattern === undefined || matchesPattern(username, pattern)
    })
  }

  #isHost(hostKey: PublicKey, host: DestinationHost | undefined): boolean {
    return (host?.hostKeys ?? []).some(({ key, isAuthority }) => {
      if (!isAuthority) return key.equals(hostKey)
      if (!isCertificate(hostKey)) return false
      try {
        const principals = [host?.hostName ?? '']
        const crypto = this.#crypto
        checkCertificate(hostKey, { role: 'host', principals, authorities: [key], crypto })
        return true
      } catch {
        return false
      }
    })
  }
}

interface Login {
  readonly sessionId: Uint8Array
  readonly username: string
  /** Undefined in the plain method, which does not name it. */
  readonly hostKey: PublicKey | undefined
}

/** What a signature for logging in by `key` is made over; undefined if `data` is anything else. */
function loginIn(data: Uint8Array, key: PublicKey): Login | undefined {
  try {
    const { sessionId, request } = publickeySigned.decode(data)
    if (request[0] !== MSG.USERAUTH_REQUEST) return undefined
    const { username, serviceName, methodName, methodSpecific } = userauthRequest.decode(request)
    if (serviceName !== 'ssh-connection') return undefined
    const bound = methodName === 'publickey-hostbound-v00@openssh.com'
    if (!bound && methodName !== 'publickey') return undefined
    const fields = bound
      ? publickeyHostboundRequest.decode(methodSpecific)
      : { ...publickeyRequest.decode(methodSpecific), hostKey: undefined }
    if (!fields.signed || fields.signaturePart.length > 0) return undefined
    if (!PublicKey.fromBlob(fields.publicKey).equals(key)) return undefined
    const hostKey = fields.hostKey && PublicKey.fromBlob(fields.hostKey)
    return { sessionId, username, hostKey }
  } catch {
    return undefined
  }
}
