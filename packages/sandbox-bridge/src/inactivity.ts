/** Ending connections on which nothing passes. */
import { SshError, type Transport } from '@sandbox-ssh/protocol'

/** setTimeout takes no longer ones. */
const TIMER_MS_MAX = 0x7fff_ffff

/**
 * The transport, and `expire` called with SshError `SSH_TIMEOUT` once no byte has passed either way
 * for `seconds`; 0 or undefined: never. By default the transport is then aborted.
 */
export function withInactivityLimit(
  transport: Transport,
  seconds: number | undefined,
  expire: (error: SshError) => void = (error) => transport.abort(error),
): Transport {
  if (seconds === undefined || seconds === 0) return transport
  const limitMs = Math.min(seconds * 1000, TIMER_MS_MAX)
  let timer: ReturnType<typeof setTimeout> | undefined
  const restart = (): void => {
    clearTimeout(timer)
    timer = setTimeout(() => {
      timer = undefined
      expire(new SshError('SSH_TIMEOUT', `no activity for ${seconds} seconds`))
    }, limitMs)
  }
  const stop = (): void => {
    clearTimeout(timer)
    timer = undefined
  }
  restart()
  return {
    read: async () => {
      try {
        const chunk = await transport.read()
        if (chunk === undefined) stop()
        else if (timer !== undefined) restart()
        return chunk
      } catch (error) {
        stop()
        throw error
      }
    },
    write: (chunk) => {
      if (timer !== undefined) restart()
      return transport.write(chunk)
    },
    close: () => {
      stop()
      return transport.close()
    },
    abort: (reason) => {
      stop()
      transport.abort(reason)
    },
  }
}
