/** Durations as microsandbox writes them. */

/** Larger ones do not fit what the SDK takes, in seconds. */
const SECONDS_MAX = 4_294_967_295

const DAY_MS = 24 * 3_600_000

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

/**
 * The same with `d` and `w` as well, and not 0: how long something is allowed.
 */
export function parseLifetime(text: string): number {
  const [, digits, unit] = /^\s*(\d{1,6})\s*([dw])\s*$/.exec(text) ?? []
  const ms =
    digits === undefined
      ? lifetimeBelowDays(text)
      : Number(digits) * (unit === 'w' ? 7 * DAY_MS : DAY_MS)
  if (ms === 0) throw new RangeError('it is longer than nothing')
  if (ms > SECONDS_MAX * 1000) throw new RangeError(`it is at most ${SECONDS_MAX} seconds`)
  return ms
}

function lifetimeBelowDays(text: string): number {
  try {
    return parseDuration(text)
  } catch {
    throw new RangeError('it is a whole number with s, m, h, d or w, such as 8h or 30d')
  }
}
