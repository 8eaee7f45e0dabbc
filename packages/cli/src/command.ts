/** The commands of `msb`, complete and checked. */
import type { PermittedAddress } from '@sandbox-ssh/protocol'
import type { Destination, ForwardSpec, RemoteForward } from './forward-spec.ts'
import type { ToolCommand } from './tool-args.ts'

/** `msb ssh [connect] …`. */
export interface ConnectCommand {
  readonly type: 'connect'
  readonly sandbox: string
  /** The words after `--`; empty for an interactive shell. */
  readonly words: readonly string[]
  readonly user: string | undefined
  readonly term: string | undefined
  /** True or false as demanded; undefined to decide by what stdin is. */
  readonly tty: boolean | undefined
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string | undefined
  readonly detachKeys: string | undefined
  readonly inactivityMs: number | undefined
  /** Ports here that lead into the sandbox, `-L` and `-D`. */
  readonly forwards: readonly ForwardSpec[]
  /** Ports inside that lead here, `-R`. */
  readonly remoteForwards: readonly RemoteForward[]
  /** `-N`: no shell and no command, only forwards. */
  readonly forwardOnly: boolean
  /** `-W`: stdin and stdout are joined to this destination, instead of a session. */
  readonly stdioTo: Destination | undefined
}

/** `msb ssh serve …`. */
export interface ServeCommand {
  readonly type: 'serve'
  /** The one that has every login for itself; undefined for a gateway. */
  readonly sandbox: string | undefined
  readonly gateway: GatewayCommand | undefined
  /** Undefined for `--stdio`. */
  readonly listen: { readonly host: string; readonly port: number } | undefined
  readonly inactivityMs: number | undefined
  readonly connectionsMax: number
  /** Files instead of the sandbox's own host key. */
  readonly hostKeys: readonly string[] | undefined
  /** Files instead of those of MSB_HOME. */
  readonly authorizedKeys: readonly string[] | undefined
  /** Files of authorities. */
  readonly authorities: readonly string[] | undefined
  /** Names of which a certificate must have one. */
  readonly principals: readonly string[] | undefined
  readonly revokedKeys: readonly string[] | undefined
  /** Guest user of every session; undefined for the login name. */
  readonly user: string | undefined
  readonly readOnlySftp: boolean
  readonly agentForwarding: boolean
  /** The only destinations of forwards; undefined for any. */
  readonly permitOpen: readonly PermittedAddress[] | undefined
  /** How long open sessions may go on after the first signal. */
  readonly drainMs: number
  /** File for JSON lines. */
  readonly auditLog: string | undefined
}

/** Many sandboxes, which the login tells apart. */
export interface GatewayCommand {
  /** Sandboxes as a user writes them, by their names in logins. */
  readonly entries: ReadonlyMap<string, string>
  /** Of other sandboxes under MSB_HOME. */
  readonly patterns: readonly string[]
  readonly start: boolean
  readonly lingerMs: number
  readonly connectionsPerSandbox: number
}

/** Where keys are read from. */
export type KeySource =
  | { readonly from: 'file'; readonly path: string }
  | { readonly from: 'argument'; readonly key: string }
  | { readonly from: 'stdin' }

/** `msb ssh authorize …`. */
export interface AuthorizeCommand {
  readonly type: 'authorize'
  /** The only sandbox it is about; undefined for all. */
  readonly sandbox: string | undefined
  readonly action:
    | {
        readonly type: 'add'
        readonly sources: readonly KeySource[]
        /** How long they are let in; undefined for ever. */
        readonly expiresMs: number | undefined
        /** They are of authorities, whose certificates need one of these principals. */
        readonly authority: { readonly principals: readonly string[] | undefined } | undefined
      }
    | { readonly type: 'list' }
    | { readonly type: 'revoke'; readonly keys: readonly string[] }
}

/** `msb ssh relay …`. */
export interface RelayCommand {
  readonly type: 'relay'
  readonly endpoint: string
  /** Where it listens. */
  readonly socketPath: string
  /** What a client may leave unread of a shared console; undefined for the default. */
  readonly budgetBytes: number | undefined
}

/** What was asked for, complete and checked. */
export type CliCommand =
  | ConnectCommand
  | ServeCommand
  | AuthorizeCommand
  | ToolCommand
  | RelayCommand
  /** Help, version or the command tree: text for stdout, exit 0. */
  | { readonly type: 'print'; readonly text: string }
  /** A usage error: text for stderr, exit 2. */
  | { readonly type: 'usage'; readonly text: string }
