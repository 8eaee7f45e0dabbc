/** One connection to a server: who is on it, what his key lets him do, and what he does. */
import {
  type AuthorizedKeyOptions,
  ChannelOpenError,
  decodeCertificate,
  type ExitResult,
  isCertificate,
  type Listener,
  OPEN_FAILURE,
  type PermittedAddress,
  type PublicKey,
  type PublickeyDecision,
  type ServerAuthHandlers,
  type ServerSession,
  type SessionHandler,
  SshError,
  type Transport,
} from '@sandbox-ssh/protocol'
import type { guestHandlers } from '../serve-guest.ts'
import type {
  CertificateIdentity,
  EventSource,
  ForwardSubject,
  Identity,
  ServerEvent,
  ServerEventListener,
  SessionSubject,
} from './events.ts'
import type { Admission, Place, Site } from './site.ts'
import { counted, type TrafficCount } from './traffic.ts'

type GuestHandlers = ReturnType<typeof guestHandlers>
/** What a visit serves. */
type VisitHandlers = Required<Omit<GuestHandlers, 'acceptEnv' | 'agentForwarding'>>
type LoginRequest = Parameters<NonNullable<ServerAuthHandlers['publickey']>>[0]
type Details<T> = T extends unknown ? Omit<T, keyof EventSource> : never

/** What a visit needs of its server. */
export interface VisitOptions {
  readonly connection: number
  readonly from: string | undefined
  readonly address: string | undefined
  readonly site: Site
  readonly onEvent: ServerEventListener
  readonly onError?: ((error: unknown) => void) | undefined
}

/** Somebody who is in. */
interface Grant {
  readonly identity: Identity
  readonly options: AuthorizedKeyOptions
  readonly place: Place
}

/** Lives as long as its connection. */
export class Visit {
  readonly #options: VisitOptions
  readonly #startedMs = performance.now()
  /** Of the whole connection, as it is on the wire. */
  readonly traffic: TrafficCount = { bytesIn: 0, bytesOut: 0 }
  readonly #refused = new Set<string>()
  #granted: Grant | undefined
  #sessions = 0
  #active = 0
  #onIdle: (() => void) | undefined
  /** What was asked for before a session is there when its program begins, as with sshd. */
  readonly #opening = new Set<Promise<unknown>>()

  constructor(options: VisitOptions) {
    this.#options = options
  }

  /** Undefined until somebody is in. */
  get identity(): Identity | undefined {
    return this.#granted?.identity
  }

  /** Where he is. @throws Error until somebody is in */
  get place(): Place {
    return this.#require().place
  }

  /** Whether a key was shown that does not get in. */
  get wasRefused(): boolean {
    return this.#refused.size > 0
  }

