// Times several ways of doing the same thing, and prints them as ratios to the first.

/** One way to do the work. */
export interface Way {
  readonly name: string
  /** Does the work once; resolves with how much was done. */
  readonly once: () => Promise<number>
  /** Lays out or clears away what the work needs. Not timed. */
  readonly before?: () => Promise<void>
  /** Looks whether it was done right. Not timed. */
  readonly after?: () => Promise<void>
  /** A program that starts afresh each time has nothing to warm up. */
  readonly isFresh?: boolean
}

/** What is compared, and how often. */
export interface Comparison {
  readonly title: string
  readonly unit: string
  /** How much work makes one unit. */
  readonly scale: number
  readonly rounds: number
}

/** Times the ways in turn, round by round, so that all see the same weather. */
export async function compare(
  { title, unit, scale, rounds }: Comparison,
  ways: readonly Way[],
): Promise<void> {
  const rates = new Map<string, number[]>(ways.map(({ name }) => [name, []]))
  for (let round = 0; round <= rounds; round++) {
    for (const way of ways) {
      // The first round warms up.
      if (round === 0 && way.isFresh) continue
      await way.before?.()
      const started = performance.now()
      const done = await way.once()
      const seconds = (performance.now() - started) / 1000
      await way.after?.()
      if (round > 0) rates.get(way.name)?.push(done / scale / seconds)
    }
  }
  const medianOf = (name: string): number => {
    const sorted = [...(rates.get(name) ?? [])].sort((a, b) => a - b)
    return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  }
  const baseline = medianOf(ways[0]?.name ?? '')
  process.stdout.write(`\n${title}\n`)
  for (const { name } of ways) {
    const all = rates.get(name) ?? []
    const spread = `${Math.min(...all).toFixed(1)}–${Math.max(...all).toFixed(1)}`
    const rate = medianOf(name)
    process.stdout.write(
      `  ${name.padEnd(34)}${rate.toFixed(1).padStart(9)} ${unit}  (${spread})  ×${(rate / baseline).toFixed(2)}\n`,
    )
  }
}
