/** Limits for what may wait for ever. */
import { within as limited } from '../../../scripts/within.ts'

/** The result of `work`, or a failure after `ms` milliseconds, times our patience. */
export function within<T>(ms: number, work: () => Promise<T>): Promise<T> {
  return limited(ms, Promise.resolve().then(work))
}
