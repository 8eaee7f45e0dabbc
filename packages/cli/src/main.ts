/** The `msb` command. */
import { openHome } from '@sandbox-ssh/sandbox-bridge'
import { parseArguments } from './args.ts'
import type { CliCommand } from './command.ts'
import { authorize } from './commands/authorize.ts'
import { complete } from './commands/complete.ts'
import { config } from './commands/config.ts'
import { connect } from './commands/connect.ts'
import { cp } from './commands/cp.ts'
import { doctor } from './commands/doctor.ts'
import { keys } from './commands/keys.ts'
import { foreignCommand, passOn } from './commands/pass-on.ts'
import { relay } from './commands/relay.ts'
import { serve } from './commands/serve.ts'
import type { CommandContext } from './context.ts'
import { EXIT_LOCAL_ERROR, EXIT_USAGE, exitCodeOf, explain } from './failure.ts'
import { Output, wantsColor } from './output.ts'
import { print } from './print.ts'
import { leave, restoreTerminalOnExit } from './terminal.ts'
import { VERSION } from './version.ts'

async function main(): Promise<number> {
  const { env, stderr } = process
  const argv = process.argv.slice(2)
  const foreign = foreignCommand(argv)
  // What is not ours is not even read: its arguments are its own.
  const { command, logLevel } = parseArguments(foreign === undefined ? argv : [], {
    version: VERSION,
    env,
  })
  const output = new Output((text) => stderr.write(text), wantsColor(stderr, env), logLevel)
  // Errors nobody foresaw are still one line, and the terminal is put right on the way out.
  const unforeseen = (error: unknown): void => {
    if (process.stdin.isTTY) process.stdin.setRawMode(false)
    output.error(`unexpected: ${explain(error)}`)
    if (logLevel === 'trace' && error instanceof Error) stderr.write(`${error.stack}\n`)
    leave(EXIT_LOCAL_ERROR)
  }
  process.on('uncaughtException', unforeseen)
  process.on('unhandledRejection', unforeseen)
  try {
    const context: CommandContext = { output, logLevel, home: () => openHome() }
    if (foreign !== undefined) return await passOn(foreign, argv, context)
    return await run(command, context)
  } catch (error) {
    output.error(explain(error))
    return exitCodeOf(error)
  }
}

async function run(command: CliCommand, context: CommandContext): Promise<number> {
  switch (command.type) {
    case 'print':
      await print(command.text)
      return 0
    case 'usage':
      process.stderr.write(command.text)
      return EXIT_USAGE
    case 'connect':
      return connect(command, context)
    case 'serve':
      return serve(command, context)
    case 'authorize':
      return authorize(command, context)
    case 'config':
      return config(command, context)
    case 'keys':
      return keys(command, context)
    case 'doctor':
      return doctor(command, context)
    case 'cp':
      return cp(command, context)
    case 'complete':
      return complete(command.candidates, context)
    case 'relay':
      return relay(command, context)
  }
}

restoreTerminalOnExit()
// A reader that goes away (`| head`) is noticed where it is written to, not here.
process.stdout.on('error', () => undefined)
process.stderr.on('error', () => undefined)
const code = await main()
// Standard output was awaited where it was written; a slow reader of lines for people gets them, too.
await new Promise<unknown>((resolve) => process.stderr.write('', resolve))
// What may still be open, such as stdin, is of no interest.
leave(code)
