/** Channels that a server opens to a client: what nobody asked for is refused. */
import { RemoteForwards } from './client-forwards.ts'
import { CHANNEL_TYPE } from './connection/forwarding.ts'
import type { SshError } from './errors.ts'
import type { Link } from './link.ts'
import type { Event } from './machine/event.ts'
import { OPEN_FAILURE } from './wire/numbers.ts'

/** The event of a channel that the peer wants. */
type ChannelOpen = Extract<Event, { readonly type: 'channel-open' }>

/** Channel types that exist, but that this side never asked for. */
const UNWANTED: ReadonlySet<string> = new Set([
  'x11',
  'auth-agent@openssh.com',
  CHANNEL_TYPE.SESSION,
])

/** Decides about each channel that the server wants. */
export class IncomingChannels {
  readonly forwards: RemoteForwards
  readonly #link: Link

  constructor(link: Link) {
    this.#link = link
    this.forwards = new RemoteForwards(link)
  }

  /** Accepts it, hands it to who asked for it, or refuses it. */
  open(event: ChannelOpen): void {
    const { channel, channelType } = event
    try {
      switch (channelType) {
        case CHANNEL_TYPE.FORWARDED_TCPIP:
          return this.forwards.openTcpip(event)
        case CHANNEL_TYPE.FORWARDED_STREAMLOCAL:
          return this.forwards.openStreamlocal(event)
        default: {
          const known = UNWANTED.has(channelType)
          return this.#link.rejectChannel(
            channel,
            known ? OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED : OPEN_FAILURE.UNKNOWN_CHANNEL_TYPE,
            known ? 'not allowed' : 'unknown channel type',
          )
        }
      }
    } catch {
      // Only decoding what came with it throws: nothing a channel could be made of.
      this.#link.rejectChannel(channel, OPEN_FAILURE.CONNECT_FAILED, 'malformed request')
    }
  }

  /** The connection is gone; `error` is absent if we closed it. */
  end(error: SshError | undefined): void {
    this.forwards.end(error)
  }
}
