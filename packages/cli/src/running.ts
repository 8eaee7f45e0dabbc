/** A sandbox that has to run while a command works in it. */
import type { Sandbox } from '@sandbox-ssh/sandbox-bridge'
import type { CommandContext } from './context.ts'
import { explain } from './failure.ts'
import { handleSignals } from './signals.ts'

/** How the sandbox is treated. */
export interface RunningOptions {
  /** Say nothing of starting and stopping: stderr is somebody else's. */
  readonly quiet?: boolean
  /** Where nobody can tell whether others use the sandbox: stop what was started here, or not. */
  readonly whenUnsure: 'stop' | 'leave'
}

/**
 * Runs `work` while the sandbox runs: one that is stopped is started, and stopped again afterwards
 * unless others use it by then. That it cannot be stopped is a warning and changes no exit code.
 */
export async function whileRunning(
  box: Sandbox,
  { output }: CommandContext,
  options: RunningOptions,
  work: () => Promise<number>,
): Promise<number> {
  const starting = new AbortController()
  const stop = handleSignals(['SIGINT', 'SIGTERM', 'SIGHUP'], (signal) =>
    starting.abort(new Error(`ended by ${signal}`)),
  )
  const run = await box
    .run({
      signal: starting.signal,
      onStarting: () => {
        if (options.quiet !== true) output.progress('Starting', box.label)
      },
    })
    .finally(stop)
  try {
    return await work()
  } finally {
    try {
      const end = await run.end(options.whenUnsure)
      if (end === 'in-use') output.debug(`${box.label} keeps running: others use it`)
    } catch (error) {
      const message = `failed to stop sandbox: ${explain(error)}`
      if (options.quiet === true) output.debug(message)
      else output.warn(message)
    }
  }
}
