/** Type-specific parts of channel requests: RFC 4254 §6, RFC 4335 and OpenSSH's PROTOCOL §2.1. */
import { ascii, boolean, string, uint32, utf8 } from '../wire/fields.ts'
import { type Struct, struct } from '../wire/message.ts'

/** Names of the channel requests that this package sends or answers. */
export const REQUEST = {
  PTY: 'pty-req',
  ENV: 'env',
  SHELL: 'shell',
  EXEC: 'exec',
  SUBSYSTEM: 'subsystem',
  WINDOW_CHANGE: 'window-change',
  SIGNAL: 'signal',
  BREAK: 'break',
  XON_XOFF: 'xon-xoff',
  X11: 'x11-req',
  AGENT: 'auth-agent-req@openssh.com',
  EXIT_STATUS: 'exit-status',
  EXIT_SIGNAL: 'exit-signal',
  /** The peer will take no more output; OpenSSH's PROTOCOL §2.1. */
  EOW: 'eow@openssh.com',
} as const

/**
 * Whether a peer, by its identification line, is told of the end of writes: OpenSSH and we
 * ourselves understand it, and OpenSSH too tells it to nobody else, for some close on it.
 */
export function understandsEow(identification: string): boolean {
  return /^SSH-2\.0-(OpenSSH|sandbox-ssh)_/.test(identification)
}

/** Names of the global requests that this package sends or answers. */
export const GLOBAL_REQUEST = {
  KEEPALIVE: 'keepalive@openssh.com',
  /** The client will open no further session; OpenSSH's PROTOCOL §2.2. */
  NO_MORE_SESSIONS: 'no-more-sessions@openssh.com',
  /** Other host keys of a server, and their proof; OpenSSH's PROTOCOL §2.5. */
  HOSTKEYS: 'hostkeys-00@openssh.com',
  HOSTKEYS_PROVE: 'hostkeys-prove-00@openssh.com',
  TCPIP_FORWARD: 'tcpip-forward',
  CANCEL_TCPIP_FORWARD: 'cancel-tcpip-forward',
  STREAMLOCAL_FORWARD: 'streamlocal-forward@openssh.com',
  CANCEL_STREAMLOCAL_FORWARD: 'cancel-streamlocal-forward@openssh.com',
} as const

/** `pty-req`, RFC 4254 §6.2. */
export interface PtyRequest {
  /** Value for TERM, such as `xterm-256color`. */
  readonly term: string
  readonly columns: number
  readonly rows: number
  /** 0 if unknown. */
  readonly widthPixels: number
  readonly heightPixels: number
  /** See `decodeTerminalModes`. */
  readonly modes: Uint8Array
}
export const ptyRequest: Struct<PtyRequest> = struct({
  term: utf8,
  columns: uint32,
  rows: uint32,
  widthPixels: uint32,
  heightPixels: uint32,
  modes: string,
})

/** `window-change`, RFC 4254 §6.7. */
export interface WindowChange {
  readonly columns: number
  readonly rows: number
  readonly widthPixels: number
  readonly heightPixels: number
}
export const windowChange: Struct<WindowChange> = struct({
  columns: uint32,
  rows: uint32,
  widthPixels: uint32,
  heightPixels: uint32,
})

/** `env`, RFC 4254 §6.4. */
export interface Environment {
  readonly name: string
  readonly value: string
}
export const environment: Struct<Environment> = struct({ name: utf8, value: utf8 })

/** `exec`, RFC 4254 §6.5. The command is bytes: its encoding is the business of the two ends. */
export interface Exec {
  readonly command: Uint8Array
}
export const exec: Struct<Exec> = struct({ command: string })

/** `subsystem`, RFC 4254 §6.5. */
export interface Subsystem {
  readonly name: string
}
export const subsystem: Struct<Subsystem> = struct({ name: utf8 })

/** `signal`, RFC 4254 §6.9. */
export interface Signal {
  /** Without SIG: `TERM`, `INT`, or `name@domain`. */
  readonly name: string
}
export const signal: Struct<Signal> = struct({ name: utf8 })

/** `break`, RFC 4335 §3. */
export interface Break {
  /** 0 leaves it to the receiver. */
  readonly lengthMs: number
}
export const breakRequest: Struct<Break> = struct({ lengthMs: uint32 })

/** `xon-xoff`, RFC 4254 §6.8: a server tells whether Ctrl-S and Ctrl-Q are the client's to act on. */
export interface XonXoff {
  readonly clientCanDo: boolean
}
export const xonXoff: Struct<XonXoff> = struct({ clientCanDo: boolean })

/** `x11-req`, RFC 4254 §6.3.1. */
export interface X11Request {
  /** Forwarding ends after the first connection. */
  readonly singleConnection: boolean
  /** Such as `MIT-MAGIC-COOKIE-1`. */
  readonly authProtocol: string
  /** In hexadecimal. Send one made up for the purpose, never that of the real X server. */
  readonly authCookie: string
  readonly screen: number
}
export const x11Request: Struct<X11Request> = struct({
  singleConnection: boolean,
  authProtocol: ascii,
  authCookie: ascii,
  screen: uint32,
})

/** `exit-status`, RFC 4254 §6.10. */
export interface ExitStatusRequest {
  readonly code: number
}
export const exitStatus: Struct<ExitStatusRequest> = struct({ code: uint32 })

/** `exit-signal`, RFC 4254 §6.10. */
export interface ExitSignal {
  /** Without SIG. */
  readonly name: string
  readonly coreDumped: boolean
  readonly message: string
  readonly languageTag: string
}
export const exitSignal: Struct<ExitSignal> = struct({
  name: utf8,
  coreDumped: boolean,
  message: utf8,
  languageTag: utf8,
})
