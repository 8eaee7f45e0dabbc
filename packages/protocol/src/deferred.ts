/** A promise that is settled from outside, and that never becomes an unhandled rejection. */

/** A promise and the two ways to settle it. */
export interface Deferred<T> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (reason: unknown) => void
}

/**
 * Makes one. Who awaits `promise` sees its rejection as usual; who dropped it on the floor (a write
 * nobody waited for, on a connection that was just cut) does not bring the process down.
 */
export function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void
  let reject!: (reason: unknown) => void
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  promise.catch(ignore)
  return { promise, resolve, reject }
}

/** A rejection that may be left alone, for the same reason. */
export function rejected<T = never>(reason: unknown): Promise<T> {
  const promise = Promise.reject<T>(reason)
  promise.catch(ignore)
  return promise
}

/** For promises whose failure is told elsewhere. */
export function ignore(): void {}
