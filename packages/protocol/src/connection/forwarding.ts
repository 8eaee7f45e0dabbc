/**
 * Type-specific parts of forwarding: RFC 4254 §7, and for sockets with a path OpenSSH's PROTOCOL
 * §2.4. The fields it reserves are sent empty and not looked at.
 */
import { string, uint32, utf8 } from '../wire/fields.ts'
import { type Struct, struct } from '../wire/message.ts'

/** Channel types that this package opens or accepts. */
export const CHANNEL_TYPE = {
  SESSION: 'session',
  DIRECT_TCPIP: 'direct-tcpip',
  FORWARDED_TCPIP: 'forwarded-tcpip',
  DIRECT_STREAMLOCAL: 'direct-streamlocal@openssh.com',
  FORWARDED_STREAMLOCAL: 'forwarded-streamlocal@openssh.com',
  X11: 'x11',
  AGENT: 'auth-agent@openssh.com',
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

/** The global requests `tcpip-forward` and `cancel-tcpip-forward`, RFC 4254 §7.1. */
export interface TcpipForward {
  /** Address or name to listen on; empty for all, `localhost` for loopback of both families. */
  readonly host: string
  /** 0 leaves the choice to the server. */
  readonly port: number
}
export const tcpipForward: Struct<TcpipForward> = struct({ host: utf8, port: uint32 })

/** The reply to a `tcpip-forward` with port 0, RFC 4254 §7.1. */
export interface ChosenPort {
  readonly port: number
}
export const chosenPort: Struct<ChosenPort> = struct({ port: uint32 })

/** A `direct-streamlocal@openssh.com` channel: the server is to connect to a Unix socket. */
export interface DirectStreamlocal {
  readonly path: string
  readonly reserved: Uint8Array
  readonly reservedNumber: number
}
export const directStreamlocal: Struct<DirectStreamlocal> = struct({
  path: utf8,
  reserved: string,
  reservedNumber: uint32,
})

/** `streamlocal-forward@openssh.com` and `cancel-streamlocal-forward@openssh.com`. */
export interface StreamlocalForward {
  /** Where the server is to listen. */
  readonly path: string
}
export const streamlocalForward: Struct<StreamlocalForward> = struct({ path: utf8 })

/** A `forwarded-streamlocal@openssh.com` channel: somebody connected to such a socket. */
export interface ForwardedStreamlocal {
  readonly path: string
  readonly reserved: Uint8Array
}
export const forwardedStreamlocal: Struct<ForwardedStreamlocal> = struct({
  path: utf8,
  reserved: string,
})

/** An `x11` channel, RFC 4254 §6.3.2: who connects to the X server. Claimed, not verified. */
export interface X11Origin {
  readonly originatorHost: string
  readonly originatorPort: number
}
export const x11: Struct<X11Origin> = struct({ originatorHost: utf8, originatorPort: uint32 })
