/**
 * Making guessing slow: a source of failed logins is turned away for a while, and for longer the more
 * it fails. After sshd's PerSourcePenalties.
 */

/** Seconds that each way of not getting in costs. */
const COSTS = {
  /** It showed a key that is not authorized. */
  refused: 5,
  /** It left without having tried. */
  idle: 1,
  /** It did not get in within the time there is for it. */
  timeout: 10,
} as const

/** How a connection ended on which nobody got in. */
export type Offence = keyof typeof COSTS

/** Penalties shorter than this have no effect yet: a mistake or two is nobody's attack. */
const THRESHOLD_MS = 15_000
const LONGEST_MS = 600_000
/** Sources remembered. A new one beyond takes the place of that whose penalty ends first. */
const SOURCES_MAX = 4096

interface Penalty {
  untilMs: number
  /** Whether it has reached the threshold. */
  active: boolean
}

/** Remembers sources. Time is what `nowMs` says, for tests. */
export class SourcePenalties {
  readonly #penalties = new Map<string, Penalty>()
  readonly #now: () => number

  constructor(nowMs: () => number = () => performance.now()) {
    this.#now = nowMs
  }

  /** Milliseconds for which an address is turned away; 0 if it is welcome. */
  remainingMs(address: string): number {
    const penalty = this.#penalties.get(sourceOf(address))
    return penalty?.active ? Math.max(0, penalty.untilMs - this.#now()) : 0
  }

  /** Adds to the penalty of an address. */
  punish(address: string, offence: Offence): void {
    const source = sourceOf(address)
    const now = this.#now()
    const { untilMs = 0, active = false } = this.#penalties.get(source) ?? {}
    const running = untilMs > now
    const until = Math.min(now + LONGEST_MS, (running ? untilMs : now) + COSTS[offence] * 1000)
    this.#penalties.set(source, {
      untilMs: until,
      active: (running && active) || until - now >= THRESHOLD_MS,
    })
    if (this.#penalties.size > SOURCES_MAX) this.#forgetOne(source)
  }

  #forgetOne(except: string): void {
    let first: string | undefined
    let least = Number.POSITIVE_INFINITY
    for (const [source, { untilMs }] of this.#penalties) {
      if (untilMs >= least || source === except) continue
      first = source
      least = untilMs
    }
    if (first !== undefined) this.#penalties.delete(first)
  }
}

/** An IPv6 user has a whole /64 to come from. */
function sourceOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped !== undefined || !address.includes(':')) return mapped ?? address
  const [head = '', tail] = (address.split('%')[0] ?? '').split('::')
  const front = head === '' ? [] : head.split(':')
  const back = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - front.length - back.length)
  const groups = [...front, ...Array<string>(zeros).fill('0'), ...back]
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`
}
