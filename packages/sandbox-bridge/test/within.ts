/** uvu has no time limits. */

/** Limits are meant for an idle machine; a busy one gets so many times as long. */
const PATIENCE = 4

/** The result of `work`, or a failure after `ms` milliseconds, times our patience. */
export async function within<T>(ms: number, work: () => Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    const limitMs = ms * PATIENCE
    timer = setTimeout(() => reject(new Error(`not done within ${limitMs} ms`)), limitMs)
  })
  try {
    return await Promise.race([work(), late])
  } finally {
    clearTimeout(timer)
  }
}
