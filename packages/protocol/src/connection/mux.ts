/** The connection protocol: the table of channels, data in turns, global requests. RFC 4254. */
import { assert } from '../assert.ts'
import { SshError } from '../errors.ts'
import {
  CHANNEL_PACKET_BYTES,
  CHANNEL_SEND_BYTES,
  PENDING_REQUESTS_MAX,
  UNANSWERED_REQUESTS_MAX,
} from '../limits.ts'
import type { Context } from '../machine/context.ts'
import type { ChannelId } from '../machine/event.ts'
import {
  channelClose,
  channelEof,
  channelFailure,
  channelOpen,
  channelOpenConfirmation,
  channelOpenFailure,
  channelRequest,
  channelSuccess,
  channelWindowAdjust,
  globalRequest,
  requestFailure,
  requestSuccess,
} from '../wire/connection.ts'
import {
  CHANNEL_DATA_HEADER_BYTES,
  CHANNEL_EXTENDED_DATA_HEADER_BYTES,
  dataOf,
  getUint32,
  recipientOf,
  writeChannelData,
} from '../wire/fast.ts'
import { MSG, OPEN_FAILURE } from '../wire/numbers.ts'
import type { ChannelState, PeerEnd } from './channel-state.ts'
import { ReceiveWindow, SendWindow } from './window.ts'

const NOTHING = new Uint8Array(0)

type OpenStatus = Extract<ChannelState['status'], { readonly phase: 'open' }>
type OpeningStatus = Extract<ChannelState['status'], { readonly phase: 'opening' }>

/** Limits, and the way to the packets. */
export interface MuxOptions {
  readonly windowBytes: number
  readonly channelsMax: number
  /** How many more bytes of channel data may be queued now; 0 during a key exchange. */
  readonly outputRoom: () => number
  /** Queues one packet whose payload `fill` writes in place. */
  readonly build: (length: number, fill: (target: Uint8Array, at: number) => void) => void
}

/** The channels of one connection, and whose data is next. */
export class Mux {
  readonly #context: Context
  readonly #options: MuxOptions
  readonly #channels: Map<ChannelId, ChannelState> = new Map()
  /** Channels with data that could not all go out, in the order of their turns. */
  readonly #waiting: Set<ChannelState> = new Set()
  #nextId = 0
  #pendingGlobals = 0
  #unansweredGlobals = 0

  constructor(context: Context, options: MuxOptions) {
    this.#context = context
    this.#options = options
  }

  /** Takes a message of 80 to 100. */
  receive(payload: Uint8Array): void {
    switch (payload[0]) {
      case MSG.CHANNEL_DATA:
        return this.#receiveData(payload, CHANNEL_DATA_HEADER_BYTES)
      case MSG.CHANNEL_EXTENDED_DATA:
        return this.#receiveData(payload, CHANNEL_EXTENDED_DATA_HEADER_BYTES)
      case MSG.CHANNEL_WINDOW_ADJUST:
        return this.#receiveWindowAdjust(payload)
      case MSG.CHANNEL_EOF:
        return this.#receiveEof(payload)
      case MSG.CHANNEL_CLOSE:
        return this.#receiveClose(payload)
      case MSG.CHANNEL_REQUEST:
        return this.#receiveRequest(payload)
      case MSG.CHANNEL_SUCCESS:
      case MSG.CHANNEL_FAILURE:
        return this.#receiveReply(payload)
      case MSG.CHANNEL_OPEN:
        return this.#receiveOpen(payload)
      case MSG.CHANNEL_OPEN_CONFIRMATION:
        return this.#receiveConfirmation(payload)
      case MSG.CHANNEL_OPEN_FAILURE:
        return this.#receiveOpenFailure(payload)
      case MSG.GLOBAL_REQUEST:
        return this.#receiveGlobalRequest(payload)
      default:
        return this.#receiveGlobalReply(payload)
    }
  }

  /**
   * A channel that waited and may send again, in turn; asked only when nothing else is to be told,
   * so that turns follow the room in the output.
   */
  nextWritable(): ChannelId | undefined {
    if (this.#waiting.size === 0 || this.#options.outputRoom() <= 0) return undefined
    for (const channel of this.#waiting) {
      const { status } = channel
      if (status.phase !== 'open' || status.sending !== 'open') this.#waiting.delete(channel)
      else if (status.peer.window.bytes > 0) {
        this.#waiting.delete(channel)
        return channel.id
      }
    }
    return undefined
  }

  // Channels

  open(channelType: string, typeSpecific: Uint8Array): ChannelId {
    if (this.#channels.size >= this.#options.channelsMax) {
      throw new SshError('SSH_LIMIT', `${this.#channels.size} channels are open already`)
    }
    const channel = this.#add(channelType, { phase: 'opening', abandoned: false })
    this.#context.send(
      channelOpen.encode({
        channelType,
        senderChannel: channel.id,
        initialWindowSize: channel.receiveWindow.size,
        maximumPacketSize: CHANNEL_PACKET_BYTES,
        typeSpecific,
      }),
    )
    return channel.id
  }

