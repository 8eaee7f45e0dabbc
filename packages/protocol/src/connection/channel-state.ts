/** What the multiplexer knows of one channel: RFC 4254 §5. */
import type { ReceiveWindow, SendWindow } from './window.ts'

/** The peer's side of a channel, known once it is open. */
export interface PeerEnd {
  /** The peer's channel number. */
  readonly id: number
  readonly window: SendWindow
  /** Most data bytes in one message to it. */
  readonly packetBytes: number
}

/** How far a direction of an open channel has come; CLOSE ends both EOF and data. */
export type Direction = 'open' | 'eof' | 'closed'

/** One row of the channel table. */
export interface ChannelState {
  /** Our channel number. */
  readonly id: number
  readonly channelType: string
  readonly receiveWindow: ReceiveWindow
  status: /** Our CHANNEL_OPEN is out; `abandoned` closes it as soon as it is confirmed. */
    | { readonly phase: 'opening'; abandoned: boolean }
    /** The peer's CHANNEL_OPEN waits for our answer. */
    | { readonly phase: 'offered'; readonly peer: PeerEnd }
    | { readonly phase: 'open'; readonly peer: PeerEnd; sending: Direction; receiving: Direction }
  /** Requests of ours that wait for a reply. */
  pendingReplies: number
  /** Requests of the peer that wait for our answer. */
  unanswered: number
}
