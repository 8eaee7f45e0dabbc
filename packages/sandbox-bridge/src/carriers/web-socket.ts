/** A relay behind a WebSocket. */
import { type Transport, type WebSocketLike, webSocket } from '@sandbox-ssh/protocol'
import { SandboxError } from '../home/errors.ts'
import { awaitGreeting } from './greeting.ts'
import { CONNECT_MS, type DialOptions } from './unix.ts'

/**
 * Connects to `ws:` or `wss:` where the runtime has WebSockets (Node 22, Bun, Deno, browsers).
 * @throws SandboxError `SANDBOX_UNREACHABLE`; or the signal's reason
 */
export async function dialWebSocket(url: string, options: DialOptions = {}): Promise<Transport> {
  const { signal, timeoutMs = CONNECT_MS } = options
  signal?.throwIfAborted()
  // Credentials and tokens in an address are nothing for a message.
  const { protocol, host } = new URL(url)
  const label = `${protocol}//${host}`
  const { WebSocket: Socket } = globalThis as { WebSocket?: new (url: string) => WebSocketLike }
  if (Socket === undefined) {
    const message = `${label}: this runtime has no WebSocket; Node has one from version 22 on`
    throw new SandboxError('SANDBOX_UNREACHABLE', message)
  }
  try {
    return await awaitGreeting(webSocket(new Socket(url)), { signal, timeoutMs })
  } catch (cause) {
    if (signal?.aborted) throw signal.reason
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new SandboxError('SANDBOX_UNREACHABLE', `${label}: ${why}`, { cause })
  }
}
