/** Channels that a client opens to a server: connections made for it, and those of other types. */
import type { Channel } from './channel.ts'
import {
  CHANNEL_TYPE,
  type DirectTcpip,
  directStreamlocal,
  directTcpip,
} from './connection/forwarding.ts'
import type { Transport } from './io/transport.ts'
import { type ChannelOpen, CONNECTION_CHANNEL, joinChannel, prohibit } from './join.ts'
import type { Link } from './link.ts'
import { OPEN_FAILURE } from './wire/numbers.ts'

/** Where a client wants to be connected to on the server's side, by path. */
export interface StreamlocalTarget {
  readonly path: string
  /** The user who is logged in, whose rights to the path are meant. */
  readonly username: string
}

/**
 * Connects for a client. The transport is then joined to the channel and ends with it. Throw
 * ChannelOpenError to refuse with its reason; anything else refuses as failed, with its message.
 * `signal` is aborted when the SSH connection ends: nobody waits for the other one any more.
 */
export type Connector<T> = (request: T, signal: AbortSignal) => Transport | Promise<Transport>

/**
 * Serves a channel of a type that this package knows nothing about, which was accepted and is the
 * handler's. What it throws closes the channel.
 */
export type ChannelHandler = (channel: Channel, typeSpecific: Uint8Array) => void | Promise<void>

/** What a server makes of channels; what is absent is prohibited, and types unknown unknown. */
export interface ChannelHandlers {
  readonly username: string
  readonly directTcpip: Connector<DirectTcpip> | undefined
  readonly directStreamlocal: Connector<StreamlocalTarget> | undefined
  readonly channels: Readonly<Record<string, ChannelHandler>> | undefined
  readonly onError: (error: unknown) => void
}

/** Deals with every channel that is not a session. */
export function openOther(link: Link, handlers: ChannelHandlers, event: ChannelOpen): void {
  switch (event.channelType) {
    case CHANNEL_TYPE.DIRECT_TCPIP: {
      const connect = handlers.directTcpip
      if (connect === undefined) return prohibit(link, event, 'forwarding is not allowed')
      void joinChannel(link, event, () =>
        connect(directTcpip.decode(event.typeSpecific), link.signal),
      )
      return
    }
    case CHANNEL_TYPE.DIRECT_STREAMLOCAL: {
      const connect = handlers.directStreamlocal
      if (connect === undefined) return prohibit(link, event, 'forwarding is not allowed')
      void joinChannel(link, event, () => {
        const { path } = directStreamlocal.decode(event.typeSpecific)
        return connect({ path, username: handlers.username }, link.signal)
      })
      return
    }
    default:
      if (openCustom(link, handlers.channels, event, handlers.onError)) return
      link.rejectChannel(event.channel, OPEN_FAILURE.UNKNOWN_CHANNEL_TYPE, 'unknown channel type')
  }
}

/** Hands a channel to the handler for its type; false if there is none. */
export function openCustom(
  link: Link,
  channels: Readonly<Record<string, ChannelHandler>> = {},
  event: ChannelOpen,
  onError: (error: unknown) => void,
): boolean {
  const { channel: id, channelType, typeSpecific } = event
  // The name is the peer's: it must not reach what every object inherits.
  if (!Object.hasOwn(channels, channelType)) return false
  const handler = channels[channelType] as ChannelHandler
  const data = typeSpecific.slice()
  const channel = link.acceptChannel(id, channelType, CONNECTION_CHANNEL)
  if (channel !== undefined) void serveChannel(handler, channel, data, onError)
  return true
}

async function serveChannel(
  handler: ChannelHandler,
  channel: Channel,
  typeSpecific: Uint8Array,
  onError: (error: unknown) => void,
): Promise<void> {
  try {
    await handler(channel, typeSpecific)
  } catch (error) {
    channel.abort(error)
    onError(error)
  }
}
