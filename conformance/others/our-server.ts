// Our server in this process, for one client of another implementation.

import { createServer } from 'node:net'
import {
  nodeSocket,
  type ServerConnection,
  type ServerOptions,
  type SessionHandler,
  type Signer,
  serve,
} from '@sandbox-ssh/protocol'
import { parseCommand } from '../peers/command.ts'

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

/** Listens on a free loopback port. */
export async function startOurServer(
  hostKey: Signer,
  options: Partial<ServerOptions>,
): Promise<OurServer> {
  const connections: ServerConnection[] = []
  const errors: string[] = []
  const trace: string[] = []
  const server = createServer((socket) => {
    serve(nodeSocket(socket), {
      hostKeys: [hostKey],
      auth: {},
      exec: commands,
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
