/** The patterns of ssh_config(5): `*` any run, `?` one character, lists with `!` negation. */

/**
 * True if the whole of `text` matches `pattern`. Linear in practice and never worse than the
 * product of the lengths, whatever a peer or file puts in: only the last `*` is tried again.
 */
export function matchesPattern(text: string, pattern: string): boolean {
  let at = 0
  let inPattern = 0
  let star = -1
  let resume = 0
  while (at < text.length) {
    const wanted = pattern[inPattern]
    if (wanted === '*') {
      star = inPattern++
      resume = at
    } else if (wanted !== undefined && (wanted === '?' || wanted === text[at])) {
      at++
      inPattern++
    } else if (star !== -1) {
      inPattern = star + 1
      at = ++resume
    } else {
      return false
    }
  }
  while (pattern[inPattern] === '*') inPattern++
  return inPattern === pattern.length
}

/**
 * Matches a list of patterns: `denied` if a negated one matches (wherever it stands), else
 * `allowed` if any does, else `none`. An empty pattern matches nothing.
 */
export function matchPatternList(
  text: string,
  patterns: readonly string[],
  matches: (text: string, pattern: string) => boolean = matchesPattern,
): 'allowed' | 'denied' | 'none' {
  let result: 'allowed' | 'none' = 'none'
  for (const pattern of patterns) {
    const negated = pattern.startsWith('!')
    const body = negated ? pattern.slice(1) : pattern
    if (body === '' || !matches(text, body)) continue
    if (negated) return 'denied'
    result = 'allowed'
  }
  return result
}
