// A server made of the protocol package alone, as the peer of OpenSSH's programs.

import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import {
  generateKey,
  nodeSocket,
  PublicKey,
  type ServerConnection,
  type ServerOptions,
  serve,
} from '@sandbox-ssh/protocol'
import { temporaryFolder } from './folder.ts'
import { type Endpoint, generateKeyFile } from './openssh.ts'

/** A listening server of ours. */
export interface OwnServer extends Endpoint {
  /** Connections whose user came in, oldest first. */
  readonly connections: readonly ServerConnection[]
  /** Stops listening and closes all connections. */
  stop(): Promise<void>
}

/** Listens on a free loopback port; what `options` does not say is as in `serve`. */
export async function startOwnServer(options: Partial<ServerOptions>): Promise<OwnServer> {
  const identity = await generateKeyFile(join(temporaryFolder(), 'id'))
  const user = PublicKey.parse(readFileSync(`${identity}.pub`, 'utf8'))
  const connections: ServerConnection[] = []
  const hostKeys = [generateKey('ed25519')]
  const server = createServer((socket) => {
    serve(nodeSocket(socket), {
      hostKeys,
      auth: { publickey: ({ key }) => key.equals(user) },
      session: () => 0,
      ...options,
    }).then(
      (connection) => connections.push(connection),
      () => {},
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  return {
    ...{ host: '127.0.0.1', port, username: 'ada', identity, connections },
    async stop() {
      server.close()
      await Promise.all(connections.map((connection) => connection.close()))
    },
  }
}
