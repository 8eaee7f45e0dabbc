/** Durations as microsandbox writes them. */

/** Larger ones do not fit what the SDK takes, in seconds. */
const SECONDS_MAX = 4_294_967_295

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  '': 1000,
  m: 60_000,
  h: 3_600_000,
}

/**
 * Reads a whole number with `ms`, `s`, `m`, `h` or nothing (seconds); 0 in any unit means never.
 * Returns milliseconds. Throws RangeError saying what is allowed.
 */
export function parseDuration(text: string): number {
  const [, digits, unit] = /^\s*(\d+)\s*(ms|s|m|h|)\s*$/.exec(text) ?? []
  const factor = unit === undefined ? undefined : UNIT_MS[unit]
  if (digits === undefined || factor === undefined) {
    throw new RangeError('a duration is a whole number with ms, s, m or h, such as 90s or 10m')
  }
  const ms = Number(digits) * factor
  if (ms > SECONDS_MAX * 1000) throw new RangeError(`a duration is at most ${SECONDS_MAX} seconds`)
  return ms
}
