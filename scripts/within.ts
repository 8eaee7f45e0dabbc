// For tests, as uvu has no time limits: a promise that must settle is told how long it may take.

/**
 * What is guarded against is waiting for ever; no test says how fast anything is. So the limits, which
 * are meant for a machine with nothing else to do, are stretched: with fifteen processes waiting for
 * two cores the tests took up to eight times as long, and limits that were not stretched broke them.
 */
const PATIENCE = 4

/** `promise`, or a rejection naming `what` once `ms` have passed, times our patience. */
export function within<T>(ms: number, promise: Promise<T>, what = 'this'): Promise<T> {
  return new Promise((resolve, reject) => {
    const limitMs = ms * PATIENCE
    const late = (): void => reject(new Error(`${what} took longer than ${limitMs} ms`))
    const timer = setTimeout(late, limitMs)
    promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

/** The reason for which `promise` rejects; an error if it does not. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  let value: unknown
  try {
    value = await promise
  } catch (error) {
    return error
  }
  throw new Error(`expected a rejection, got ${String(value)}`)
}
