/** A Node `net.Server` (TCP or Unix) as a listener. */
import { SshError } from '../errors.ts'
import { Backlog, type IncomingConnection, type Listener } from './listener.ts'
import { type NodeSocket, nodeSocket } from './node-socket.ts'

/** What is needed of a socket that came in. */
export interface NodeIncomingSocket extends NodeSocket {
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
}

/** What is needed of a `net.Server`. */
export interface NodeServer {
  readonly listening: boolean
  on(event: 'connection', listener: (socket: NodeIncomingSocket) => void): unknown
  once(event: 'listening' | 'close', listener: () => void): unknown
  once(event: 'error', listener: (error: Error) => void): unknown
  off(event: 'error', listener: (error: Error) => void): unknown
  address(): string | { readonly port: number } | null
  close(): unknown
}

/**
 * A listener over a server, once that listens. It takes the server over; no other listener may
 * accept its connections. Make it with `allowHalfOpen: true`, so that the end of one direction
 * leaves the other open. Rejects with SshError `SSH_TRANSPORT` if the server cannot listen.
 *
 * @example
 * import { createConnection, createServer } from 'node:net'
 * import { nodeListener } from '@sandbox-ssh/protocol'
 *
 * const listener = await nodeListener(createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1'))
 * const visitor = createConnection(listener.port ?? 0, '127.0.0.1').end('hello')
 * const connection = await listener.accept()
 * console.log(new TextDecoder().decode(await connection?.transport.read())) // hello
 * connection?.transport.abort()
 * visitor.destroy()
 * await listener.close()
 */
export async function nodeListener(server: NodeServer): Promise<Listener> {
  const backlog = new Backlog<IncomingConnection>(({ transport }) => transport.abort())
  server.on('connection', (socket) => {
    const connection = {
      transport: nodeSocket(socket),
      originatorHost: socket.remoteAddress ?? '',
      originatorPort: socket.remotePort ?? 0,
    }
    if (!backlog.offer(connection)) connection.transport.abort()
  })
  if (!server.listening) {
    await new Promise<void>((resolve, reject) => {
      const onError = (cause: Error): void => {
        reject(new SshError('SSH_TRANSPORT', `cannot listen: ${cause.message}`, { cause }))
      }
      server.once('error', onError)
      server.once('listening', () => {
        server.off('error', onError)
        resolve()
      })
    })
  }
  server.once('error', (cause) => {
    backlog.end(new SshError('SSH_TRANSPORT', `listening failed: ${cause.message}`, { cause }))
  })
  server.once('close', () => backlog.end())
  const address = server.address()
  return {
    ...(typeof address === 'object' && address !== null && { port: address.port }),
    accept: ({ signal } = {}) => backlog.accept(signal),
    async close() {
      backlog.end()
      server.close()
    },
  }
}
