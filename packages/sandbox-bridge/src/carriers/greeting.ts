/**
 * Waiting for the first bytes of a relay. A listener that is just ending still completes
 * connections out of its backlog; only its greeting shows that somebody is there.
 */
import type { Transport } from '@sandbox-ssh/protocol'
import { SandboxError } from '../home/errors.ts'

/** What bounds the wait. */
export interface GreetingOptions {
  readonly signal?: AbortSignal | undefined
  readonly timeoutMs: number
}

/**
 * Resolves with the transport, its first bytes still to be read. Otherwise it is aborted.
 * @throws SandboxError `SANDBOX_UNREACHABLE`; or the signal's reason
 */
export async function awaitGreeting(
  transport: Transport,
  { signal, timeoutMs }: GreetingOptions,
): Promise<Transport> {
  const timer = setTimeout(() => {
    transport.abort(new SandboxError('SANDBOX_UNREACHABLE', `no greeting in ${timeoutMs} ms`))
  }, timeoutMs)
  const abort = (): void => transport.abort(signal?.reason)
  signal?.addEventListener('abort', abort, { once: true })
  try {
    signal?.throwIfAborted()
    const greeting = await transport.read()
    if (greeting !== undefined) return withPrefix(greeting, transport)
    throw new SandboxError('SANDBOX_UNREACHABLE', 'it closed the connection at once')
  } catch (error) {
    transport.abort(error)
    throw error
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}

/** The transport with bytes that were read from it already. */
export function withPrefix(prefix: Uint8Array, transport: Transport): Transport {
  let first: Uint8Array | undefined = prefix
  return {
    read: () => {
      const chunk = first
      first = undefined
      return chunk === undefined ? transport.read() : Promise.resolve(chunk)
    },
    write: (chunk) => transport.write(chunk),
    close: () => transport.close(),
    abort: (reason) => transport.abort(reason),
  }
}
