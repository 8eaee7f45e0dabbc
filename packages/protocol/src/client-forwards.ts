/** Remote forwarding as a client sees it: ports and sockets that the server listens on for us. */
import type { Channel } from './channel.ts'
import {
  chosenPort,
  forwardedStreamlocal,
  forwardedTcpip,
  streamlocalForward,
  tcpipForward,
} from './connection/forwarding.ts'
import { GLOBAL_REQUEST } from './connection/requests.ts'
import { ignore } from './deferred.ts'
import type { SshError } from './errors.ts'
import { Backlog, type IncomingConnection, type Listener } from './io/listener.ts'
import type { Link } from './link.ts'
import type { ChannelId, Event } from './machine/event.ts'
import { type WaitOptions, waitFor } from './wait.ts'
import { OPEN_FAILURE } from './wire/numbers.ts'

/** A channel that the server offers, because somebody connected to it. */
interface Offer {
  readonly channel: ChannelId
  readonly channelType: string
  readonly originatorHost: string
  readonly originatorPort: number
}

/** A connection to a forwarded port or socket. The originator is what the server claims. */
export interface RemoteConnection extends IncomingConnection {
  readonly transport: Channel
}

/** What a listener needs of the forwards it belongs to. */
interface Forward {
  readonly host: string
  readonly port: number
  readonly path: string | undefined
  readonly accept: (offer: Offer) => Channel | undefined
  readonly reject: (offer: Offer) => void
  readonly cancel: (listener: RemoteListener) => Promise<void>
}

/** Internal: how the connection hands over what the server offers, and tells of its end. */
let offerTo: (listener: RemoteListener, offer: Offer) => boolean
let endOf: (listener: RemoteListener, error: SshError | undefined) => void

/**
 * A port or Unix socket that the server listens on for us, made by `Client.listen` and
 * `Client.listenStreamlocal`. Iterating over it gives the connections; at most 64 wait to be
 * accepted, more are refused. It ends with the connection.
 *
 * @example
 * import { createServer } from 'node:net'
 * import { nodeListener } from '@sandbox-ssh/protocol'
 * import { createConnection } from 'node:net'
 *
 * // The server opens a real port for us; port 0 lets it choose.
 * const client = await pair({
 *   tcpipForward: ({ host, port }) =>
 *     nodeListener(createServer({ allowHalfOpen: true }).listen(port, host)),
 * })
 * const listener = await client.listen('127.0.0.1', 0)
 * const visitor = createConnection(listener.port, '127.0.0.1').end('knock')
 * const connection = await listener.accept()
 * console.log(new TextDecoder().decode(await connection?.transport.read())) // knock
 * await connection?.transport.close()
 * visitor.destroy()
 * await listener.close()
 * await client.close()
 */
export class RemoteListener implements Listener, AsyncIterable<RemoteConnection> {
  static {
    offerTo = (listener, offer) => listener.#backlog.offer(offer)
    endOf = (listener, error) => listener.#backlog.end(error)
  }

  /** The address asked for; empty for a Unix socket. */
  readonly host: string
  /** The port that listens, chosen by the server if 0 was asked for; 0 for a Unix socket. */
  readonly port: number
  /** The path of a Unix socket. */
  readonly path: string | undefined
  readonly #forward: Forward
  readonly #backlog: Backlog<Offer>
  #closing: Promise<void> | undefined

  /** Internal: made by the client. */
  constructor(forward: Forward) {
    this.host = forward.host
    this.port = forward.port
    this.path = forward.path
    this.#forward = forward
    this.#backlog = new Backlog((offer) => forward.reject(offer))
  }

  /**
   * The next connection, or undefined after `close`. Rejects with what ended the SSH connection if
   * that was not `close`. One call at a time; one given up by its signal loses no connection.
   */
  async accept({ signal }: WaitOptions = {}): Promise<RemoteConnection | undefined> {
    for (;;) {
      const offer = await this.#backlog.accept(signal)
      if (offer === undefined) return undefined
      const transport = this.#forward.accept(offer)
      if (transport === undefined) continue
      const { originatorHost, originatorPort } = offer
      return { transport, originatorHost, originatorPort }
    }
  }

