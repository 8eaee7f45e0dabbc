/** Channels that a client opens to a server and that lead elsewhere: connections made for it. */
import type { ChannelOptions } from './channel.ts'
import {
  CHANNEL_TYPE,
  type DirectTcpip,
  directStreamlocal,
  directTcpip,
} from './connection/forwarding.ts'
import { ChannelOpenError } from './errors.ts'
import type { Transport } from './io/transport.ts'
import type { Link } from './link.ts'
import type { Event } from './machine/event.ts'
import { splice } from './splice.ts'
import { OPEN_FAILURE } from './wire/numbers.ts'

/** The event of a channel that the peer wants. */
export type ChannelOpen = Extract<Event, { readonly type: 'channel-open' }>

/** Where a client wants to be connected to on the server's side, by path. */
export interface StreamlocalTarget {
  readonly path: string
}

/**
 * Connects for a client. The transport is then joined to the channel and ends with it. Throw
 * ChannelOpenError to refuse with its reason; anything else refuses as failed.
 */
export type Connector<T> = (request: T) => Transport | Promise<Transport>

/** What a server connects clients to. A connector that is absent prohibits. */
export interface Connectors {
  readonly directTcpip: Connector<DirectTcpip> | undefined
  readonly directStreamlocal: Connector<StreamlocalTarget> | undefined
}

const JOINED: ChannelOptions = { stderr: 'ignore', closeWhenEnded: true }

/** Connects a channel; others go on meanwhile. False if it is not of a type that leads elsewhere. */
export function openDirect(link: Link, connectors: Connectors, event: ChannelOpen): boolean {
  switch (event.channelType) {
    case CHANNEL_TYPE.DIRECT_TCPIP: {
      const connect = connectors.directTcpip
      void join(link, event, connect && (() => connect(directTcpip.decode(event.typeSpecific))))
      return true
    }
    case CHANNEL_TYPE.DIRECT_STREAMLOCAL: {
      const connect = connectors.directStreamlocal
      const target = (): StreamlocalTarget => {
        const { path } = directStreamlocal.decode(event.typeSpecific)
        return { path }
      }
      void join(link, event, connect && (() => connect(target())))
      return true
    }
    default:
      return false
  }
}

async function join(
  link: Link,
  event: ChannelOpen,
  connect: (() => Transport | Promise<Transport>) | undefined,
): Promise<void> {
  const { channel: id, channelType } = event
  if (connect === undefined) {
    const text = 'forwarding is not allowed'
    link.rejectChannel(id, OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED, text)
    return
  }
  let target: Transport
  try {
    target = await connect()
  } catch (error) {
    const refusal = error instanceof ChannelOpenError ? error : undefined
    const text = error instanceof Error ? error.message : 'connect failed'
    link.rejectChannel(id, refusal?.reason ?? OPEN_FAILURE.CONNECT_FAILED, text)
    return
  }
  const channel = link.acceptChannel(id, channelType, JOINED)
  if (channel === undefined) {
    target.abort()
    return
  }
  await splice(channel, target, channel.closed)
}
