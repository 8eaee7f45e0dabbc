/** Remote forwarding on the server's side: what it listens on for a client, until either goes. */
import type { Channel } from './channel.ts'
import {
  CHANNEL_TYPE,
  chosenPort,
  forwardedStreamlocal,
  forwardedTcpip,
  type StreamlocalForward,
  streamlocalForward,
  type TcpipForward,
  tcpipForward,
} from './connection/forwarding.ts'
import { GLOBAL_REQUEST } from './connection/requests.ts'
import type { IncomingConnection, Listener } from './io/listener.ts'
import { FORWARDS_MAX } from './limits.ts'
import type { GlobalAnswer, Link } from './link.ts'
import { splice } from './splice.ts'

/** Decides where a server listens for a client; undefined refuses, as does what it throws. */
export type ForwardHandler<T> = (
  request: T & { readonly username: string },
) => Listener | undefined | Promise<Listener | undefined>

/** What a server lets clients have it listen on. A handler that is absent refuses. */
export interface ForwardHandlers {
  readonly tcpipForward: ForwardHandler<TcpipForward> | undefined
  readonly streamlocalForward: ForwardHandler<Pick<StreamlocalForward, 'path'>> | undefined
  readonly onError: (error: unknown) => void
  /** Who is logged in. */
  readonly username: () => string
}

type Opener = (connection: IncomingConnection) => Promise<Channel>

const NOTHING = new Uint8Array(0)
const CHANNEL = { stderr: 'ignore', closeWhenEnded: true } as const

/** The forwards of one connection. */
export class ServerForwards {
  readonly #link: Link
  readonly #handlers: ForwardHandlers
  /** By what a client cancels them by. */
  readonly #active = new Map<string, Listener>()
  #ended = false

  constructor(link: Link, handlers: ForwardHandlers) {
    this.#link = link
    this.#handlers = handlers
  }

  /**
   * Does what a global request about forwarding asks for: data of the success, or undefined if it
   * is refused or about something else.
   */
  request(name: string, data: Uint8Array): GlobalAnswer | Promise<GlobalAnswer> {
    switch (name) {
      case GLOBAL_REQUEST.TCPIP_FORWARD:
        return this.#forwardTcpip(tcpipForward.decode(data))
      case GLOBAL_REQUEST.CANCEL_TCPIP_FORWARD: {
        const { host, port } = tcpipForward.decode(data)
        return this.#cancel(tcpipKey(host, port))
      }
      case GLOBAL_REQUEST.STREAMLOCAL_FORWARD:
        return this.#forwardStreamlocal(streamlocalForward.decode(data))
      case GLOBAL_REQUEST.CANCEL_STREAMLOCAL_FORWARD:
        return this.#cancel(streamlocalKey(streamlocalForward.decode(data).path))
      default:
        return undefined
    }
  }

  /** The connection is gone: nobody is listened for any more. */
  end(): void {
    this.#ended = true
    for (const listener of this.#active.values()) this.#close(listener)
    this.#active.clear()
  }

  async #forwardTcpip(request: TcpipForward): Promise<GlobalAnswer> {
    const { host, port } = request
    if (port > 65535 || (port !== 0 && this.#active.has(tcpipKey(host, port)))) return undefined
    const listener = await this.#ask(this.#handlers.tcpipForward, request)
    if (listener === undefined) return undefined
    const connectedPort = port === 0 ? (listener.port ?? 0) : port
    if (connectedPort === 0) {
      this.#handlers.onError(new TypeError('the listener for port 0 must tell its port'))
      this.#close(listener)
      return undefined
    }
    const started = this.#start(tcpipKey(host, connectedPort), listener, (connection) => {
      const { originatorHost, originatorPort } = connection
      const origin = { originatorHost, originatorPort }
      const data = forwardedTcpip.encode({ connectedHost: host, connectedPort, ...origin })
      return this.#link.openChannel(CHANNEL_TYPE.FORWARDED_TCPIP, data, CHANNEL)
    })
    if (!started) return undefined
    return port === 0 ? chosenPort.encode({ port: connectedPort }) : NOTHING
  }

  async #forwardStreamlocal({ path }: StreamlocalForward): Promise<GlobalAnswer> {
    if (this.#active.has(streamlocalKey(path))) return undefined
    const listener = await this.#ask(this.#handlers.streamlocalForward, { path })
    if (listener === undefined) return undefined
    const started = this.#start(streamlocalKey(path), listener, () => {
      const data = forwardedStreamlocal.encode({ path, reserved: NOTHING })
      return this.#link.openChannel(CHANNEL_TYPE.FORWARDED_STREAMLOCAL, data, CHANNEL)
    })
    return started ? NOTHING : undefined
  }

  async #ask<T>(handler: ForwardHandler<T> | undefined, request: T): Promise<Listener | undefined> {
    if (handler === undefined || this.#active.size >= FORWARDS_MAX) return undefined
    try {
      return await handler({ ...request, username: this.#handlers.username() })
    } catch (error) {
      this.#handlers.onError(error)
      return undefined
    }
  }

  #start(key: string, listener: Listener, open: Opener): boolean {
    if (this.#ended || this.#active.has(key)) {
      this.#close(listener)
      return false
    }
    this.#active.set(key, listener)
    void this.#acceptAll(key, listener, open)
    return true
  }

  async #acceptAll(key: string, listener: Listener, open: Opener): Promise<void> {
    try {
      for (let next = await listener.accept(); next; next = await listener.accept()) {
        void this.#join(next, open)
      }
    } catch (error) {
      if (this.#active.get(key) === listener) this.#handlers.onError(error)
    }
    if (this.#active.get(key) === listener) {
      this.#active.delete(key)
      this.#close(listener)
    }
  }

  async #join(connection: IncomingConnection, open: Opener): Promise<void> {
    const { transport } = connection
    try {
      const channel = await open(connection)
      await splice(channel, transport, channel.closed)
    } catch (error) {
      // The client would not have it, or has as many channels as it may.
      transport.abort(error)
    }
  }

  #cancel(key: string): GlobalAnswer {
    const listener = this.#active.get(key)
    if (listener === undefined) return undefined
    this.#active.delete(key)
    this.#close(listener)
    return NOTHING
  }

  #close(listener: Listener): void {
    try {
      listener.close().catch(this.#handlers.onError)
    } catch (error) {
      this.#handlers.onError(error)
    }
  }
}

function tcpipKey(host: string, port: number): string {
  return `tcp ${port} ${host}`
}

function streamlocalKey(path: string): string {
  return `unix ${path}`
}