  /**
   * Has the server stop listening. Connections that were accepted go on. Rejects with SshError
   * `SSH_REQUEST_REFUSED` if the server would not; ours are refused from now on all the same. A signal
   * ends only the waiting for its answer.
   */
  close({ signal }: WaitOptions = {}): Promise<void> {
    this.#backlog.end()
    this.#closing ??= this.#forward.cancel(this)
    return waitFor(this.#closing, { signal, what: 'closing a listener' })
  }

  /** Closes it when the loop is left. */
  async *[Symbol.asyncIterator](): AsyncGenerator<RemoteConnection, void, undefined> {
    try {
      for (let next = await this.accept(); next !== undefined; next = await this.accept()) {
        yield next
      }
    } finally {
      await this.close()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** The forwards of one connection. A channel that belongs to none of them is refused. */
export class RemoteForwards {
  readonly #link: Link
  readonly #listeners = new Set<RemoteListener>()
  /** Those whose port the server chose. */
  readonly #chosen = new WeakSet<RemoteListener>()

  constructor(link: Link) {
    this.#link = link
  }

  /** See `Client.listen`. */
  listen(host: string, port: number, wait: WaitOptions): Promise<RemoteListener> {
    const { TCPIP_FORWARD, CANCEL_TCPIP_FORWARD } = GLOBAL_REQUEST
    const request = tcpipForward.encode({ host, port })
    return this.#listen(TCPIP_FORWARD, request, wait, (reply) => {
      const chosen = port === 0 ? chosenPort.decode(reply).port : port
      const cancel = tcpipForward.encode({ host, port: chosen })
      const where = { host, port: chosen, path: undefined }
      const listener = this.#listener(where, CANCEL_TCPIP_FORWARD, cancel)
      if (port === 0) this.#chosen.add(listener)
      return listener
    })
  }

  /** See `Client.listenStreamlocal`. */
  listenStreamlocal(path: string, wait: WaitOptions): Promise<RemoteListener> {
    const { STREAMLOCAL_FORWARD, CANCEL_STREAMLOCAL_FORWARD } = GLOBAL_REQUEST
    const request = streamlocalForward.encode({ path })
    return this.#listen(STREAMLOCAL_FORWARD, request, wait, () =>
      this.#listener({ host: '', port: 0, path }, CANCEL_STREAMLOCAL_FORWARD, request),
    )
  }

  /** Hands a `forwarded-…` channel to its listener, or refuses it. Throws SshError if malformed. */
  openTcpip(event: Extract<Event, { readonly type: 'channel-open' }>): void {
    const { connectedHost, connectedPort, originatorHost, originatorPort } = forwardedTcpip.decode(
      event.typeSpecific,
    )
    const { channel, channelType } = event
    // AsyncSSH tells the 0 of our request where it should tell the port that it chose.
    const onPort = [...this.#listeners].filter(
      (listener) =>
        listener.path === undefined &&
        (connectedPort === 0 ? this.#chosen.has(listener) : listener.port === connectedPort),
    )
    // Some servers tell the address that was connected to, not the one that was asked for.
    const listener =
      onPort.find(({ host }) => host === connectedHost) ??
      (onPort.length === 1 ? onPort[0] : undefined)
    this.#hand(listener, { channel, channelType, originatorHost, originatorPort })
  }

  /** The same for a socket. */
  openStreamlocal(event: Extract<Event, { readonly type: 'channel-open' }>): void {
    const { path } = forwardedStreamlocal.decode(event.typeSpecific)
    const { channel, channelType } = event
    const listener = [...this.#listeners].find((known) => known.path === path)
    this.#hand(listener, { channel, channelType, originatorHost: '', originatorPort: 0 })
  }

  /** The connection is gone; `error` is absent if we closed it. */
  end(error: SshError | undefined): void {
    for (const listener of this.#listeners) endOf(listener, error)
    this.#listeners.clear()
  }

  /** Makes the listener within the reply: what somebody connects to at once follows it closely. */
  async #listen(
    name: string,
    request: Uint8Array,
    { signal }: WaitOptions,
    make: (reply: Uint8Array) => RemoteListener,
  ): Promise<RemoteListener> {
    let made: RemoteListener | undefined
    let givenUp = false
    const onReply = (reply: Uint8Array): void => {
      made = make(reply)
      this.#listeners.add(made)
      // Nobody waits for it any more, so nobody would ever close it.
      if (givenUp) made.close().catch(ignore)
    }
    try {
      await this.#link.globalRequest(name, request, { signal, onReply })
    } catch (error) {
      givenUp = true
      made?.close().catch(ignore)
      throw error
    }
    return made as RemoteListener
  }

  #listener(
    where: Pick<Forward, 'host' | 'port' | 'path'>,
    cancelName: string,
    cancelData: Uint8Array,
  ): RemoteListener {
    return new RemoteListener({
      ...where,
      accept: ({ channel, channelType }) =>
        this.#link.acceptChannel(channel, channelType, {
          stderr: 'ignore',
          closeWhenEnded: true,
        }),
      reject: ({ channel }) => this.#reject(channel, 'no longer forwarded'),
      cancel: async (listener) => {
        // Once the connection is gone there is nothing to cancel.
        if (this.#listeners.delete(listener)) await this.#link.globalRequest(cancelName, cancelData)
      },
    })
  }

  #hand(listener: RemoteListener | undefined, offer: Offer): void {
    if (listener === undefined) this.#reject(offer.channel, 'no such forward was asked for')
    else if (!offerTo(listener, offer)) {
      this.#link.rejectChannel(
        offer.channel,
        OPEN_FAILURE.RESOURCE_SHORTAGE,
        'too many connections wait',
      )
    }
  }

  #reject(channel: ChannelId, why: string): void {
    this.#link.rejectChannel(channel, OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED, why)
  }
}
