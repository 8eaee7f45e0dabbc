// Runs what mostly waits for others beside one another, though the outcomes are wanted in order.

/** How many trials wait for their peers beside one another. */
export const TRIALS_AT_ONCE = 4

/**
 * Makes functions that give the outcome of another one. With the first that is called all of those
 * made by then begin, in their order, so many at a time.
 */
export function pool(size: number): (run: () => Promise<void>) => () => Promise<void> {
  const waiting: (() => Promise<void>)[] = []
  let working = 0
  const work = async (): Promise<void> => {
    working++
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await next()
    working--
  }
  return (run) => {
    let settle: (outcome: Promise<void>) => void = () => {}
    const outcome = new Promise<void>((resolve) => {
      settle = resolve
    })
    // It may fail long before anybody waits for it.
    outcome.catch(() => {})
    waiting.push(async () => {
      const running = run()
      settle(running)
      await running.catch(() => {})
    })
    return () => {
      while (working < size && waiting.length > 0) void work()
      return outcome
    }
  }
}
