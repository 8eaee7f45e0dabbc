// OpenSSH's programs and a server of ours to use them against.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { generateKey, nodeSocket } from '@sandbox-ssh/protocol'
import type { Sandbox } from '../src/sandbox.ts'
import type { SshServer } from '../src/ssh-server.ts'
import { temporaryDirectory } from './memory-sandbox.ts'

/** A server that listens, and what `ssh` needs to get in. */
export interface Listening {
  readonly port: number
  /** Where keys are and the clients' own files. */
  readonly local: string
  readonly options: readonly string[]
  readonly server: SshServer
  readonly close: () => Promise<void>
}

/** What became of a program. */
export interface Result {
  readonly code: number | null
  readonly stdout: Buffer
  readonly stderr: string
}

/** Who logs in. Bun's `userInfo` knows it only by the environment. */
export const user: string = spawnSync('id', ['-un']).stdout.toString().trim()

/** Serves a sandbox on a free port. */
export async function listen(
  sandbox: Sandbox,
  permitOpen?: (host: string, port: number) => boolean,
): Promise<Listening> {
  const local = temporaryDirectory()
  const key = generateKey('ed25519')
  writeFileSync(join(local, 'id'), key.toOpenSsh(), { mode: 0o600 })
  const server = await sandbox.ssh().prepareServer({
    hostKeyPath: join(local, 'host_key'),
    authorizedKeys: [key.publicKey],
    permitOpen,
  })
  const sockets = new Set<Socket>()
  const listener: Server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    const peer = {
      clientHost: socket.remoteAddress ?? '',
      clientPort: socket.remotePort ?? 0,
      serverHost: socket.localAddress ?? '',
      serverPort: socket.localPort ?? 0,
    }
    server.serveConnection(nodeSocket(socket), { peer }).catch(() => {})
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const { port } = listener.address() as AddressInfo
  const [hostKey] = server.hostKeys
  writeFileSync(join(local, 'known_hosts'), `[127.0.0.1]:${port} ${hostKey?.toString()}\n`)
  const options = [
    ...['-F', 'none', '-i', join(local, 'id')],
    ...[
      'IdentitiesOnly=yes',
      'IdentityAgent=none',
      `UserKnownHostsFile=${join(local, 'known_hosts')}`,
      'GlobalKnownHostsFile=none',
      'StrictHostKeyChecking=yes',
      'BatchMode=yes',
      'LogLevel=ERROR',
    ].flatMap((option) => ['-o', option]),
  ]
  return {
    port,
    local,
    options,
    server,
    close: async () => {
      await server.close()
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => listener.close(resolve))
    },
  }
}

/** Starts a program with pipes. */
export function start(command: string, args: readonly string[]): ChildProcess {
  return spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] })
}

/** Runs a program to its end. */
export async function run(
  command: string,
  args: readonly string[],
  stdin: Uint8Array | string = '',
): Promise<Result> {
  const child = start(command, args)
  const stdout: Buffer[] = []
  let stderr = ''
  child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString()
  })
  child.stdin?.on('error', () => {})
  child.stdin?.end(stdin)
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, stdout: Buffer.concat(stdout), stderr }
}

/** Runs `ssh` with what comes behind the host. */
export function ssh(
  { options, port }: Listening,
  args: readonly string[],
  stdin?: Uint8Array | string,
): Promise<Result> {
  return run('ssh', [...options, '-p', String(port), `${user}@127.0.0.1`, ...args], stdin)
}
