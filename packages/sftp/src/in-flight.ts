/**
 * How many requests to keep in flight. Enough to fill the way to the server and back, whatever its
 * length; not so many that they only wait in line at the other end, where they cost memory and make
 * everything else on the connection wait.
 */

/** To begin with: a small file goes out at once, a large one soon has more. */
const FIRST = 8
/** Answers slower than this times the fastest, and this much, show that requests wait in line. */
const SLOWDOWN = 4
const SLACK_MS = 2

/** Learns a limit from how long requests take. */
export class InFlight {
  readonly #max: number
  #limit: number
  #fastestMs = Number.POSITIVE_INFINITY

  /** `max` bounds memory: blocks in flight at most. */
  constructor(max: number) {
    this.#max = Math.max(1, max)
    this.#limit = Math.min(FIRST, this.#max)
  }

  get limit(): number {
    return this.#limit
  }

  /** Takes note of a request that took `ms`. As long as they take no longer, one more may go. */
  learn(ms: number): void {
    this.#fastestMs = Math.min(this.#fastestMs, ms)
    if (ms > this.#fastestMs * SLOWDOWN + SLACK_MS) return
    this.#limit = Math.min(this.#max, this.#limit + 1)
  }
}
