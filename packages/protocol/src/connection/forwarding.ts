/** Type-specific parts of forwarding: RFC 4254 §7. */
import { uint32, utf8 } from '../wire/fields.ts'
import { type Struct, struct } from '../wire/message.ts'

/** Channel types that this package opens or accepts. */
export const CHANNEL_TYPE = {
  SESSION: 'session',
  DIRECT_TCPIP: 'direct-tcpip',
  FORWARDED_TCPIP: 'forwarded-tcpip',
} as const

/** A `direct-tcpip` channel: the client asks the server to connect somewhere. RFC 4254 §7.2. */
export interface DirectTcpip {
  /** Name or address to connect to. */
  readonly host: string
  readonly port: number
  /** Where the connection came from that is being forwarded. Claimed, not verified. */
  readonly originatorHost: string
  readonly originatorPort: number
}
export const directTcpip: Struct<DirectTcpip> = struct({
  host: utf8,
  port: uint32,
  originatorHost: utf8,
  originatorPort: uint32,
})

/** A `forwarded-tcpip` channel: somebody connected to a port the server listens on. RFC 4254 §7.2. */
export interface ForwardedTcpip {
  /** Address and port that were asked for in `tcpip-forward`. */
  readonly connectedHost: string
  readonly connectedPort: number
  readonly originatorHost: string
  readonly originatorPort: number
}
export const forwardedTcpip: Struct<ForwardedTcpip> = struct({
  connectedHost: utf8,
  connectedPort: uint32,
  originatorHost: utf8,
  originatorPort: uint32,
})
