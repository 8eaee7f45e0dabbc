/** Ending connections on which nothing passes. */
import { SshError, type Transport } from '@sandbox-ssh/protocol'

/** setTimeout takes no longer ones. */
const TIMER_MS_MAX = 0x7fff_ffff

/** A clock that is set back by every byte. */
export interface InactivityWatch {
  /** Something has passed. */
  touch(): void
  /** The connection is over: it never expires any more. */
  stop(): void
}

/**
 * Calls `expire` with SshError `SSH_TIMEOUT` once nothing has passed for `seconds`; with 0 or
 * undefined there is no watch.
 */
export function watchInactivity(
  seconds: number | undefined,
  expire: (error: SshError) => void,
): InactivityWatch | undefined {
  if (seconds === undefined || seconds === 0) return undefined
  let stopped = false
  const timer = setTimeout(
    () => {
      stopped = true
      expire(new SshError('SSH_TIMEOUT', `no activity for ${seconds} seconds`))
    },
    Math.min(seconds * 1000, TIMER_MS_MAX),
  )
  return {
    touch: () => {
      if (!stopped) timer.refresh()
    },
    stop: () => {
      stopped = true
      clearTimeout(timer)
    },
  }
}

/**
 * The transport, and `expire` called with SshError `SSH_TIMEOUT` once no byte has passed either way
 * for `seconds`; 0 or undefined: never.
 */
export function withInactivityLimit(
  transport: Transport,
  seconds: number | undefined,
  expire: (error: SshError) => void,
): Transport {
  const watch = watchInactivity(seconds, expire)
  if (watch === undefined) return transport
  return {
    read: async () => {
      try {
        const chunk = await transport.read()
        if (chunk === undefined) watch.stop()
        else watch.touch()
        return chunk
      } catch (error) {
        watch.stop()
        throw error
      }
    },
    write: (chunk) => {
      watch.touch()
      return transport.write(chunk)
    },
    close: () => {
      watch.stop()
      return transport.close()
    },
    abort: (reason) => {
      watch.stop()
      transport.abort(reason)
    },
  }
}
