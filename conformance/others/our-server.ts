// Our server in this process, for one client of another implementation.

import * as fs from 'node:fs/promises'
import { createServer } from 'node:net'
import {
  checkCertificate,
  isCertificate,
  nodeSocket,
  type PublicKey,
  type ServerConnection,
  type ServerOptions,
  type SessionHandler,
  type Signer,
  serve,
} from '@sandbox-ssh/protocol'
import {
  nodeFileSystem,
  parseScpCommand,
  type SftpFileSystem,
  serveScp,
  sftpServer,
} from '@sandbox-ssh/sftp'
import { parseCommand } from '../peers/command.ts'
import { temporaryFolder } from '../peers/folder.ts'
import type { Login } from '../peers/peer.ts'
import { secret, username } from './user.ts'

/** A listening server and what it saw. */
export interface OurServer {
  readonly port: number
  /** Connections whose user came in, oldest first. */
  readonly connections: readonly ServerConnection[]
  /** What went wrong with the others, and the protocol traces of all. */
  report(): string
  /** How often keys were exchanged, on all connections together. */
  keyExchanges(): number
  stop(): Promise<void>
}

/** Runs `cat`, `exit N` and `cat; exit N` as a shell would. */
export const commands: SessionHandler = async (session) => {
  const command = parseCommand(session.command)
  if (command === undefined) return 127
  if (command.copies) {
    for (let chunk = await session.read(); chunk !== undefined; chunk = await session.read()) {
      await session.write(chunk)
    }
  }
  return command.code
}

/** The same, and scp. */
const withScp =
  (files: SftpFileSystem): SessionHandler =>
  async (session) => {
    const scp = parseScpCommand(session.command)
    return scp === undefined ? commands(session) : serveScp(session.transport, files, scp)
  }

/** Lets in who has this key, a certificate of the authority, or the secret by this method. */
export function accepting(
  proof: Login['proof'] | string,
  authority?: PublicKey,
): ServerOptions['auth'] {
  if (typeof proof === 'object' && 'key' in proof) {
    if (proof.certificate === undefined || authority === undefined) {
      return { publickey: ({ key }) => key.equals(proof.key.publicKey) }
    }
    const use = { role: 'user', principals: [username], authorities: [authority] } as const
    return { publickey: ({ key }) => isCertificate(key) && checkCertificate(key, use) !== null }
  }
  const method = typeof proof === 'string' ? proof : proof.method
  if (method === 'password') {
    return { password: (attempt) => attempt.username === username && attempt.password === secret }
  }
  return {
    keyboardInteractive: async (_, ask) => {
      const prompts = [{ prompt: 'Password: ', echo: false }]
      const [answer] = await ask({ name: 'Login', instruction: '', prompts })
      return answer === secret
    },
  }
}

/** Listens on a free loopback port while `body` runs. */
export async function withOurServer(
  hostKey: Signer,
  options: Partial<ServerOptions>,
  body: (server: OurServer) => Promise<void>,
): Promise<void> {
  const server = await start(hostKey, options)
  try {
    await body(server)
  } finally {
    await server.stop()
  }
}

async function start(hostKey: Signer, options: Partial<ServerOptions>): Promise<OurServer> {
  const files = nodeFileSystem(fs, { directory: temporaryFolder() })
  const connections: ServerConnection[] = []
  const errors: string[] = []
  const trace: string[] = []
  const server = createServer((socket) => {
    serve(nodeSocket(socket), {
      hostKeys: [hostKey],
      auth: {},
      exec: withScp(files),
      subsystems: { sftp: sftpServer(files) },
      trace: (line) => trace.push(line),
      onError: (error) => errors.push(String(error)),
      ...options,
    }).then(
      (connection) => connections.push(connection),
      (error) => errors.push(String(error)),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  return {
    port,
    connections,
    report: () => [...errors, ...trace.slice(0, 20), '…', ...trace.slice(-30)].join('\n'),
    keyExchanges: () => trace.filter((line) => line.startsWith('> NEWKEYS')).length,
    async stop() {
      server.close()
      await Promise.all(connections.map((connection) => connection.close()))
    },
  }
}
