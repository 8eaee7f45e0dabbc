/**
 * The user's OpenSSH taught the way through a gateway: `ssh devbox.msb` to one of its sandboxes, or
 * `ssh devbox@gateway`, from any machine that can reach its port.
 */
import { join, resolve } from 'node:path'
import type { PublicKey } from '@sandbox-ssh/protocol'
import { splitLogin } from '../server/login.ts'
import { SandboxError } from './errors.ts'
import type { Home } from './home.ts'
import { loadOrCreateHostKey } from './host-key.ts'
import { knownHostsPath as knownHostsOf, pinHostKeys } from './known-hosts.ts'
import type { SshConfigBlock } from './ssh-config.ts'
import { checkAlias, checkHost, checkUser, formatBlock } from './ssh-config-text.ts'

/** How a block for a gateway is made. */
export interface GatewayConfigOptions {
  /** Where it listens. */
  readonly host: string
  readonly port: number
  /** The keys it may show, all of which are pinned; at least one. */
  readonly hostKeys: readonly PublicKey[]
  /** A sandbox by the name it has at the gateway; default: none, and each login says which. */
  readonly sandbox?: string | undefined
  /** Guest user; default: the one that the sandbox has of its own. Only with `sandbox`. */
  readonly user?: string | undefined
  /** Name for ssh; default `NAME.msb`, or the gateway's host. */
  readonly alias?: string | undefined
  /** Private key to log in with; default: a key pair under MSB_HOME, made if it is not there. */
  readonly identityPath?: string | undefined
}

/** A block, and the public key to be let in, undefined where it is the user's own business. */
export interface GatewayConfigBlock extends SshConfigBlock {
  readonly identity: PublicKey | undefined
}

/**
 * Pins the gateway's host keys in our known_hosts, and gives a block for ssh_config(5). Whose sandbox
 * it is decides who may enter: nothing is authorized here.
 * @throws SandboxError `SANDBOX_NAME_INVALID`, `HOME_UNUSABLE`, `HOST_KEY_INVALID`
 *
 * @example
 * import { mkdtempSync } from 'node:fs'
 * import { tmpdir } from 'node:os'
 * import { join } from 'node:path'
 * import { generateKey } from '@sandbox-ssh/protocol'
 * import { openHome, prepareGatewayConfig } from '@sandbox-ssh/sandbox-bridge'
 *
 * const home = openHome({ path: mkdtempSync(join(tmpdir(), 'home-')) })
 * const block = await prepareGatewayConfig(home, {
 *   host: 'gateway.example.org',
 *   port: 2222,
 *   hostKeys: [generateKey('ed25519').publicKey],
 *   sandbox: 'devbox',
 *   user: 'ada',
 * })
 * console.log(block.alias) // devbox.msb
 * console.log(/^ {2}User (.*)$/m.exec(block.text)?.[1]) // ada+devbox
 */
export async function prepareGatewayConfig(
  home: Home,
  options: GatewayConfigOptions,
): Promise<GatewayConfigBlock> {
  const { hostKeys, sandbox, user, port } = options
  if (hostKeys.length === 0) throw new TypeError('hostKeys: at least one key must be pinned')
  if (!(Number.isInteger(port) && port > 0 && port < 65536)) {
    throw new TypeError('port: must be a whole number from 1 to 65535')
  }
  const host = checkHost(options.host)
  const login = loginOf(sandbox, user)
  const alias = checkAlias(options.alias ?? (sandbox === undefined ? host : `${sandbox}.msb`))
  const knownHostsPath = knownHostsOf(home)
  const own = options.identityPath === undefined
  const identityPath = resolve(options.identityPath ?? join(home.sshPath, 'id_ed25519'))
  const text = formatBlock({
    alias,
    way: [
      `HostName ${host}`,
      `Port ${port}`,
      ...(login === undefined ? [] : [`User ${checkUser(login)}`]),
    ],
    knownHostsPath,
    identityPath,
  })
  const identity = own ? (await loadOrCreateHostKey(identityPath)).publicKey : undefined
  await pinHostKeys(knownHostsPath, hostKeys, host, port)
  return { alias, text, knownHostsPath, identityPath, identity }
}

/** @throws SandboxError for what no gateway takes for a login */
function loginOf(sandbox: string | undefined, user: string | undefined): string | undefined {
  if (sandbox === undefined) {
    if (user === undefined) return undefined
    throw new SandboxError('SANDBOX_NAME_INVALID', 'a user needs a sandbox: the login is both')
  }
  const login = user === undefined ? sandbox : `${user}+${sandbox}`
  if (splitLogin(login)?.sandbox === sandbox) return login
  const message = `${JSON.stringify(login)} cannot be the login of a gateway: it is NAME or USER+NAME`
  throw new SandboxError('SANDBOX_NAME_INVALID', message)
}
