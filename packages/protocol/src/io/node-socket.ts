/** A Node `net.Socket` (TCP, Unix, TLS, vsock) as a transport. */
import { type NodeReadable, type NodeWritable, nodeStreams } from './node-streams.ts'
import type { Transport } from './transport.ts'

/** What is needed of a `net.Socket`. */
export interface NodeSocket extends NodeReadable, NodeWritable {
  allowHalfOpen?: boolean
  setNoDelay?(noDelay: boolean): unknown
  on(event: 'data', listener: (chunk: Uint8Array) => void): unknown
  on(event: 'end' | 'close', listener: () => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  destroy(): unknown
  readonly destroyed?: boolean
}

/**
 * A transport over a socket, which may still be connecting: a failure to connect then rejects the
 * first read. It takes the socket over, turns Nagle's algorithm off (output is already joined, and
 * keystrokes should not wait) and allows half-open connections, so that after the end of what the
 * peer sends the rest can still be written. Failures are SshError `SSH_TRANSPORT` with `cause`.
 *
 * @example
 * import { once } from 'node:events'
 * import { type AddressInfo, createConnection, createServer } from 'node:net'
 * import { nodeSocket } from '@sandbox-ssh/protocol'
 *
 * const server = createServer((socket) => socket.end('SSH-2.0-example\r\n')).listen(0, '127.0.0.1')
 * await once(server, 'listening')
 * const { port } = server.address() as AddressInfo
 * const transport = nodeSocket(createConnection(port, '127.0.0.1'))
 * console.log(new TextDecoder().decode(await transport.read()).trim()) // SSH-2.0-example
 * await transport.close()
 * server.close()
 */
export function nodeSocket(socket: NodeSocket): Transport {
  socket.setNoDelay?.(true)
  socket.allowHalfOpen = true
  return nodeStreams(socket, socket)
}
