/**
 * Everything that can go wrong, as a closed set of codes. Switch on `code`, never on the message.
 */

/** Stable identifiers of failures; messages may change, these do not. */
export type SshErrorCode =
  /** We broke our own promise; the connection is gone, please report it. */
  | 'SSH_INTERNAL'
  /** The peer sent bytes that are not SSH, or not allowed now. */
  | 'SSH_PROTOCOL'
  /** The identification exchange failed (RFC 4253 §4.2). */
  | 'SSH_VERSION'
  /** No algorithm in common; the message prints both lists. */
  | 'SSH_NO_COMMON_ALGORITHM'
  /** Key exchange failed: bad point, bad signature, bad reply. */
  | 'SSH_KEY_EXCHANGE'
  /** A packet failed its integrity check. */
  | 'SSH_MAC_INVALID'
  /** The server's host key was not accepted by `hostKey`. */
  | 'SSH_HOST_KEY_REJECTED'
  /** Every authentication method was refused. */
  | 'SSH_AUTHENTICATION'
  /** A bound of `limits.ts` was exceeded by the peer. */
  | 'SSH_LIMIT'
  /** The connection ended while something was still waiting. */
  | 'SSH_CONNECTION_LOST'
  /** A SSH_MSG_DISCONNECT was sent or received. */
  | 'SSH_DISCONNECTED'
  /** The peer refused to open a channel (RFC 4254 §5.1). */
  | 'SSH_CHANNEL_OPEN'
  /** A channel or global request was refused. */
  | 'SSH_REQUEST_REFUSED'
  /** The channel is closed, or its writing side has ended. */
  | 'SSH_CHANNEL_CLOSED'
  /** A phase took longer than its limit; the message names the phase. */
  | 'SSH_TIMEOUT'
  /** An AbortSignal fired. */
  | 'SSH_ABORTED'
  /** A key, certificate or key file could not be understood. */
  | 'SSH_KEY_INVALID'
  /** A key file is encrypted and no passphrase, or a wrong one, was given. */
  | 'SSH_KEY_PASSPHRASE'
  /** A `Signer` could not or would not sign. */
  | 'SSH_SIGN'
  /** The transport underneath failed; see `cause`. */
  | 'SSH_TRANSPORT'
  /** An operation on a file failed; see `status` of SftpError. The SFTP session goes on. */
  | 'SFTP_STATUS'

/** As of `Error`. */
export interface SshErrorOptions {
  readonly cause?: unknown
}

/**
 * The base of every error this package raises on account of a peer, a key or a transport.
 *
 * @example
 * import { SshError } from '@sandbox-ssh/protocol'
 *
 * const error = await client.subsystem('nothing').catch((caught: unknown) => caught)
 * if (!(error instanceof SshError)) throw error
 * console.log(error.code) // SSH_REQUEST_REFUSED
 */
export class SshError extends Error {
  override readonly name: string = 'SshError'
  readonly code: SshErrorCode

  constructor(code: SshErrorCode, message: string, options?: SshErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/**
 * The connection was ended by a SSH_MSG_DISCONNECT (RFC 4253 §11.1).
 *
 * @example
 * import { DISCONNECT, DisconnectError } from '@sandbox-ssh/protocol'
 *
 * await client.close()
 * const error = await client.run('echo').catch((caught: unknown) => caught)
 * const reason = error instanceof DisconnectError ? error.reason : undefined
 * console.log(reason === undefined || reason === DISCONNECT.BY_APPLICATION) // true
 */
export class DisconnectError extends SshError {
  override readonly name = 'DisconnectError'
  /** Reason code of RFC 4253 §11.1; see `DISCONNECT` in `wire/numbers.ts`. */
  readonly reason: number
  /** True if the peer sent it, false if we did. */
  readonly byPeer: boolean

  constructor(
    reason: number,
    message: string,
    byPeer: boolean,
    code: SshErrorCode = 'SSH_DISCONNECTED',
    options?: SshErrorOptions,
  ) {
    super(code, message, options)
    this.reason = reason
    this.byPeer = byPeer
  }
}

/**
 * The peer refused to open a channel.
 *
 * @example
 * import { ChannelOpenError, OPEN_FAILURE } from '@sandbox-ssh/protocol'
 *
 * // A server without a handler for forwards prohibits them.
 * const client = await pair({})
 * const error = await client.directTcpip('10.0.0.1', 22).catch((caught: unknown) => caught)
 * if (!(error instanceof ChannelOpenError)) throw error
 * console.log(error.reason === OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED) // true
 */
export class ChannelOpenError extends SshError {
  override readonly name = 'ChannelOpenError'
  /** Reason code of RFC 4254 §5.1; see `OPEN_FAILURE` in `wire/numbers.ts`. */
  readonly reason: number

  constructor(reason: number, message: string) {
    super('SSH_CHANNEL_OPEN', message)
    this.reason = reason
  }
}

/**
 * No offered method let us in (RFC 4252 §5.1).
 *
 * @example
 * import { AuthenticationError, password } from '@sandbox-ssh/protocol'
 *
 * const attempt = pair({ auth: { password: () => false } }, { auth: [password('guess')] })
 * const error = await attempt.catch((caught: unknown) => caught)
 * if (!(error instanceof AuthenticationError)) throw error
 * console.log(error.code, error.methods) // SSH_AUTHENTICATION [ 'password' ]
 */
export class AuthenticationError extends SshError {
  override readonly name = 'AuthenticationError'
  /** Methods the server would still have taken. */
  readonly methods: readonly string[]
  /** True if at least one step succeeded and the server wanted more. */
  readonly partialSuccess: boolean

  constructor(message: string, methods: readonly string[], partialSuccess: boolean) {
    super('SSH_AUTHENTICATION', message)
    this.methods = methods
    this.partialSuccess = partialSuccess
  }
}
