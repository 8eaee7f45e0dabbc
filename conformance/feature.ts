// Trials of what one peer does with us, beyond the algorithms: each is a row in the results.

import { suite } from 'uvu'
import { pool, TRIALS_AT_ONCE } from './pool.ts'
import { recorded, recordUntried } from './results.ts'
import { within } from './within.ts'

/** Which side the peer is. */
export type Role = 'client' | 'server'

/** How areas of the results begin, by the side that the peer is. */
export const areaOf: Readonly<Record<Role, string>> = {
  client: 'Other clients of our server',
  server: 'Our client of other servers',
}

/** How a trial is run. */
export interface FeatureOptions {
  /** Why it cannot be tried here, if so; in CI that is a failure. */
  readonly missing?: string | undefined
  /** When to give up; after 30 s by default. */
  readonly limitMs?: number
}

/** A suite to be filled with trials; its end runs them, several at a time. */
export interface Features {
  (name: string, body: () => Promise<void>, options?: FeatureOptions): void
  /** To be done once all have ended. */
  readonly after: (body: () => Promise<void>) => void
  readonly run: () => void
}

/** Makes a suite for one area of what the peer does in that role. */
export function features(
  peer: string,
  role: Role,
  area: string,
  atOnce = TRIALS_AT_ONCE,
): Features {
  const test = suite(`${peer} as ${role}: ${area}`)
  const scheduled = pool(atOnce)
  const row = `${areaOf[role]}: ${area}`
  const add = (name: string, body: () => Promise<void>, options: FeatureOptions = {}): void => {
    const { missing, limitMs = 30_000 } = options
    if (missing !== undefined && process.env['CI'] === undefined) {
      recordUntried(peer, missing, { area: row, name })
      test.skip(`${name}: ${missing}`, () => {})
      return
    }
    const run = async (): Promise<void> => {
      if (missing !== undefined) throw new Error(missing)
      await within(limitMs, body())
    }
    test(name, recorded(row, name, peer, scheduled(run)))
  }
  return Object.assign(add, { after: test.after, run: test.run })
}
