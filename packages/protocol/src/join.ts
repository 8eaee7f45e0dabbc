/** A channel that the peer opens, joined to a connection that is made for it. */
import type { ChannelOptions } from './channel.ts'
import { ChannelOpenError } from './errors.ts'
import type { Transport } from './io/transport.ts'
import type { Link } from './link.ts'
import type { Event } from './machine/event.ts'
import { splice } from './splice.ts'
import { OPEN_FAILURE } from './wire/numbers.ts'

/** The event of a channel that the peer wants. */
export type ChannelOpen = Extract<Event, { readonly type: 'channel-open' }>

/** How channels behave that are a connection and nothing else. */
export const CONNECTION_CHANNEL: ChannelOptions = { stderr: 'ignore', closeWhenEnded: true }

/**
 * Connects, then accepts the channel and copies both ways until both ended; other channels go on
 * meanwhile. What `connect` throws refuses the channel; never rejects.
 */
export async function joinChannel(
  link: Link,
  event: ChannelOpen,
  connect: () => Transport | Promise<Transport>,
): Promise<void> {
  const { channel: id, channelType } = event
  let target: Transport
  try {
    target = await connect()
  } catch (error) {
    const refusal = error instanceof ChannelOpenError ? error : undefined
    const text = error instanceof Error ? error.message : 'connect failed'
    link.rejectChannel(id, refusal?.reason ?? OPEN_FAILURE.CONNECT_FAILED, text)
    return
  }
  const channel = link.acceptChannel(id, channelType, CONNECTION_CHANNEL)
  if (channel === undefined) {
    target.abort()
    return
  }
  await splice(channel, target, channel.closed)
}

/** Refuses a channel as not allowed. */
export function prohibit(link: Link, event: ChannelOpen, why: string): void {
  link.rejectChannel(event.channel, OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED, why)
}
