/** What is decided on the host about sessions in a sandbox, and the checking of such options. */

/** How sessions of a sandbox are set up; everything has a default in the guest. */
export interface SessionSettings {
  /** Absolute path of the shell for commands and logins; default: the user's own, else /bin/sh. */
  readonly shell?: string | undefined
  /** Absolute path that sessions start in; default: the user's home. */
  readonly workdir?: string | undefined
  /** Variables every session gets, laid over those of the guest. */
  readonly env?: Readonly<Record<string, string>> | undefined
}

/** Variables a client may set unless told otherwise; `*` stands for anything. */
export const ACCEPTED_ENV: readonly string[] = ['LANG', 'LC_*', 'TERM', 'COLORTERM']

/** Longest inactivity limit, in seconds. */
const INACTIVITY_SECS_MAX = 4_294_967_295

/** @throws RangeError if it is neither absent nor a number of seconds */
export function checkInactivity(value: number | undefined): void {
  if (value === undefined) return
  if (Number.isInteger(value) && value >= 0 && value <= INACTIVITY_SECS_MAX) return
  throw new RangeError(
    `inactivityTimeoutSecs must be an integer between 0 and ${INACTIVITY_SECS_MAX}`,
  )
}

/** @throws TypeError naming the option if it is neither absent nor a usable text */
export function checkText(value: string | undefined, name: string): void {
  if (value === undefined) return
  // Control characters would end up in terminals and, as NUL, cut short what the guest sees.
  if (typeof value === 'string' && value !== '' && !hasControl(value)) return
  throw new TypeError(`${name} must be a non-empty string without control characters`)
}

/** @throws TypeError naming the option */
export function checkBoolean(value: boolean | undefined, name: string): void {
  if (value !== undefined && typeof value !== 'boolean') {
    throw new TypeError(`${name} must be a boolean`)
  }
}

/** @throws TypeError naming the option */
export function checkAbsolute(value: string | undefined, name: string): void {
  checkText(value, name)
  if (value !== undefined && !value.startsWith('/')) {
    throw new TypeError(`${name} must be an absolute path`)
  }
}

/** @throws TypeError naming the variable */
export function checkEnv(env: Readonly<Record<string, string>> | undefined, option: string): void {
  if (env === undefined) return
  if (typeof env !== 'object' || env === null) throw new TypeError(`${option} must be an object`)
  for (const [name, value] of Object.entries(env)) {
    if (name === '' || name.includes('=') || name.includes('\0')) {
      throw new TypeError(`${option} has a variable that cannot be named ${JSON.stringify(name)}`)
    }
    if (typeof value !== 'string' || value.includes('\0')) {
      throw new TypeError(`${option}.${name} must be a string without NUL`)
    }
  }
}

/** @throws TypeError naming the pattern */
export function checkEnvPatterns(patterns: readonly string[] | undefined): void {
  if (patterns === undefined) return
  if (!Array.isArray(patterns)) throw new TypeError('acceptEnv must be an array of names')
  for (const pattern of patterns) {
    if (typeof pattern !== 'string' || !/^[A-Za-z_*?][A-Za-z0-9_*?]*$/.test(pattern)) {
      throw new TypeError(`acceptEnv: ${JSON.stringify(pattern)} is not a name or pattern`)
    }
  }
}

/** Decides about names, such as those of variables, by patterns with `*` and `?`. */
export function nameFilter(patterns: readonly string[]): (name: string) => boolean {
  const expressions = patterns.map((pattern) => {
    // A run of stars means no more than one, and would make the matching slow.
    const plain = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&')
    const source = plain.replace(/\*+/g, '.*').replace(/\?/g, '.')
    return new RegExp(`^${source}$`, 's')
  })
  return (name) => expressions.some((expression) => expression.test(name))
}

function hasControl(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return /[\u0000-\u001f\u007f]/.test(text)
}
