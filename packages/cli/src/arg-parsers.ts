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
}

/**
 * Makes it an error to give a value twice, unless the option's help calls it repeatable, or an
 * option together with its contrary: commander would drop all but the last without a word.
 */
export function refuseContradictions(command: Command): void {
  const given = new Set<string>()
  const options = new Map(command.options.map((option) => [option.long, option]))
  for (const option of command.options) {
    const { long = '', required, description, negate } = option
    const contrary = options.get(negate ? long.replace('--no-', '--') : long.replace('--', '--no-'))
    command.on(`option:${option.name()}`, () => {
      if (required && given.has(long) && !description.includes('repeatable')) {
        command.error(`error: option '${option.flags}' cannot be used twice`)
      }
      if (contrary?.long !== undefined && given.has(contrary.long)) {
        command.error(`error: option '${long}' cannot be used with option '${contrary.long}'`)
      }
      given.add(long)
    })
  }
}

/** A name of a terminal type, as it goes into TERM. */
export function terminalType(text: string): string {
  if (/^[\x21-\x7e]+$/.test(text)) return text
  throw new InvalidArgumentError('it is the name of a terminal type, such as xterm-256color.')
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
