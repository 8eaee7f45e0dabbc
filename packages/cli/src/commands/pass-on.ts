/** Commands of microsandbox itself, which its own program does. */
import { spawn } from 'node:child_process'
import {
  findMicrosandbox,
  INSTALL_HINT,
  microsandboxPath,
  PASSED_ON,
} from '@sandbox-ssh/sandbox-bridge'
import type { CommandContext } from '../context.ts'
import { CliError, explain } from '../failure.ts'
import { handleSignals, signalExitCode } from '../signals.ts'

/** What is done here; everything else begins with a word of microsandbox's. */
const OWN_COMMANDS: readonly string[] = ['ssh', 'help']

/** The command word that is not ours, if the arguments begin with one. */
export function foreignCommand(argv: readonly string[]): string | undefined {
  const word = argv.find((text) => !/^--(?:error|warn|info|debug|trace)$/.test(text))
  if (word === undefined || word.startsWith('-') || OWN_COMMANDS.includes(word)) return undefined
  return word
}

/** Runs microsandbox's program with these very arguments; its exit code is ours. */
export async function passOn(
  word: string,
  argv: readonly string[],
  context: CommandContext,
): Promise<number> {
  const home = context.home()
  const program = findMicrosandbox(home)
  if (program === undefined) {
    throw new CliError(
      `msb ${word} is a command of microsandbox, and there is no ${microsandboxPath(home)}; ` +
        `${INSTALL_HINT}; the commands that need nothing else begin with: msb ssh`,
    )
  }
  // Before the program is there, or a signal that comes while it starts would end us alone.
  const stop = [
    // The terminal sends these to both of us; it is the program that has to decide.
    handleSignals(['SIGINT', 'SIGQUIT'], () => undefined),
    handleSignals(['SIGTERM', 'SIGHUP'], (signal) => void child.kill(signal)),
  ]
  const child = spawn(program, argv, {
    stdio: 'inherit',
    env: { ...process.env, [PASSED_ON]: '1' },
  })
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', (cause) => {
        reject(new CliError(`${program} cannot be run: ${explain(cause)}`, { cause }))
      })
      child.once('exit', (code, signal) => {
        resolve(signal === null ? (code ?? 1) : signalExitCode(signal))
      })
    })
  } finally {
    for (const undo of stop) undo()
  }
}
