/** Messages of the connection protocol: RFC 4254. Data messages have faster twins in `fast.ts`. */
import { ascii, boolean, rest, string, uint32, utf8 } from './fields.ts'
import { type Message, message } from './message.ts'
import { MSG } from './numbers.ts'

/** SSH_MSG_GLOBAL_REQUEST, RFC 4254 §4. */
export interface GlobalRequest {
  readonly requestName: string
  readonly wantReply: boolean
  readonly requestSpecific: Uint8Array
}
export const globalRequest: Message<GlobalRequest> = message(MSG.GLOBAL_REQUEST, 'GLOBAL_REQUEST', {
  requestName: ascii,
  wantReply: boolean,
  requestSpecific: rest,
})

/** SSH_MSG_REQUEST_SUCCESS, RFC 4254 §4. */
export interface RequestSuccess {
  readonly responseSpecific: Uint8Array
}
export const requestSuccess: Message<RequestSuccess> = message(
  MSG.REQUEST_SUCCESS,
  'REQUEST_SUCCESS',
  { responseSpecific: rest },
)

/** SSH_MSG_REQUEST_FAILURE, RFC 4254 §4. */
export type RequestFailure = Readonly<Record<never, never>>
export const requestFailure: Message<RequestFailure> = message<RequestFailure>(
  MSG.REQUEST_FAILURE,
  'REQUEST_FAILURE',
  {},
)

/** SSH_MSG_CHANNEL_OPEN, RFC 4254 §5.1. */
export interface ChannelOpen {
  readonly channelType: string
  readonly senderChannel: number
  /** Bytes the peer may send before a WINDOW_ADJUST. */
  readonly initialWindowSize: number
  readonly maximumPacketSize: number
  /** Fields that depend on `channelType`; see `connection/forwarding.ts`. */
  readonly typeSpecific: Uint8Array
}
export const channelOpen: Message<ChannelOpen> = message(MSG.CHANNEL_OPEN, 'CHANNEL_OPEN', {
  channelType: ascii,
  senderChannel: uint32,
  initialWindowSize: uint32,
  maximumPacketSize: uint32,
  typeSpecific: rest,
})

/** SSH_MSG_CHANNEL_OPEN_CONFIRMATION, RFC 4254 §5.1. */
export interface ChannelOpenConfirmation {
  readonly recipientChannel: number
  readonly senderChannel: number
  readonly initialWindowSize: number
  readonly maximumPacketSize: number
  readonly typeSpecific: Uint8Array
}
export const channelOpenConfirmation: Message<ChannelOpenConfirmation> = message(
  MSG.CHANNEL_OPEN_CONFIRMATION,
  'CHANNEL_OPEN_CONFIRMATION',
  {
    recipientChannel: uint32,
    senderChannel: uint32,
    initialWindowSize: uint32,
    maximumPacketSize: uint32,
    typeSpecific: rest,
  },
)

/** SSH_MSG_CHANNEL_OPEN_FAILURE, RFC 4254 §5.1. */
export interface ChannelOpenFailure {
  readonly recipientChannel: number
  readonly reasonCode: number
  readonly description: string
  readonly languageTag: string
}
export const channelOpenFailure: Message<ChannelOpenFailure> = message(
  MSG.CHANNEL_OPEN_FAILURE,
  'CHANNEL_OPEN_FAILURE',
  { recipientChannel: uint32, reasonCode: uint32, description: utf8, languageTag: utf8 },
)

/** SSH_MSG_CHANNEL_WINDOW_ADJUST, RFC 4254 §5.2. */
export interface ChannelWindowAdjust {
  readonly recipientChannel: number
  readonly bytesToAdd: number
}
export const channelWindowAdjust: Message<ChannelWindowAdjust> = message(
  MSG.CHANNEL_WINDOW_ADJUST,
  'CHANNEL_WINDOW_ADJUST',
  { recipientChannel: uint32, bytesToAdd: uint32 },
)

/** SSH_MSG_CHANNEL_DATA, RFC 4254 §5.2. */
export interface ChannelData {
  readonly recipientChannel: number
  readonly data: Uint8Array
}
export const channelData: Message<ChannelData> = message(MSG.CHANNEL_DATA, 'CHANNEL_DATA', {
  recipientChannel: uint32,
  data: string,
})

/** SSH_MSG_CHANNEL_EXTENDED_DATA, RFC 4254 §5.2. */
export interface ChannelExtendedData {
  readonly recipientChannel: number
  readonly dataTypeCode: number
  readonly data: Uint8Array
}
export const channelExtendedData: Message<ChannelExtendedData> = message(
  MSG.CHANNEL_EXTENDED_DATA,
  'CHANNEL_EXTENDED_DATA',
  { recipientChannel: uint32, dataTypeCode: uint32, data: string },
)

/** SSH_MSG_CHANNEL_EOF, _CLOSE, _SUCCESS and _FAILURE: a channel and nothing else. */
export interface ChannelOnly {
  readonly recipientChannel: number
}
export const channelEof: Message<ChannelOnly> = message(MSG.CHANNEL_EOF, 'CHANNEL_EOF', {
  recipientChannel: uint32,
})
export const channelClose: Message<ChannelOnly> = message(MSG.CHANNEL_CLOSE, 'CHANNEL_CLOSE', {
  recipientChannel: uint32,
})
export const channelSuccess: Message<ChannelOnly> = message(
  MSG.CHANNEL_SUCCESS,
  'CHANNEL_SUCCESS',
  { recipientChannel: uint32 },
)
export const channelFailure: Message<ChannelOnly> = message(
  MSG.CHANNEL_FAILURE,
  'CHANNEL_FAILURE',
  { recipientChannel: uint32 },
)

/** SSH_MSG_CHANNEL_REQUEST, RFC 4254 §5.4. */
export interface ChannelRequest {
  readonly recipientChannel: number
  readonly requestType: string
  readonly wantReply: boolean
  readonly requestSpecific: Uint8Array
}
export const channelRequest: Message<ChannelRequest> = message(
  MSG.CHANNEL_REQUEST,
  'CHANNEL_REQUEST',
  { recipientChannel: uint32, requestType: ascii, wantReply: boolean, requestSpecific: rest },
)
