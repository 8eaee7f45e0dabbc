/** Values of options, as authorized_keys and allowed_signers write them. */

/**
 * Reads a value in double quotes that begins at `start`; `\"` stands for a quote, any other
 * backslash for itself. Throws TypeError if it does not end.
 */
export function readQuoted(content: string, start: number): { value: string; end: number } {
  let value = ''
  for (let at = start + 1; at < content.length; at++) {
    const character = content[at]
    if (character === '"') return { value, end: at + 1 }
    if (character === '\\' && content[at + 1] === '"') {
      value += '"'
      at++
    } else {
      value += character
    }
  }
  throw new TypeError('a quote is not closed')
}

/**
 * Milliseconds since 1970 of `YYYYMMDD[HHMM[SS]][Z]`, without Z in local time.
 * Throws TypeError for anything else.
 */
export function parseTime(value: string): number {
  const match = /^(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?(Z?)$/i.exec(value)
  if (match === null) throw new TypeError(`a time is YYYYMMDD[HHMM[SS]][Z], not "${value}"`)
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match
    .slice(1, 7)
    .map((digits) => Number(digits ?? 0))
  const utc = match[7] !== ''
  const date = utc
    ? new Date(Date.UTC(year, month - 1, day, hour, minute, second))
    : new Date(year, month - 1, day, hour, minute, second)
  const kept = utc ? date.getUTCDate() : date.getDate()
  // Date takes the 31st of February for the 3rd of March; a typing error must not extend access.
  if (month < 1 || month > 12 || kept !== day || hour > 23 || minute > 59 || second > 60) {
    throw new TypeError(`there is no such time: ${value}`)
  }
  return date.getTime()
}
