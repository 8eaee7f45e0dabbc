/** Ending connections on which nothing passes. */
import { SshError, type Transport } from '@sandbox-ssh/protocol'

/** setTimeout takes no longer ones. */
const TIMER_MS_MAX = 0x7fff_ffff

/**
 * The transport, aborted with SshError `SSH_TIMEOUT` once no byte has passed either way for
 * `seconds`; 0 or undefined: never.
 */
export function withInactivityLimit(transport: Transport, seconds: number | undefined): Transport {
  if (seconds === undefined || seconds === 0) return transport
  const limitMs = Math.min(seconds * 1000, TIMER_MS_MAX)
  let timer: ReturnType<typeof setTimeout> | undefined
  const expire = (): void => {
    transport.abort(new SshError('SSH_TIMEOUT', `no activity for ${seconds} seconds`))
  }
  const restart = (): void => {
    clearTimeout(timer)
    timer = setTimeout(expire, limitMs)
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
        else restart()
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
    ...(transport.inProcess === true ? { inProcess: true } : {}),
  }
}
