/** Signals that this process gets, while a command handles them itself. */
import { constants } from 'node:os'

/** Signals a person or a service manager sends. */
export type HandledSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'SIGQUIT'

/** Calls `handler` for each; the result stops that, so that they end the process again. */
export function handleSignals(
  signals: readonly HandledSignal[],
  handler: (signal: HandledSignal) => void,
): () => void {
  for (const signal of signals) process.on(signal, handler)
  return () => {
    for (const signal of signals) process.off(signal, handler)
  }
}

/** 128+n, as a shell reports a program that a signal ended. */
export function signalExitCode(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal]
}
