/** What servers are told, whichever sandboxes they are in front of, and the checking of it. */
import type { CryptoProvider, PublicKey, Signer } from '@sandbox-ssh/protocol'
import type { Home } from '../home/home.ts'
import type { GuestPolicy } from '../serve-guest.ts'
import { checkBoolean, checkEnvPatterns, checkInactivity, checkText } from '../settings.ts'
import type { ServerEventListener } from './events.ts'
import type { SandboxResolver } from './gateway.ts'
import { checkPrincipals } from './login.ts'

/** What every connection is served with. */
export interface ServingOptions
  extends Pick<
    GuestPolicy,
    'sftp' | 'readOnlySftp' | 'acceptEnv' | 'permitOpen' | 'agentForwarding' | 'onError'
  > {
  /** Hears of logins, sessions, forwards and their ends. */
  readonly onEvent?: ServerEventListener | undefined
  readonly crypto?: CryptoProvider | undefined
  /** Hears of every message, by name and size; of those about logins nothing else. */
  readonly trace?: ((line: string) => void) | undefined
}

/** Options of `prepareServer`. */
export interface SshServerOptions extends ServingOptions, Pick<GuestPolicy, 'user'> {
  /** File of the host key, or several, made if not there; default: the sandbox's own. */
  readonly hostKeyPath?: string | readonly string[] | undefined
  /** Host keys in memory, instead of a file. */
  readonly hostKeys?: readonly Signer[] | undefined
  /**
   * File of the keys that may enter, or several, read at each login; default: that of MSB_HOME for
   * all sandboxes and that for this one. Options before a key are enforced: `from`, `expiry-time`,
   * `command`, `permitopen`, `cert-authority`, `principals`, `verify-required`, `restrict` and the
   * `no-…` ones; a line with any other lets nobody in.
   */
  readonly authorizedKeysPath?: string | readonly string[] | undefined
  /** Keys that may enter, besides those of `authorizedKeysPath` if that is given, else alone. */
  readonly authorizedKeys?: readonly PublicKey[] | undefined
  /**
   * File of authorities, or several, read at each login: whoever has a certificate of one may enter,
   * as its critical options and extensions say.
   */
  readonly authoritiesPath?: string | readonly string[] | undefined
  /** Keys of authorities in memory, besides. */
  readonly authorities?: readonly PublicKey[] | undefined
  /**
   * Names of which a certificate of those must have one: `%r` is the login, `%u` the user in it,
   * `%s` the sandbox. Default: `%r`. `principals` in a line of the file come first.
   */
  readonly principals?: readonly string[] | undefined
  /** List of revoked keys and certificates, or several, read at each login: KRLs, texts of keys. */
  readonly revokedKeysPath?: string | readonly string[] | undefined
  /** Seconds without a byte either way; default: `config.json`, else 600. 0: never. */
  readonly inactivityTimeoutSecs?: number | undefined
  /** Told, in a sentence, of lines of a key file that let nobody in. */
  readonly onWarning?: ((message: string) => void) | undefined
}

/**
 * Options of `prepareGateway`; those of a server, where `%s` in a path of keys, authorities or
 * revoked ones stands for the name of the sandbox.
 */
export interface GatewayOptions extends SshServerOptions {
  /** MSB_HOME, as a path or already opened; default: found as microsandbox finds it. */
  readonly home?: string | Home | undefined
  /** Says which sandbox a login means. Whatever it does not know is not to be had. */
  readonly resolve: SandboxResolver
  /**
   * Names known beforehand: `onWarning` hears of those that nobody may enter, and if that is all
   * of them nothing is prepared.
   */
  readonly names?: readonly string[] | undefined
  /** Connections at once in one sandbox, whose relay has places for 128 clients. Default 64. */
  readonly connectionsPerSandbox?: number | undefined
  /** Start sandboxes of microsandbox that are stopped, and stop them afterwards. Default false. */
  readonly start?: boolean | undefined
  /** Milliseconds a sandbox runs on after its last connection, if for ours only. Default 60 000. */
  readonly lingerMs?: number | undefined
  /** Told before a sandbox is started. */
  readonly onStarting?: ((name: string) => void) | undefined
}

/** @throws TypeError, RangeError naming the option */
export function checkServerOptions(options: SshServerOptions): void {
  checkText(options.user, 'user')
  checkBoolean(options.sftp, 'sftp')
  checkBoolean(options.readOnlySftp, 'readOnlySftp')
  checkBoolean(options.agentForwarding, 'agentForwarding')
  checkEnvPatterns(options.acceptEnv)
  checkInactivity(options.inactivityTimeoutSecs)
  checkPrincipals(options.principals)
}

/** One path or several, as a list. @throws TypeError naming the option */
export function pathList(
  paths: string | readonly string[] | undefined,
  name: string,
): readonly string[] | undefined {
  if (paths === undefined) return undefined
  const list = typeof paths === 'string' ? [paths] : [...paths]
  for (const path of list) checkText(path, name)
  if (list.length === 0) throw new TypeError(`${name} must name at least one file`)
  return list
}