  /** Calls `listener` as soon as no session and no forward is open, now or later. */
  whenIdle(listener: () => void): void {
    this.#onIdle = listener
    if (this.#active === 0) listener()
  }

  emit(event: Details<ServerEvent>): void {
    const { connection, from, site } = this.#options
    const sandbox = this.#granted?.place.name ?? site.name
    this.#options.onEvent({ connection, from, sandbox, ...event })
  }

  /** For `ServerOptions.auth.publickey`. */
  async admits({ username, key, probe, attestation }: LoginRequest): Promise<PublickeyDecision> {
    const { address, site } = this.#options
    let admission: Admission
    try {
      admission = await site.admit({ key, username, address, attestation })
    } catch (error) {
      // Who may enter cannot be known: then nobody may.
      this.#options.onError?.(error)
      const reason = error instanceof Error ? error.message : String(error)
      admission = { type: 'refused', reason }
    }
    const identity = identityOf(username, key)
    if (admission.type === 'refused') {
      // Once for each key: clients ask first, and some ask again.
      const seen = `${username} ${key.fingerprint()}`
      if (!this.#refused.has(seen)) {
        this.emit({ type: 'key-refused', reason: admission.reason, ...identity })
      }
      this.#refused.add(seen)
      return false
    }
    const { options, place } = admission
    if (!probe) this.#granted = { identity, options, place }
    const { touchRequired, verifyRequired } = options
    return { accept: true, touchRequired, verifyRequired }
  }

  /** Told once the handshake is over. */
  loggedIn(client: string): void {
    this.emit({ type: 'logged-in', client, ...this.#require().identity })
  }

  /** Told at the very end; `reason` is what ended it unless that was a goodbye. */
  ended(reason: string | undefined): void {
    const { identity } = this
    this.emit({ type: 'disconnected', ms: this.#elapsed(), identity, reason, ...this.traffic })
  }

  /**
   * The handlers, doing what the key's line says and nothing it does not, and telling of it.
   * `handlers` is first asked for them when somebody is in; whether SFTP is offered is known before.
   */
  govern(handlers: () => GuestHandlers, { sftp }: { readonly sftp: boolean }): VisitHandlers {
    const session = (
      choose: (all: GuestHandlers) => SessionHandler | undefined,
    ): SessionHandler => {
      return (asked) => {
        const all = handlers()
        return this.#session(asked, choose(all), all.exec)
      }
    }
    return {
      exec: session(({ exec }) => exec),
      shell: session(({ shell }) => shell),
      subsystems: !sftp ? {} : { sftp: session(({ subsystems }) => subsystems?.['sftp']) },
      directTcpip: (request, signal) => {
        const { host, port } = request
        return this.#forward(host, port, async ({ permitOpen }) => {
          if (!permits(permitOpen, host, port)) prohibited('this destination is not permitted')
          return handlers().directTcpip?.(request, signal)
        })
      },
      directStreamlocal: (request, signal) =>
        this.#forward(request.path, 0, async ({ permitOpen }) => {
          // Lines that name the ports one may go to name no sockets.
          if (permitOpen !== undefined) prohibited('this destination is not permitted')
          return handlers().directStreamlocal?.(request, signal)
        }),
      tcpipForward: (request) =>
        this.#listen(request.host, request.port, () => handlers().tcpipForward?.(request)),
      streamlocalForward: (request) =>
        this.#listen(request.path, 0, () => handlers().streamlocalForward?.(request)),
    }
  }

  async #session(
    asked: ServerSession,
    handler: SessionHandler | undefined,
    exec: SessionHandler | undefined,
  ): Promise<ExitResult> {
    const { identity, options } = this.#require()
    const { kind, command } = asked
    const terminal = asked.pty !== undefined
    const subject: SessionSubject = { kind, command, forced: options.command, terminal }
    if (terminal && !options.pty) return refuse(asked, 'this key may not have a terminal')
    const run = options.command === undefined ? handler : exec
    if (run === undefined) return refuse(asked, 'this is not offered')
    const count: TrafficCount = { bytesIn: 0, bytesOut: 0 }
    const session = ++this.#sessions
    const startedMs = performance.now()
    this.emit({ type: 'session-started', session, ...identity, ...subject })
    this.#active++
    let result: ExitResult | undefined
    try {
      await Promise.allSettled(this.#opening)
      result = await run(governedSession(asked, options, count))
      return result
    } finally {
      const ms = Math.round(performance.now() - startedMs)
      const end = endOf(result)
      this.emit({ type: 'session-ended', session, ms, ...end, ...identity, ...subject, ...count })
      // The status has yet to reach the client, who then closes the channel.
      if (asked.signal.aborted) this.#left()
      else asked.signal.addEventListener('abort', () => this.#left(), { once: true })
    }
  }

  /** A socket's path is a `host` without port. */
  async #forward(
    host: string,
    port: number,
    connect: (options: AuthorizedKeyOptions) => Promise<Transport | undefined>,
  ): Promise<Transport> {
    const { identity, options } = this.#require()
    const subject = { ...identity, host, port }
    let transport: Transport
    try {
      if (!options.portForwarding) prohibited('forwarding is not allowed')
      transport = (await connect(options)) ?? prohibited('forwarding is not allowed')
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      this.emit({ type: 'forward-refused', reason, ...subject })
      throw error
    }
    this.emit({ type: 'forward-started', ...subject })
    const startedMs = performance.now()
    const count: TrafficCount = { bytesIn: 0, bytesOut: 0 }
    this.#active++
    let over = false
    const ended = (error?: unknown): void => {
      if (over) return
      over = true
      const ms = Math.round(performance.now() - startedMs)
      const reason = error instanceof Error ? error.message : undefined
      // The destination's output is what goes to the client.
      const traffic = { bytesIn: count.bytesOut, bytesOut: count.bytesIn }
      this.emit({ type: 'forward-ended', ms, ...subject, ...traffic, reason })
      this.#left()
    }
    return untilGone(counted(transport, count), ended)
  }

  /** SSH has no words for a refusal of this, so at least the log has. */
  async #listen(
    host: string,
    wantedPort: number,
    open: () => Listener | undefined | Promise<Listener | undefined>,
  ): Promise<Listener | undefined> {
    const { identity, options } = this.#require()
    let listener: Listener
    try {
      if (!options.portForwarding) prohibited('forwarding is not allowed')
      // Lines that name where one may go do not name what may come.
      if (options.permitOpen !== undefined) prohibited('only some forwards are permitted')
      const opening = Promise.resolve(open())
      this.#opening.add(opening)
      try {
        listener = (await opening) ?? prohibited('forwarding is not allowed')
      } finally {
        this.#opening.delete(opening)
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      this.emit({ type: 'listen-refused', host, port: wantedPort, reason, ...identity })
      return undefined
    }
    const subject = { ...identity, host, port: listener.port || wantedPort }
    this.emit({ type: 'listen-started', ...subject })
    return this.#traced(listener, subject)
  }

  /** Each connection counts as a forward does; what it listens on by itself holds up no end. */
  #traced(listener: Listener, subject: Identity & ForwardSubject): Listener {
    const startedMs = performance.now()
    const count: TrafficCount = { bytesIn: 0, bytesOut: 0 }
    let accepted = 0
    return {
      ...(listener.port === undefined ? {} : { port: listener.port }),
      accept: async () => {
        const next = await listener.accept()
        if (next === undefined) return undefined
        accepted++
        this.#active++
        let over = false
        const ended = (): void => {
          if (!over) this.#left()
          over = true
        }
        return { ...next, transport: untilGone(counted(next.transport, count), ended) }
      },
      close: async () => {
        const ms = Math.round(performance.now() - startedMs)
        const traffic = { bytesIn: count.bytesOut, bytesOut: count.bytesIn }
        this.emit({ type: 'listen-ended', ms, accepted, ...subject, ...traffic })
        await listener.close()
      },
    }
  }

