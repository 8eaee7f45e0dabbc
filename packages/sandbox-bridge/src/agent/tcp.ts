/** A TCP connection made from inside the guest. */
import type { Transport } from '@sandbox-ssh/protocol'
import { AgentError, parseErrno } from './error.ts'
import { Inbox } from './inbox.ts'
import { InputPacer } from './input-pacer.ts'
import { tcpRoom } from './input-room.ts'
import type { Link, Session } from './link.ts'
import type { Message } from './messages.ts'

/** Bytes a guest with `window` may have under way. */
const WINDOW_BYTES = 256 * 1024
/**
 * Bytes held for a reader that does not read, from a guest that cannot be told to wait. Not reading
 * the carrier instead would stall every session of the sandbox.
 */
const HELD_BYTES_MAX = 64 * 1024 * 1024

/** What else is to be known of a connection. */
export interface TcpOptions {
  /** Hears, at once, that it was given up because nobody read what came. */
  readonly onOverflow?: ((error: AgentError) => void) | undefined
}

/**
 * The guest's end of a TCP connection as a transport: `close` ends our direction, the other goes
 * on; after both ends the agent is told to forget it, which it never does by itself.
 */
export class AgentTcp implements Transport, Session {
  readonly #link: Link
  readonly #id: number
  readonly #inbox: Inbox
  readonly #output: InputPacer
  readonly #onOverflow: (error: AgentError) => void
  #connected: { resolve(tcp: AgentTcp): void; reject(error: Error): void } | undefined
  #closing = false
  #sentEof = false
  #receivedEof = false
  #ended = false
  #failure: Error | undefined
  #owedCredit = 0

  private constructor(link: Link, id: number, port: number, options: TcpOptions) {
    this.#link = link
    this.#id = id
    this.#onOverflow = options.onOverflow ?? (() => {})
    this.#inbox = new Inbox({
      held: link.held,
      onTaken: (count) => this.#taken(count),
      onOverflow: () =>
        this.#overflow('the connection to the agent holds too much for its readers'),
    })
    this.#output = new InputPacer(link, id, 'core.tcp.data', tcpRoom(link, port))
  }

  /** For `AgentClient`: sends the request. `opened` registers the session before anything comes. */
  static connect(
    link: Link,
    id: number,
    host: string,
    port: number,
    options: TcpOptions,
    opened: (session: AgentTcp) => void,
  ): Promise<AgentTcp> {
    const tcp = new AgentTcp(link, id, port, options)
    opened(tcp)
    return new Promise((resolve, reject) => {
      tcp.#connected = { resolve, reject }
      const window = link.has('window') ? { window: WINDOW_BYTES } : {}
      link.send(id, 'core.tcp.connect', { host, port, ...window }).catch((error) => {
        link.release(id)
        tcp.#fail(error)
      })
    })
  }

  /** Next chunk, or undefined once the peer ended its side. @throws AgentError `tcp`, `closed` */
  read(): Promise<Uint8Array | undefined> {
    return this.#inbox.read()
  }

  /** Resolves at the pace the guest takes the bytes. @throws AgentError `tcp`, `closed` */
  async write(chunk: Uint8Array): Promise<void> {
    if (this.#closing) throw new TypeError('write after close')
    await this.#output.write(chunk)
    if (this.#failure !== undefined) throw this.#failure
  }

  /** Ends our direction behind everything written. */
  close(): Promise<void> {
    if (this.#closing) return Promise.resolve()
    this.#closing = true
    return this.#output.finish(async () => {
      await this.#link.send(this.#id, 'core.tcp.eof', {})
      this.#sentEof = true
      this.#finishIfBothEnded()
    })
  }

  /** Drops the connection at once. */
  abort(reason?: unknown): void {
    if (this.#ended) return
    const error =
      reason instanceof AgentError
        ? reason
        : new AgentError('aborted', 'TCP connection aborted', { cause: reason })
    this.#forget()
    this.#fail(error)
  }

  /** For `AgentClient`. */
  handle(message: Message): void {
    switch (message.type) {
      case 'core.tcp.connected':
        this.#connected?.resolve(this)
        this.#connected = undefined
        break
      case 'core.tcp.data':
        this.#inbox.push(message.payload.data)
        if (this.#inbox.bufferedBytes > HELD_BYTES_MAX) {
          this.#overflow(`TCP data exceeds ${HELD_BYTES_MAX} unread bytes`)
        }
        break
      case 'core.tcp.eof':
        this.#receivedEof = true
        this.#inbox.end()
        this.#finishIfBothEnded()
        break
      case 'core.tcp.closed':
        this.#fail(new AgentError('tcp', 'the guest closed the TCP connection'))
        break
      case 'core.tcp.failed': {
        const { error } = message.payload
        this.#fail(new AgentError('tcp', error, { errno: parseErrno(error) }))
        break
      }
      case 'core.error':
        this.#fail(new AgentError(message.payload.kind, message.payload.message))
        break
      default:
    }
  }

  /** For `AgentClient`. */
  lost(error: Error): void {
    this.#fail(error)
  }

  /** What was held goes at once: whoever did not read it may never do. */
  #overflow(why: string): void {
    const error = new AgentError('limit', why)
    this.#inbox.break(error)
    if (!this.#ended) {
      this.#forget()
      this.#fail(error)
    }
    this.#onOverflow(error)
  }

  #taken(count: number): void {
    if (this.#ended || this.#receivedEof || !this.#link.has('window')) return
    this.#owedCredit += count
    if (this.#owedCredit < WINDOW_BYTES / 2) return
    const credit = this.#owedCredit
    this.#owedCredit = 0
    this.#link.ping({ session: this.#id, credit }).catch(() => {})
  }

  #finishIfBothEnded(): void {
    if (this.#sentEof && this.#receivedEof && !this.#ended) {
      this.#forget()
      this.#output.close()
    }
  }

  #forget(): void {
    this.#ended = true
    this.#link.send(this.#id, 'core.tcp.close', {}).catch(() => {})
    this.#link.release(this.#id)
  }

  #fail(error: Error): void {
    this.#ended = true
    this.#failure ??= error
    this.#connected?.reject(error)
    this.#connected = undefined
    this.#inbox.fail(error)
    this.#output.close()
  }
}
