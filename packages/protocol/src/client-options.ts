/** What a client is told: whom to be, whom to trust, how to start programs. */
import type { AuthMethod, AuthPlan } from './auth-methods.ts'
import type { X11Origin } from './connection/forwarding.ts'
import type { X11Request } from './connection/requests.ts'
import type { ConnectionOptions } from './connection-options.ts'
import type { Transport } from './io/transport.ts'
import type { PublicKey } from './keys/public-key.ts'
import type { PtyOptions } from './process.ts'
import type { ChannelHandler } from './server-channels.ts'

/**
 * Decides whether a key is the server's; may throw to say why not. See `pinned` and `knownHosts`
 * for ready-made ones.
 */
export interface HostKeyDecision {
  (
    key: PublicKey,
    info: {
      readonly algorithm: string
      /** Aborted when connecting was given up: a question on a screen may go. */
      readonly signal?: AbortSignal
    },
  ): boolean | Promise<boolean>
  /** Types of the keys it knows: the server is asked for one of these rather than another. */
  readonly keyTypes?: readonly string[]
}

/** What `connect` needs to know. */
export interface ClientOptions extends ConnectionOptions {
  readonly username: string
  /** Required: there is no default that trusts. */
  readonly hostKey: HostKeyDecision
  /** Tried in this order, as far as the server can continue with them; or a plan that decides. */
  readonly auth: readonly AuthMethod[] | AuthPlan
  /**
   * Connects to an agent for the server. Given, sessions ask for agent forwarding, and whoever
   * governs the server can sign with the agent's keys while one of them is open. The agent is told
   * of the connection first (`session-bind@openssh.com`), so that it can hold keys for some
   * destinations only. See `serveAgent`.
   */
  readonly agentForward?: () => Transport | Promise<Transport>
  /**
   * Connects to an X server for a session started with `x11`. What passes is not looked at:
   * replacing the made-up cookie by the real one is for the transport given here.
   */
  readonly x11?: (origin: X11Origin) => Transport | Promise<Transport>
  /** Serves channels of other types that the server opens, by type; the rest is refused. */
  readonly channels?: Readonly<Record<string, ChannelHandler>>
  /**
   * Hears, once, of all host keys that the server announced and proved to hold, the present one
   * among them: a chance to learn new keys and forget old ones. Certificates and kinds of key that
   * are not in use here are left out.
   */
  readonly onHostKeys?: (keys: readonly PublicKey[]) => void
  /** Text the server shows before the user is in. Untrusted: strip control characters. */
  readonly onBanner?: (text: string) => void
}

/** How to start a subsystem. */
export interface SubsystemOptions {
  /** Gives up, and ends the subsystem. */
  readonly signal?: AbortSignal | undefined
  /** What becomes of its stderr: dropped, by default, or to be read from the channel. */
  readonly stderr?: 'ignore' | 'pipe'
}

/** How a program is started. */
export interface ExecOptions {
  /** Servers accept few names; a refused one is silently left out. */
  readonly env?: Readonly<Record<string, string>>
  /** Run it in a terminal. */
  readonly pty?: PtyOptions
  /** `pipe` (default): stderr apart, must be read. `merge`: among stdout. `ignore`: dropped. */
  readonly stderr?: 'pipe' | 'merge' | 'ignore'
  /** Whether the server may use the agent of `ClientOptions.agentForward`. Default true. */
  readonly agentForward?: boolean
  /** Asks for X11 forwarding to `ClientOptions.x11`; a refusal rejects. */
  readonly x11?: Omit<X11Request, 'singleConnection'> & { readonly singleConnection?: boolean }
  /**
   * When it fires, all that waits for the program rejects at once, and the program gets TERM, after
   * `graceMs` KILL, and after as long again its channel is closed.
   */
  readonly signal?: AbortSignal | undefined
  /** Default 2000. */
  readonly graceMs?: number
}
