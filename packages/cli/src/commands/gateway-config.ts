/** `msb ssh config --gateway`: the way through a gateway, whose host key is made sure of. */
import { connect as connectSocket } from 'node:net'
import { connect, nodeSocket, PublicKey } from '@sandbox-ssh/protocol'
import {
  authorizeKeys,
  type GatewayConfigBlock,
  gatewayHostKeyPath,
  type Home,
  listSandboxes,
  prepareGatewayConfig,
  readHostKey,
} from '@sandbox-ssh/sandbox-bridge'
import type { CommandContext } from '../context.ts'
import { CliError, explain } from '../failure.ts'
import { formatAddress } from '../listen.ts'
import type { GatewayEntry } from '../serve-args.ts'
import type { ConfigCommand, GatewayAddress } from '../tool-args.ts'

/** How long a gateway may take to show its host key. */
const LOOK_MS = 20_000

/** One block for each sandbox, or one for the gateway itself. */
export async function gatewayBlocks(
  command: ConfigCommand,
  gateway: GatewayAddress,
  context: CommandContext,
): Promise<readonly GatewayConfigBlock[]> {
  const home = context.home()
  const { hostKeys, isOurs } = await hostKeysOf(gateway, home)
  const { entries } = gateway
  const names = entries.length === 0 ? [undefined] : entries.map(({ name }) => name)
  const blocks: GatewayConfigBlock[] = []
  for (const name of names) {
    const block = await prepareGatewayConfig(home, {
      host: gateway.host,
      port: gateway.port,
      hostKeys,
      sandbox: name,
      user: command.user,
      alias: command.alias,
      identityPath: gateway.identity,
    })
    blocks.push(block)
  }
  const [{ identity } = { identity: undefined }] = blocks
  if (identity !== undefined) await letIn(identity, entries, isOurs, context)
  return blocks
}

/** What the gateway may show, and whether it is the one of this MSB_HOME. */
async function hostKeysOf(
  gateway: GatewayAddress,
  home: Home,
): Promise<{ readonly hostKeys: readonly PublicKey[]; readonly isOurs: boolean }> {
  const own = await readHostKey(gatewayHostKeyPath(home))
  if (gateway.hostKeys.length > 0) {
    const hostKeys = await Promise.all(gateway.hostKeys.map((text) => hostKey(text, gateway)))
    return { hostKeys, isOurs: hostKeys.some((key) => key.fingerprint() === own?.fingerprint()) }
  }
  if (own !== undefined) return { hostKeys: [own], isOurs: true }
  throw new CliError(
    'the host key of that gateway is not known here: give it with --host-key, as msb ssh keys ' +
      'shows it on its machine',
  )
}

async function hostKey(text: string, gateway: GatewayAddress): Promise<PublicKey> {
  if (text.startsWith('SHA256:')) return lookedAt(gateway, text.trim())
  try {
    return PublicKey.parse(text)
  } catch (cause) {
    throw new CliError(`--host-key: ${explain(cause)}`, { cause })
  }
}

/** A fingerprint is enough to recognize a key by, but not to pin: the server shows all of it. */
async function lookedAt(gateway: GatewayAddress, fingerprint: string): Promise<PublicKey> {
  const { host, port } = gateway
  const where = formatAddress({ address: host, port })
  let shown: PublicKey | undefined
  try {
    const client = await connect(nodeSocket(connectSocket({ host, port })), {
      username: 'none',
      hostKey: (key) => {
        shown = key
        return false
      },
      auth: [],
      signal: AbortSignal.timeout(LOOK_MS),
    })
    await client.close()
  } catch (cause) {
    if (shown === undefined) {
      throw new CliError(`cannot look at the host key of ${where}: ${explain(cause)}`, { cause })
    }
  }
  if (shown?.fingerprint() === fingerprint) return shown
  throw new CliError(
    `${where} has another host key, ${shown?.fingerprint()}: it is not that gateway, or the ` +
      'fingerprint is of another of its keys',
  )
}

/** The key pair is let in where the gateway is ours and it is clear whereto; else it is told how. */
async function letIn(
  key: PublicKey,
  entries: readonly GatewayEntry[],
  isOurs: boolean,
  { home, output }: CommandContext,
): Promise<void> {
  const line = key.toString().split(' ').slice(0, 2).join(' ')
  const told = (sandbox: string): void =>
    output.warn(
      `the gateway must let this key in; there: msb ssh authorize --sandbox ${sandbox} --key '${line}'`,
    )
  if (entries.length === 0) told('SANDBOX')
  const known = listSandboxes(home()).map(({ name }) => name)
  for (const { name, sandbox } of entries) {
    // A bare name may be one of microsandbox's, an embedded one's, or one given by `NAME=`.
    const candidates = known.filter((other) => other === name || other === `local:${name}`)
    const [found, ...more] = name === sandbox ? candidates : [sandbox]
    if (found === undefined || more.length > 0) told(name === sandbox ? 'SANDBOX' : sandbox)
    else if (!isOurs) told(sandbox)
    else await authorizeKeys(home(), `${line} msb ssh config`, { sandbox: found })
  }
}
