/** What a server is told: who may come in, and what is served to them. */
import type { DirectTcpip, TcpipForward } from './connection/forwarding.ts'
import type { ConnectionOptions } from './connection-options.ts'
import type { Signer } from './keys/public-key.ts'
import type { ServerAuthHandlers } from './server-auth.ts'
import type { ChannelHandler, Connector, StreamlocalTarget } from './server-channels.ts'
import type { ForwardHandler } from './server-forwards.ts'
import type { SessionHandler } from './server-session.ts'
import { optionalFunction, optionalInteger, requireSigners, validateCommon } from './validate.ts'

/** What `serve` needs to know; what is not given is refused. */
export interface ServerOptions extends ConnectionOptions {
  /** Keys that prove who we are, one of each type that clients may want. */
  readonly hostKeys: readonly Signer[]
  /**
   * Whether clients are told all host keys once their user is in, so that they can learn new ones
   * (`hostkeys-00@openssh.com`). Default true.
   */
  readonly announceHostKeys?: boolean
  /** Who may come in; a method without a handler is not offered. */
  readonly auth: ServerAuthHandlers
  /**
   * Names of the signature algorithms taken from a user, of those in `algorithms`, such as
   * `sk-ssh-ed25519@openssh.com` alone; undefined stands for all. Clients that understand
   * `ext-info-in-auth@openssh.com` are told. Users who do not exist must get an answer too. What it
   * throws goes to `onError`, and the user can then use no key.
   */
  readonly userAlgorithms?: (username: string) => readonly string[] | undefined
  /** Serves exec, shell and subsystem alike; those below come first. */
  readonly session?: SessionHandler
  readonly exec?: SessionHandler
  readonly shell?: SessionHandler
  readonly subsystems?: Readonly<Record<string, SessionHandler>>
  /** Connects for a client, RFC 4254 §7.2. Absent, the default: prohibited. */
  readonly directTcpip?: Connector<DirectTcpip>
  /** The same for a Unix socket, OpenSSH's PROTOCOL §2.4. Default: prohibited. */
  readonly directStreamlocal?: Connector<StreamlocalTarget>
  /**
   * Listens for a client, RFC 4254 §7.1: each connection becomes a channel to it. Undefined
   * refuses, as does an error, which `onError` hears. The listener is closed when the client
   * cancels, and with the connection. A client has at most 64. Default: refused.
   */
  readonly tcpipForward?: ForwardHandler<TcpipForward>
  /** The same for a Unix socket. Default: refused. */
  readonly streamlocalForward?: ForwardHandler<Pick<StreamlocalTarget, 'path'>>
  /** Serves channels of other types, such as `tun@openssh.com`, by type. Default: unknown. */
  readonly channels?: Readonly<Record<string, ChannelHandler>>
  /**
   * Asked before anything is done about a channel that a client opens, whatever its type; false or
   * a throw prohibits it. `forwarding` has codecs for `typeSpecific`. Default: true, which leaves
   * it to the handler for the type.
   */
  readonly permitChannel?: (request: {
    readonly channelType: string
    readonly typeSpecific: Uint8Array
    readonly username: string
  }) => boolean | Promise<boolean>
  /** Whether sessions may use the client's agent, see `ServerSession.agent`. Default: no. */
  readonly agentForwarding?: boolean
  /** Whether sessions may use the client's X server, see `ServerSession.openX11`. Default: no. */
  readonly x11Forwarding?: boolean
  /** Which variables a client may set. Default: none. */
  readonly acceptEnv?: (name: string, value: string) => boolean
  /** Shown before authentication. */
  readonly banner?: string
  /** Failures before the client is sent away. */
  readonly authFailuresMax?: number
  /** Hears of what handlers throw; by default nobody does. */
  readonly onError?: (error: unknown) => void
}

const METHODS = ['publickey', 'password', 'keyboardInteractive', 'hostbased', 'none'] as const
const HANDLERS = [
  'session',
  'exec',
  'shell',
  'directTcpip',
  'directStreamlocal',
  'tcpipForward',
  'streamlocalForward',
  'permitChannel',
  'userAlgorithms',
  'acceptEnv',
  'onError',
] as const

/** Throws TypeError naming the option that makes no sense. */
export function validateServerOptions(options: ServerOptions): void {
  requireSigners(options?.hostKeys, 'hostKeys')
  if (typeof options.auth !== 'object' || options.auth === null) {
    throw new TypeError('auth must be an object of handlers')
  }
  for (const name of METHODS) {
    optionalFunction(options.auth[name], `auth.${name}`)
  }
  for (const name of HANDLERS) optionalFunction(options[name], name)
  for (const [name, handler] of Object.entries(options.subsystems ?? {})) {
    if (typeof handler !== 'function') throw new TypeError(`subsystems.${name} must be a function`)
  }
  for (const [name, handler] of Object.entries(options.channels ?? {})) {
    if (typeof handler !== 'function') throw new TypeError(`channels.${name} must be a function`)
  }
  optionalInteger(options.authFailuresMax, 'authFailuresMax', 1, 1000)
  validateCommon(options)
}