  #left(): void {
    this.#active--
    // What the ends of a forward have still to say to each other goes first.
    setTimeout(() => {
      if (this.#active === 0) this.#onIdle?.()
    }, 0)
  }

  #elapsed(): number {
    return Math.round(performance.now() - this.#startedMs)
  }

  #require(): Grant {
    // Nothing is served before somebody is in; if that ever changed, nothing must be served.
    if (this.#granted === undefined) throw new Error('nobody is logged in')
    return this.#granted
  }
}

/** With a certificate it is the key in it that tells who somebody is, and its authority vouches. */
function identityOf(user: string, key: PublicKey): Identity {
  const { type: keyType } = key
  let certificate: CertificateIdentity | undefined
  let plain = key
  try {
    if (isCertificate(key)) {
      const { keyId: id, serial, signatureKey, key: certified } = decodeCertificate(key)
      certificate = { id, serial: String(serial), authority: signatureKey.fingerprint() }
      plain = certified
    }
  } catch {
    // Not even readable: then nothing in it can be told.
  }
  return { user, keyType, key: plain.fingerprint(), certificate }
}

/**
 * The session as the handlers see it: counted, and with the command that the key's line forces. What
 * the client had asked for is then in SSH_ORIGINAL_COMMAND, as sshd has it.
 */
