/** A relay behind a WebSocket. */
import { type Transport, type WebSocketLike, webSocket } from '@sandbox-ssh/protocol'
import { SandboxError } from '../home/errors.ts'
import { awaitGreeting } from './greeting.ts'
import { CONNECT_MS, type DialOptions } from './unix.ts'

/**
 * Connects to `ws:` or `wss:`, with the runtime's own WebSocket or, on Node 20, which has none, that
 * of the package ws.
 * @throws SandboxError `SANDBOX_UNREACHABLE`; or the signal's reason
 */
export async function dialWebSocket(url: string, options: DialOptions = {}): Promise<Transport> {
  const { signal, timeoutMs = CONNECT_MS } = options
  signal?.throwIfAborted()
  // Credentials and tokens in an address are nothing for a message.
  const { protocol, host } = new URL(url)
  const label = `${protocol}//${host}`
  try {
    return await awaitGreeting(webSocket(await openSocket(url)), { signal, timeoutMs })
  } catch (cause) {
    if (signal?.aborted) throw signal.reason
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new SandboxError('SANDBOX_UNREACHABLE', `${label}: ${why}`, { cause })
  }
}

async function openSocket(url: string): Promise<WebSocketLike> {
  const { WebSocket: Own } = globalThis as { WebSocket?: new (url: string) => WebSocketLike }
  if (Own !== undefined) return new Own(url)
  const { WebSocket: Other } = await import('ws')
  // What is carried is mostly encrypted or compressed already, and a bomb has no way in.
  return new Other(url, { perMessageDeflate: false })
}
