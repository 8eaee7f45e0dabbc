/** Waiting that can be given up: when an AbortSignal fires, or at the deadline of the phase. */
import { deferred, ignore } from './deferred.ts'
import { SshError } from './errors.ts'

/** How a call that waits for the peer is given up. */
export interface WaitOptions {
  /** Firing it rejects with SshError `SSH_ABORTED`, or `SSH_TIMEOUT` for `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
}

/** What is waited for, and how long. */
interface Wait extends WaitOptions {
  /** Names the phase in the error at the deadline. */
  readonly what: string
  /** Milliseconds; undefined waits for ever. */
  readonly limitMs?: number | undefined
}

/** What an AbortSignal that fired means to us. */
export function aborted(signal: AbortSignal): SshError {
  const { reason } = signal
  const what = reason instanceof Error ? reason.message : 'aborted'
  const code =
    reason instanceof Error && reason.name === 'TimeoutError' ? 'SSH_TIMEOUT' : 'SSH_ABORTED'
  return new SshError(code, `aborted: ${what}`, { cause: reason })
}

/** A phase that was not over at its deadline. */
export function overdue(what: string, limitMs: number): SshError {
  return new SshError('SSH_TIMEOUT', `${what} took over ${limitMs} ms`)
}

/** Throws what `aborted` makes of a signal that has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw aborted(signal)
}

/**
 * The outcome of `promise`, unless it is given up first. Then `late` gets what it resolves with after
 * all, so that nobody keeps what nobody waits for.
 */
export function waitFor<T>(
  promise: Promise<T>,
  { signal, what, limitMs }: Wait,
  late: (value: T) => void = ignore,
): Promise<T> {
  if (signal === undefined && limitMs === undefined) return promise
  const outcome = deferred<T>()
  let waiting = true
  let timer: ReturnType<typeof setTimeout> | undefined
  const stop = (): void => {
    waiting = false
    clearTimeout(timer)
    signal?.removeEventListener('abort', onAbort)
  }
  const giveUp = (error: SshError): void => {
    stop()
    outcome.reject(error)
  }
  const onAbort = (): void => giveUp(aborted(signal as AbortSignal))
  promise.then(
    (value) => {
      if (!waiting) return late(value)
      stop()
      outcome.resolve(value)
    },
    (error) => {
      stop()
      outcome.reject(error)
    },
  )
  if (signal?.aborted) {
    onAbort()
  } else {
    signal?.addEventListener('abort', onAbort, { once: true })
    if (limitMs !== undefined) timer = setTimeout(() => giveUp(overdue(what, limitMs)), limitMs)
  }
  return outcome.promise
}
