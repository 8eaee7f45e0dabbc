// Randomness that can be had again.

/** Mulberry32: small, seeded, good enough for choosing. */
export function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/**
 * The seeds to try: 1 to `fixed`, so that every run tries the same, and `more` that no run has tried
 * before. `SEED=n` tries that one alone.
 */
export function seeds(fixed: number, more: number): readonly number[] {
  const asked = process.env['SEED']
  if (asked !== undefined) return [Number(asked)]
  const known = Array.from({ length: fixed }, (_, index) => index + 1)
  const fresh = Array.from({ length: more }, () => 1 + Math.floor(Math.random() * 2 ** 31))
  return [...known, ...fresh]
}