function governedSession(
  session: ServerSession,
  { command, agentForwarding, x11Forwarding }: AuthorizedKeyOptions,
  count: TrafficCount,
): ServerSession {
  const transport = counted(session.transport, count)
  const changes: Partial<ServerSession> = {
    transport,
    read: async () => {
      const chunk = await session.read()
      count.bytesIn += chunk?.length ?? 0
      return chunk
    },
    write: (chunk) => {
      count.bytesOut += chunk.length
      return session.write(chunk)
    },
    writeStderr: (chunk) => {
      count.bytesOut += chunk.length
      return session.writeStderr(chunk)
    },
    ...(agentForwarding ? {} : { agentForwarding: false, agent: notAllowed }),
    ...(x11Forwarding ? {} : { x11: undefined, openX11: notAllowed }),
    ...(command === undefined
      ? {}
      : {
          kind: 'exec',
          command,
          commandBytes: new TextEncoder().encode(command),
          env: new Map([...session.env, ['SSH_ORIGINAL_COMMAND', session.command]]),
        }),
  }
  return new Proxy(session, {
    get(target, name) {
      if (Object.hasOwn(changes, name)) return Reflect.get(changes, name)
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

function notAllowed(): Promise<never> {
  return Promise.reject(new SshError('SSH_REQUEST_REFUSED', 'not allowed for this key'))
}

/** Tells a client why it cannot have what it asked for. */
export async function refuse(session: ServerSession, why: string): Promise<number> {
  const write = session.pty === undefined ? 'writeStderr' : 'write'
  await session[write](new TextEncoder().encode(`error: ${why}\r\n`)).catch(() => {})
  return 1
}

function endOf(result: ExitResult | undefined): {
  status: number | undefined
  signal: string | undefined
} {
  if (typeof result === 'number') return { status: result, signal: undefined }
  if (result === undefined) return { status: undefined, signal: undefined }
  return 'code' in result
    ? { status: result.code, signal: undefined }
    : { status: undefined, signal: result.signal }
}

/** Calls `gone` once the transport was read to its end and closed, or, with the reason, has failed. */
function untilGone(transport: Transport, gone: (error?: unknown) => void): Transport {
  let open = 2
  const half = (): void => {
    open--
    if (open === 0) gone()
  }
  let readEnded = false
  let closed = false
  return {
    read: async () => {
      try {
        const chunk = await transport.read()
        if (chunk === undefined && !readEnded) {
          readEnded = true
          half()
        }
        return chunk
      } catch (error) {
        gone(error)
        throw error
      }
    },
    write: (chunk) => transport.write(chunk),
    close: () => {
      if (!closed) half()
      closed = true
      return transport.close()
    },
    abort: (reason) => {
      gone()
      transport.abort(reason)
    },
  }
}

/**
 * Whether one of the addresses of `permitopen` covers it; undefined permits everything.
 *
 * @example
 * import { permits } from '@sandbox-ssh/sandbox-bridge'
 *
 * const permitted = [{ host: 'db', port: 5432 }, { host: undefined, port: 443 }]
 * console.log(permits(permitted, 'db', 5432), permits(permitted, 'db', 22)) // true false
 * console.log(permits(permitted, 'example.com', 443)) // true
 */
export function permits(
  permitted: readonly PermittedAddress[] | undefined,
  host: string,
  port: number,
): boolean {
  if (permitted === undefined) return true
  const wanted = host.toLowerCase()
  return permitted.some(
    (address) =>
      (address.host === undefined || address.host.toLowerCase() === wanted) &&
      (address.port === undefined || address.port === port),
  )
}

function prohibited(text: string): never {
  throw new ChannelOpenError(OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED, text)
}
