/** What every command works with. */
import type { Home } from '@sandbox-ssh/sandbox-bridge'
import type { LogLevel, Output } from './output.ts'

/** The surroundings of a command. */
export interface CommandContext {
  readonly output: Output
  readonly logLevel: LogLevel
  /** Opened when first needed: a broken configuration is the command's error, not the program's. */
  readonly home: () => Home
}
