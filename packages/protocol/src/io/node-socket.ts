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
 * await connect(nodeSocket(createConnection({ host: 'box', port: 22 })), options)
 */
export function nodeSocket(socket: NodeSocket): Transport {
  socket.setNoDelay?.(true)
  socket.allowHalfOpen = true
  return nodeStreams(socket, socket)
}
