/** Files behind an SSH server, such as a gateway: the host key must have been pinned. */
import { existsSync, readFileSync } from 'node:fs'
import { connect as connectSocket } from 'node:net'
import { join } from 'node:path'
import {
  type AuthMethod,
  agentKeys,
  connect,
  HostKeyError,
  knownHosts,
  nodeSocket,
  parsePrivateKey,
  publickey,
} from '@sandbox-ssh/protocol'
import { type Home, knownHostsPath } from '@sandbox-ssh/sandbox-bridge'
import { openSftp, type SftpClient } from '@sandbox-ssh/sftp'
import type { CommandContext } from '../context.ts'
import { formatServer, type ServerLogin } from '../copy-spec.ts'
import { CliError, explain } from '../failure.ts'
import { formatAddress } from '../listen.ts'

/** From the first byte to the login. */
const LOGIN_MS = 60_000

/**
 * Runs `work` with the files that a login sees. The keys are the pair of `msb ssh config` and those
 * of the user's agent.
 * @throws CliError naming the server
 */
export async function withServerFiles(
  server: ServerLogin,
  { home }: CommandContext,
  work: (sftp: SftpClient) => Promise<number>,
): Promise<number> {
  const { login, host, port } = server
  const known = knownHostsPath(home())
  const hostKey = knownHosts(existsSync(known) ? readFileSync(known, 'utf8') : '', host, port)
  const client = await connect(nodeSocket(connectSocket({ host, port, noDelay: true })), {
    username: login,
    hostKey,
    auth: await keysOf(home()),
    signal: AbortSignal.timeout(LOGIN_MS),
  }).catch((cause: unknown) => {
    const told = `${formatServer(server)}: ${explain(cause)}`
    const unknown = cause instanceof HostKeyError && cause.reason === 'unknown'
    const where = formatAddress({ address: host, port })
    const remedy = `; pin its key: msb ssh config --gateway ${where} --host-key SHA256:…`
    throw new CliError(unknown ? told + remedy : told, { cause })
  })
  try {
    return await work(await openSftp(client))
  } finally {
    await client.close()
  }
}

async function keysOf(home: Home): Promise<readonly AuthMethod[]> {
  const path = join(home.sshPath, 'id_ed25519')
  const socket = process.env['SSH_AUTH_SOCK']
  return [
    ...(existsSync(path) ? [publickey(await parsePrivateKey(readFileSync(path, 'utf8')))] : []),
    ...(socket ? [agentKeys(() => nodeSocket(connectSocket(socket)))] : []),
  ]
}
