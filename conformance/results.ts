// What passed and what did not. With `CONFORMANCE_RESULTS=FOLDER` each program writes its results
// there, for the tables in the README.

import { writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { root } from '../scripts/bundle.mjs'

/** One line of the results. */
export interface Result {
  readonly area: string
  readonly name: string
  readonly target: string
  readonly passed: boolean
  readonly ms: number
  /** Why it was not tried, if so; without area and name nothing of the target was. */
  readonly untried?: string
}

/** The results of this program. */
const results: Result[] = []

process.once('exit', () => {
  const folder = process.env['CONFORMANCE_RESULTS']
  if (folder === undefined) return
  // The same at each run, so that a later one takes the place of an earlier one.
  const path = relative(root, process.argv[1] ?? '').replace(/^\.build\/[^/]*\//, '')
  const program = path.replaceAll(/\W+/g, '-')
  writeFileSync(join(folder, `${program}.json`), JSON.stringify(results))
})

/** `body` as a test whose outcome is among the results. */
export function recorded(
  area: string,
  name: string,
  target: string,
  body: () => Promise<void>,
): () => Promise<void> {
  return async () => {
    const result = { area, name, target, passed: false, ms: 0 }
    const started = performance.now()
    results.push(result)
    await body()
    const ms = Math.round(performance.now() - started)
    results[results.indexOf(result)] = { ...result, passed: true, ms }
  }
}

/** Notes that a peer is not there, or that it cannot do one thing, and why. */
export function recordUntried(
  target: string,
  why: string,
  what: { readonly area: string; readonly name: string } = { area: '', name: '' },
): void {
  results.push({ ...what, target, passed: false, ms: 0, untried: why })
}
