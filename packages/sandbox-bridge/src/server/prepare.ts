/** Preparing servers: options checked, keys loaded, and somebody there who may enter. */
import type { Signer } from '@sandbox-ssh/protocol'
import { INACTIVITY_TIMEOUT_SECS } from '../home/config.ts'
import { SandboxError } from '../home/errors.ts'
import { type Home, openHome } from '../home/home.ts'
import { gatewayHostKeyPath, loadOrCreateHostKey } from '../home/host-key.ts'
import type { Sandbox } from '../sandbox.ts'
import { SshServer } from '../ssh-server.ts'
import { Access, type AccessOptions } from './access.ts'
import { accessTo, Gateway } from './gateway.ts'
import {
  checkServerOptions,
  type GatewayOptions,
  pathList,
  type SshServerOptions,
} from './options.ts'
import { singleSite } from './site.ts'
import { Tenancy } from './tenancy.ts'

const CONNECTIONS_PER_SANDBOX = 64
const LINGER_MS = 60_000

/** A server in front of one sandbox. For users: `SandboxSshOps.prepareServer`. */
export async function prepareServer(
  sandbox: Sandbox,
  options: SshServerOptions,
): Promise<SshServer> {
  checkServerOptions(options)
  const { home } = sandbox
  const access = new Access({
    ...accessOptions(home, options),
    sandbox: sandbox.hostKeyPath === undefined ? undefined : sandbox.label,
  })
  access.requireSomebody()
  const hostKeys = await loadHostKeys(sandbox.hostKeyPath, options)
  return new SshServer({
    site: singleSite(sandbox, access, options.user),
    options,
    hostKeys,
    inactivitySecs: inactivitySecsOf(options, home),
  })
}

/**
 * Prepares a server for many sandboxes, each under its own login, `devbox` or `user+devbox`, with
 * its own grants. What `resolve` does not know cannot be told from a key that may not enter. A client
 * chooses the host key before it says where it wants to go: there is one for all, the gateway's own.
 * @throws SandboxError for files that cannot be used; TypeError, RangeError for a bad option
 *
 * @example
 * import { connect, generateKey, memoryPair, pinned, publickey } from '@sandbox-ssh/protocol'
 * import { prepareGateway, sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * const ada = generateKey('ed25519')
 * const gateway = await prepareGateway({
 *   hostKeys: [generateKey('ed25519')],
 *   authorizedKeys: [ada.publicKey],
 *   resolve: (name) => (name === 'red' ? { sandbox: sandbox('local:red') } : undefined),
 * })
 * const [near, far] = memoryPair()
 * const serving = gateway.serveConnection(far)
 * const client = await connect(near, {
 *   username: 'red',
 *   hostKey: pinned(...gateway.hostKeys),
 *   auth: [publickey(ada)],
 * })
 * console.log((await client.run('echo in red')).text().trim()) // in red
 * await client.close()
 * await serving
 * await gateway.close()
 */
export async function prepareGateway(options: GatewayOptions): Promise<SshServer> {
  checkServerOptions(options)
  const { resolve, user, start = false, onStarting, onError } = options
  const { connectionsPerSandbox: connectionsMax = CONNECTIONS_PER_SANDBOX } = options
  const { lingerMs = LINGER_MS } = options
  if (typeof resolve !== 'function') throw new TypeError('resolve must be a function')
  if (!Number.isInteger(connectionsMax) || connectionsMax < 1) {
    throw new RangeError('connectionsPerSandbox must be a positive integer')
  }
  if (!(lingerMs >= 0 && lingerMs < 2 ** 31)) {
    throw new RangeError('lingerMs must be a number of milliseconds')
  }
  const home = typeof options.home === 'object' ? options.home : openHomeAt(options.home)
  const access = accessOptions(home, options)
  await requireSomebody(access, options)
  const hostKeys = await loadHostKeys(gatewayHostKeyPath(home), options)
  const tenancy = new Tenancy({ connectionsMax, start, lingerMs, onStarting, onError })
  return new SshServer({
    site: new Gateway({ resolve, tenancy, user, access }),
    options,
    hostKeys,
    inactivitySecs: inactivitySecsOf(options, home),
  })
}

/** As far as the names are known. @throws SandboxError `AUTHORIZED_KEY_INVALID` */
async function requireSomebody(
  access: ReturnType<typeof accessOptions>,
  { names = [], resolve, onWarning }: GatewayOptions,
): Promise<void> {
  const fixed = (paths: readonly string[] | undefined): readonly string[] | undefined =>
    paths?.filter((path) => !path.includes('%s'))
  // Whatever it answers, it throws for files that will never let anybody in.
  new Access({
    ...access,
    sandbox: undefined,
    paths: fixed(access.paths),
    authorityPaths: fixed(access.authorityPaths),
    revokedPaths: fixed(access.revokedPaths),
  }).objection()
  const objections: string[] = []
  for (const name of names) {
    const found = await resolve(name)
    const objection = accessTo({ access }, name, found?.sandbox).objection()
    if (objection !== undefined) objections.push(`nobody may enter ${name}: ${objection}`)
  }
  const [first] = objections
  if (first === undefined) return
  if (objections.length === names.length) throw new SandboxError('AUTHORIZED_KEY_INVALID', first)
  for (const objection of objections) onWarning?.(objection)
}

/** Where keys come from, for whichever sandbox. */
function accessOptions(
  home: Home,
  options: SshServerOptions,
): Omit<AccessOptions, 'sandbox' | 'name'> {
  return {
    home,
    paths: pathList(options.authorizedKeysPath, 'authorizedKeysPath'),
    keys: options.authorizedKeys,
    authorityPaths: pathList(options.authoritiesPath, 'authoritiesPath'),
    authorities: options.authorities,
    principals: options.principals,
    revokedPaths: pathList(options.revokedKeysPath, 'revokedKeysPath'),
    onWarning: options.onWarning,
  }
}

async function loadHostKeys(
  defaultPath: string | undefined,
  options: SshServerOptions,
): Promise<readonly Signer[]> {
  const paths = pathList(options.hostKeyPath, 'hostKeyPath')
  if (options.hostKeys !== undefined) return options.hostKeys
  if (paths !== undefined) {
    return Promise.all(paths.map((path) => loadOrCreateHostKey(path, { custom: true })))
  }
  if (defaultPath === undefined) {
    throw new TypeError('hostKeyPath or hostKeys is needed for a sandbox without a name')
  }
  return [await loadOrCreateHostKey(defaultPath)]
}

function openHomeAt(path: string | undefined): Home {
  return path === undefined ? openHome() : openHome({ path })
}

function inactivitySecsOf(
  options: Pick<SshServerOptions, 'inactivityTimeoutSecs'>,
  home: Home,
): number {
  return (
    options.inactivityTimeoutSecs ?? home.config.inactivityTimeoutSecs ?? INACTIVITY_TIMEOUT_SECS
  )
}
