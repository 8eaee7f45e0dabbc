/** Waiting with an end: time limits and abort signals. */
import { AgentError } from './error.ts'

/** `work`, unless time runs out or the signal fires first. */
export async function limited<T>(work: Promise<T>, ms: number, signal?: AbortSignal): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () =>
        reject(
          new AgentError(
            'timeout',
            `no handshake from the agent relay within ${ms} ms; the sandbox may still be starting`,
          ),
        ),
      ms,
    )
  })
  try {
    return await abortable(Promise.race([work, late]), signal)
  } finally {
    clearTimeout(timer)
    // Aborting the transport ends the work that lost; nobody listens to it any more.
    work.catch(() => {})
  }
}

/** `work`, unless the signal fires first; then `onAbort` undoes it. */
export async function abortable<T>(
  work: Promise<T>,
  signal: AbortSignal | undefined,
  onAbort: () => void = () => {},
): Promise<T> {
  if (signal === undefined) return work
  let stop = () => {}
  const aborted = new Promise<never>((_, reject) => {
    const fire = () => {
      onAbort()
      reject(new AgentError('aborted', 'the operation was aborted', { cause: signal.reason }))
    }
    if (signal.aborted) {
      fire()
    } else {
      signal.addEventListener('abort', fire, { once: true })
      stop = () => signal.removeEventListener('abort', fire)
    }
  })
  work.catch(() => {})
  try {
    return await Promise.race([work, aborted])
  } finally {
    stop()
  }
}