  accept(id: ChannelId, typeSpecific: Uint8Array): void {
    const channel = this.#channels.get(id)
    if (channel?.status.phase !== 'offered') return
    const { peer } = channel.status
    channel.status = { phase: 'open', peer, sending: 'open', receiving: 'open' }
    this.#context.send(
      channelOpenConfirmation.encode({
        recipientChannel: peer.id,
        senderChannel: id,
        initialWindowSize: channel.receiveWindow.size,
        maximumPacketSize: CHANNEL_PACKET_BYTES,
        typeSpecific,
      }),
    )
  }

  reject(id: ChannelId, reasonCode: number, description: string): void {
    const channel = this.#channels.get(id)
    if (channel?.status.phase !== 'offered') return
    this.#channels.delete(id)
    this.#sendOpenFailure(channel.status.peer.id, reasonCode, description)
  }

  /** See `Machine.sendData`. */
  sendData(id: ChannelId, data: Uint8Array, extended: number): number {
    const channel = this.#channels.get(id)
    const status = channel?.status
    if (channel === undefined || status?.phase !== 'open' || status.sending !== 'open') return 0
    const { peer } = status
    // While others wait, a turn is one packet; alone, a channel may fill the output.
    const turn = this.#waiting.size > 0 ? peer.packetBytes : Number.POSITIVE_INFINITY
    let granted = 0
    let left = Math.min(data.length, peer.window.bytes, this.#options.outputRoom(), turn)
    while (left > 0) {
      const bytes = Math.min(left, peer.packetBytes)
      const piece = data.subarray(granted, granted + bytes)
      this.#sendPiece(peer, piece, extended)
      granted += bytes
      left -= bytes
    }
    if (granted < data.length) this.#waiting.add(channel)
    return granted
  }

  sendEof(id: ChannelId): void {
    const status = this.#open(id)
    if (status?.sending !== 'open') return
    status.sending = 'eof'
    this.#context.send(channelEof.encode({ recipientChannel: status.peer.id }))
  }

  close(id: ChannelId): void {
    const channel = this.#channels.get(id)
    if (channel === undefined) return
    const { status } = channel
    switch (status.phase) {
      case 'opening':
        status.abandoned = true
        return
      case 'offered':
        return this.reject(id, OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED, 'closed')
      case 'open':
        if (status.sending === 'closed') return
        status.sending = 'closed'
        this.#context.send(channelClose.encode({ recipientChannel: status.peer.id }))
    }
  }

  consume(id: ChannelId, bytes: number): void {
    const channel = this.#channels.get(id)
    if (channel?.status.phase !== 'open') return
    this.#credit(channel.status, channel.receiveWindow.consume(bytes))
  }

  /** See `Machine.widen`. */
  widen(id: ChannelId, windowBytes: number): void {
    const channel = this.#channels.get(id)
    if (channel?.status.phase !== 'open') return
    this.#credit(channel.status, channel.receiveWindow.widen(windowBytes))
  }

  request(id: ChannelId, requestType: string, data: Uint8Array, wantReply: boolean): void {
    const status = this.#open(id)
    const channel = this.#channels.get(id)
    if (channel === undefined || status === undefined || status.sending === 'closed') return
    if (wantReply) {
      if (channel.pendingReplies >= PENDING_REQUESTS_MAX) {
        throw new SshError('SSH_LIMIT', `${channel.pendingReplies} requests wait for a reply`)
      }
      channel.pendingReplies++
    }
    this.#context.send(
      channelRequest.encode({
        recipientChannel: status.peer.id,
        requestType,
        wantReply,
        requestSpecific: data,
      }),
    )
  }

  answer(id: ChannelId, ok: boolean): void {
    const channel = this.#channels.get(id)
    const status = this.#open(id)
    if (channel === undefined || status === undefined || channel.unanswered === 0) return
    channel.unanswered--
    if (status.sending === 'closed') return
    const reply = ok ? channelSuccess : channelFailure
    this.#context.send(reply.encode({ recipientChannel: status.peer.id }))
  }

  // Global requests

  requestGlobal(requestName: string, data: Uint8Array, wantReply: boolean): void {
    if (wantReply) {
      if (this.#pendingGlobals >= PENDING_REQUESTS_MAX) {
        throw new SshError('SSH_LIMIT', `${this.#pendingGlobals} requests wait for a reply`)
      }
      this.#pendingGlobals++
    }
    this.#context.send(globalRequest.encode({ requestName, wantReply, requestSpecific: data }))
  }

  answerGlobal(ok: boolean, data: Uint8Array): void {
    if (this.#unansweredGlobals === 0) return
    this.#unansweredGlobals--
    this.#context.send(
      ok ? requestSuccess.encode({ responseSpecific: data }) : requestFailure.encode({}),
    )
  }

  // From the peer

  #receiveData(payload: Uint8Array, header: number): void {
    const { channel, status } = this.#addressed(payload)
    const data = dataOf(payload, header)
    if (status.receiving !== 'open') {
      throw new SshError('SSH_PROTOCOL', 'channel data after EOF')
    }
    if (data.length > CHANNEL_PACKET_BYTES) {
      throw new SshError(
        'SSH_PROTOCOL',
        `${data.length} bytes of channel data in one message, ${CHANNEL_PACKET_BYTES} are allowed`,
      )
    }
    channel.receiveWindow.receive(data.length)
    // After our CLOSE nobody listens any more; the peer's is on its way.
    if (data.length === 0 || status.sending === 'closed') return
    const extended = header === CHANNEL_DATA_HEADER_BYTES ? 0 : getUint32(payload, 5)
    this.#context.emit({ type: 'channel-data', channel: channel.id, data, extended })
  }

  #receiveWindowAdjust(payload: Uint8Array): void {
    const { bytesToAdd } = channelWindowAdjust.decode(payload)
    this.#addressed(payload).status.peer.window.add(bytesToAdd)
  }

  #receiveEof(payload: Uint8Array): void {
    channelEof.decode(payload)
    const { channel, status } = this.#addressed(payload)
    // rclone sends one with every half of a shutdown; it says nothing new and harms nobody.
    if (status.receiving !== 'open') return
    status.receiving = 'eof'
    if (status.sending !== 'closed') {
      this.#context.emit({ type: 'channel-eof', channel: channel.id })
    }
  }

  #receiveClose(payload: Uint8Array): void {
    channelClose.decode(payload)
    const { channel, status } = this.#addressed(payload)
    status.receiving = 'closed'
    this.close(channel.id)
    this.#remove(channel)
    this.#context.emit({ type: 'channel-closed', channel: channel.id })
  }

  #receiveRequest(payload: Uint8Array): void {
    const { requestType, wantReply, requestSpecific } = channelRequest.decode(payload)
    const { channel, status } = this.#addressed(payload)
    if (status.sending === 'closed') return
    if (wantReply && ++channel.unanswered > UNANSWERED_REQUESTS_MAX) {
      throw new SshError('SSH_LIMIT', `${UNANSWERED_REQUESTS_MAX} requests without a reply yet`)
    }
    this.#context.emit({
      type: 'channel-request',
      channel: channel.id,
      request: requestType,
      data: requestSpecific,
      wantReply,
    })
  }

  #receiveReply(payload: Uint8Array): void {
    const ok = payload[0] === MSG.CHANNEL_SUCCESS
    ;(ok ? channelSuccess : channelFailure).decode(payload)
    const { channel } = this.#addressed(payload)
    // A reply to nothing is a peer that answers what wanted no answer; it shifts nothing here.
    if (channel.pendingReplies === 0) return
    channel.pendingReplies--
    this.#context.emit({ type: 'channel-reply', channel: channel.id, ok })
  }

  #receiveOpen(payload: Uint8Array): void {
    const open = channelOpen.decode(payload)
    if (open.maximumPacketSize === 0) {
      throw new SshError('SSH_PROTOCOL', 'a channel whose packets hold nothing')
    }
    if (this.#channels.size >= this.#options.channelsMax) {
      this.#sendOpenFailure(
        open.senderChannel,
        OPEN_FAILURE.RESOURCE_SHORTAGE,
        `${this.#channels.size} channels are open`,
      )
      return
    }
    const channel = this.#add(open.channelType, { phase: 'offered', peer: peerEnd(open) })
    this.#context.emit({
      type: 'channel-open',
      channel: channel.id,
      channelType: open.channelType,
      typeSpecific: open.typeSpecific,
    })
  }

  #receiveConfirmation(payload: Uint8Array): void {
    const confirmation = channelOpenConfirmation.decode(payload)
    const { channel, status } = this.#opening(confirmation.recipientChannel)
    if (confirmation.maximumPacketSize === 0) {
      throw new SshError('SSH_PROTOCOL', 'a channel whose packets hold nothing')
    }
    channel.status = {
      phase: 'open',
      peer: peerEnd(confirmation),
      sending: 'open',
      receiving: 'open',
    }
    if (status.abandoned) return this.close(channel.id)
    this.#context.emit({
      type: 'channel-opened',
      channel: channel.id,
      typeSpecific: confirmation.typeSpecific,
    })
  }

  #receiveOpenFailure(payload: Uint8Array): void {
    const { recipientChannel, reasonCode, description } = channelOpenFailure.decode(payload)
    const { channel } = this.#opening(recipientChannel)
    this.#remove(channel)
    this.#context.emit({
      type: 'channel-open-failed',
      channel: channel.id,
      reason: reasonCode,
      description,
    })
  }

  #receiveGlobalRequest(payload: Uint8Array): void {
    const { requestName, wantReply, requestSpecific } = globalRequest.decode(payload)
    if (wantReply && ++this.#unansweredGlobals > UNANSWERED_REQUESTS_MAX) {
      throw new SshError('SSH_LIMIT', `${UNANSWERED_REQUESTS_MAX} requests without a reply yet`)
    }
    this.#context.emit({
      type: 'global-request',
      request: requestName,
      data: requestSpecific,
      wantReply,
    })
  }

  #receiveGlobalReply(payload: Uint8Array): void {
    const ok = payload[0] === MSG.REQUEST_SUCCESS
    const data = ok ? requestSuccess.decode(payload).responseSpecific : NOTHING
    if (!ok) requestFailure.decode(payload)
    if (this.#pendingGlobals === 0) return
    this.#pendingGlobals--
    this.#context.emit({ type: 'global-reply', ok, data })
  }

  // The table

  #add(channelType: string, status: ChannelState['status']): ChannelState {
    while (this.#channels.has(this.#nextId)) this.#nextId = (this.#nextId + 1) >>> 0
    const channel: ChannelState = {
      id: this.#nextId,
      channelType,
      receiveWindow: new ReceiveWindow(this.#options.windowBytes),
      status,
      pendingReplies: 0,
      unanswered: 0,
    }
    this.#nextId = (this.#nextId + 1) >>> 0
    this.#channels.set(channel.id, channel)
    return channel
  }

  #remove(channel: ChannelState): void {
    this.#channels.delete(channel.id)
    this.#waiting.delete(channel)
  }

  #open(id: ChannelId): OpenStatus | undefined {
    const status = this.#channels.get(id)?.status
    return status?.phase === 'open' ? status : undefined
  }

  /** The open channel that a message of the peer is for. */
  #addressed(payload: Uint8Array): { channel: ChannelState; status: OpenStatus } {
    const channel = this.#channels.get(recipientOf(payload))
    if (channel?.status.phase !== 'open') {
      throw new SshError(
        'SSH_PROTOCOL',
        `message ${payload[0]} for channel ${recipientOf(payload)}, which is not open`,
      )
    }
    return { channel, status: channel.status }
  }

  #opening(id: ChannelId): { channel: ChannelState; status: OpeningStatus } {
    const channel = this.#channels.get(id)
    if (channel?.status.phase !== 'opening') {
      throw new SshError('SSH_PROTOCOL', `channel ${id} was not being opened`)
    }
    return { channel, status: channel.status }
  }

  #credit(status: OpenStatus, bytesToAdd: number): void {
    if (bytesToAdd === 0 || status.receiving !== 'open' || status.sending === 'closed') return
    this.#context.send(channelWindowAdjust.encode({ recipientChannel: status.peer.id, bytesToAdd }))
  }

  #sendPiece(peer: PeerEnd, piece: Uint8Array, extended: number): void {
    const header = extended === 0 ? CHANNEL_DATA_HEADER_BYTES : CHANNEL_EXTENDED_DATA_HEADER_BYTES
    peer.window.take(piece.length)
    this.#options.build(header + piece.length, (target, at) =>
      writeChannelData(target, at, peer.id, extended, piece),
    )
  }

  #sendOpenFailure(recipientChannel: number, reasonCode: number, description: string): void {
    assert(reasonCode !== 0, 'a reason says something')
    this.#context.send(
      channelOpenFailure.encode({ recipientChannel, reasonCode, description, languageTag: '' }),
    )
  }
}

function peerEnd(open: {
  readonly senderChannel: number
  readonly initialWindowSize: number
  readonly maximumPacketSize: number
}): PeerEnd {
  return {
    id: open.senderChannel,
    window: new SendWindow(open.initialWindowSize),
    packetBytes: Math.min(open.maximumPacketSize, CHANNEL_SEND_BYTES),
  }
}
