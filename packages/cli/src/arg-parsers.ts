/** What several commands' options have in common. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { parseDuration } from './duration.ts'

/** For options that may be repeated. */
export function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text]
}

/** A parser whose RangeError is a usage error. */
export function checked<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text)
    } catch (error) {
      throw new InvalidArgumentError(`${error instanceof Error ? error.message : error}.`)
    }
  }
}

/** `--inactivity-timeout` and its contrary; `otherwise` is what counts where nothing says. */
export function addInactivity(command: Command, otherwise: string): void {
  command
    .addOption(
      new Option(
        '--inactivity-timeout <duration>',
        'end a session without traffic after this, such as 90s or 10m; 0 for never ' +
          `(default: that of config.json, else ${otherwise})`,
      ).argParser(checked(parseDuration)),
    )
    .option('--no-inactivity-timeout', 'never end a session for want of traffic')
  // To commander both are one option, of which the last would count.
  let given: string | undefined
  for (const name of ['inactivity-timeout', 'no-inactivity-timeout']) {
    command.on(`option:${name}`, () => {
      if (given !== undefined && given !== name) {
        command.error(`error: option '--${name}' cannot be used with option '--${given}'`)
      }
      given = name
    })
  }
}

/** Milliseconds of either of them; 0 for never, undefined if neither was given. */
export function inactivityOf(options: Record<string, unknown>): number | undefined {
  const value = options['inactivityTimeout']
  if (value === false) return 0
  return typeof value === 'number' ? value : undefined
}

/** @throws InvalidArgumentError */
export function integer(text: string, least: number, most: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (value >= least && value <= most) return value
  throw new InvalidArgumentError(`it is a number from ${least} to ${most}.`)
}
