/** Channels that a server opens to a client: what nobody asked for is refused. */
import type { Channel } from './channel.ts'
import { RemoteForwards } from './client-forwards.ts'
import { CHANNEL_TYPE, type X11Origin, x11 } from './connection/forwarding.ts'
import { ignore } from './deferred.ts'
import type { SshError } from './errors.ts'
import type { Transport } from './io/transport.ts'
import { type ChannelOpen, joinChannel, prohibit } from './join.ts'
import type { Link } from './link.ts'
import { type ChannelHandler, openCustom } from './server-channels.ts'
import { OPEN_FAILURE } from './wire/numbers.ts'

/** What a client lets its server reach, once a session has asked for it. */
export interface ClientChannelHandlers {
  /** Connects to an agent. */
  readonly agentForward: (() => Transport | Promise<Transport>) | undefined
  /** Connects to an X server. */
  readonly x11: ((origin: X11Origin) => Transport | Promise<Transport>) | undefined
  /** By channel type. */
  readonly channels: Readonly<Record<string, ChannelHandler>> | undefined
}

/** Decides about each channel that the server wants. */
export class IncomingChannels {
  readonly forwards: RemoteForwards
  readonly #link: Link
  readonly #handlers: ClientChannelHandlers
  /** Sessions that asked for the agent and are open. */
  readonly #agentSessions = new Set<Channel>()
  /** Sessions that asked for X11, and whether for one connection only. */
  readonly #x11Sessions = new Map<Channel, boolean>()

  constructor(link: Link, handlers: ClientChannelHandlers) {
    this.#link = link
    this.#handlers = handlers
    this.forwards = new RemoteForwards(link)
  }

  /** The server may use the agent until `session` is closed. */
  permitAgent(session: Channel): void {
    this.#agentSessions.add(session)
    void session.closed.then(() => this.#agentSessions.delete(session))
  }

  /** The server may connect to the X server until `session` is closed, or once. */
  permitX11(session: Channel, singleConnection: boolean): void {
    this.#x11Sessions.set(session, singleConnection)
    void session.closed.then(() => this.#x11Sessions.delete(session))
  }

  /** Accepts it, hands it to who asked for it, or refuses it. */
  open(event: ChannelOpen): void {
    try {
      this.#open(event)
    } catch {
      // Only decoding what came with it throws: nothing that anybody could have asked for.
      prohibit(this.#link, event, 'malformed request')
    }
  }

  /** The connection is gone; `error` is absent if we closed it. */
  end(error: SshError | undefined): void {
    this.forwards.end(error)
  }

  #open(event: ChannelOpen): void {
    const { channel, channelType } = event
    const { agentForward, x11: connectX11, channels } = this.#handlers
    switch (channelType) {
      case CHANNEL_TYPE.FORWARDED_TCPIP:
        return this.forwards.openTcpip(event)
      case CHANNEL_TYPE.FORWARDED_STREAMLOCAL:
        return this.forwards.openStreamlocal(event)
      case CHANNEL_TYPE.AGENT:
        if (agentForward === undefined || this.#agentSessions.size === 0) {
          return prohibit(this.#link, event, 'no agent was forwarded')
        }
        void joinChannel(this.#link, event, agentForward)
        return
      case CHANNEL_TYPE.X11: {
        const origin = x11.decode(event.typeSpecific)
        if (connectX11 === undefined || !this.#takeX11()) {
          return prohibit(this.#link, event, 'X11 was not forwarded')
        }
        void joinChannel(this.#link, event, () => connectX11(origin))
        return
      }
      case CHANNEL_TYPE.SESSION:
        return prohibit(this.#link, event, 'a client serves no sessions')
      default:
        if (openCustom(this.#link, channels, event, ignore)) return
        this.#link.rejectChannel(channel, OPEN_FAILURE.UNKNOWN_CHANNEL_TYPE, 'unknown channel type')
    }
  }

  /** Whether some session still permits an X11 connection; uses up one that permits but one. */
  #takeX11(): boolean {
    for (const [session, single] of this.#x11Sessions) {
      if (single) this.#x11Sessions.delete(session)
      return true
    }
    return false
  }
}
