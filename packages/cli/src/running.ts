/** A sandbox that has to run while a command works in it. */
import type { Sandbox, SandboxRun, SshClient, SshClientOptions } from '@sandbox-ssh/sandbox-bridge'
import type { CommandContext } from './context.ts'
import { explain } from './failure.ts'
import { type HandledSignal, handleSignals, signalExitCode } from './signals.ts'
import { leave } from './terminal.ts'

/** Time for a connection to end by itself after the work. */
const CLOSE_MS = 2000
const SIGNALS: readonly HandledSignal[] = ['SIGINT', 'SIGTERM', 'SIGHUP']

/** How the sandbox is treated. */
export interface RunningOptions {
  /** Where nobody can tell whether others use the sandbox: stop what was started here, or not. */
  readonly whenUnsure: 'stop' | 'leave'
  /** How its client is opened. */
  readonly client: SshClientOptions
}

/**
 * Runs `work` with a client in the sandbox: one that is stopped is started, and stopped again
 * afterwards unless others use it by then. That it cannot be stopped is a warning and changes no
 * exit code. A signal that the work does not handle ends all of it in the same order.
 */
export async function whileRunning(
  box: Sandbox,
  { output }: CommandContext,
  { whenUnsure, client: clientOptions }: RunningOptions,
  work: (client: SshClient) => Promise<number>,
): Promise<number> {
  const starting = new AbortController()
  let endedBy: HandledSignal | undefined
  const stopStarting = handleSignals(SIGNALS, (signal) => {
    endedBy = signal
    starting.abort(new Error(`ended by ${signal}`))
  })
  const { signal } = starting
  let client: SshClient | undefined
  let end = (): Promise<void> => Promise.resolve()
  let stopGuarding = (): void => undefined
  try {
    const run = await box.run({
      signal,
      onStarting: () => output.progress('Starting', box.label),
    })
    end = async () => {
      if (client !== undefined) await closeSoon(client)
      try {
        const how = await run.end(whenUnsure)
        if (how === 'in-use') output.debug(`${box.label} keeps running: others use it`)
      } catch (error) {
        output.warn(`failed to stop sandbox: ${explain(error)}`)
      }
    }
    client = await box.ssh().openClient({ ...clientOptions, signal })
    signal.throwIfAborted()
    stopGuarding = endAtSignal(end)
    stopStarting()
    return await work(client)
  } catch (error) {
    if (endedBy === undefined) throw error
    return signalExitCode(endedBy)
  } finally {
    stopStarting()
    await end()
    stopGuarding()
  }
}

/** How a sandbox is treated that a server is in front of. */
export interface ServedOptions {
  /** Say nothing of starting and stopping: stderr is somebody else's. */
  readonly quiet: boolean
  readonly whenUnsure: RunningOptions['whenUnsure']
}

/**
 * Runs `work` while a sandbox runs for the clients of a server: started and stopped as above. The
 * work handles signals itself once it can; `signal` tells of one that came before.
 */
export async function whileServed(
  box: Sandbox,
  { output }: CommandContext,
  { quiet, whenUnsure }: ServedOptions,
  work: (signal: AbortSignal) => Promise<number>,
): Promise<number> {
  const starting = new AbortController()
  let endedBy: HandledSignal | undefined
  const stop = handleSignals(SIGNALS, (signal) => {
    endedBy = signal
    starting.abort(new Error(`ended by ${signal}`))
  })
  const { signal } = starting
  let run: SandboxRun | undefined
  try {
    run = await box.run({
      signal,
      onStarting: () => {
        if (!quiet) output.progress('Starting', box.label)
      },
    })
    signal.throwIfAborted()
    return await work(signal)
  } catch (error) {
    if (endedBy === undefined || error !== signal.reason) throw error
    return signalExitCode(endedBy)
  } finally {
    try {
      const how = await run?.end(whenUnsure)
      if (how === 'in-use') output.debug(`${box.label} keeps running: others use it`)
    } catch (error) {
      output[quiet ? 'debug' : 'warn'](`failed to stop sandbox: ${explain(error)}`)
    }
    stop()
  }
}

/** Ends the process at a signal that the work leaves to us. */
function endAtSignal(end: () => Promise<void>): () => void {
  return handleSignals(SIGNALS, (signal) => {
    if (process.listenerCount(signal) > 1) return
    void end().finally(() => leave(signalExitCode(signal)))
  })
}

/** Says goodbye, but does not let a sandbox that hangs keep the user waiting. */
async function closeSoon(client: SshClient): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, CLOSE_MS)
  })
  await Promise.race([client.close().catch(() => undefined), limit])
  clearTimeout(timer)
}
