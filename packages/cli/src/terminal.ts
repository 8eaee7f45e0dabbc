/** The local terminal must be usable again whatever way this program ends. */
import { isatty } from 'node:tty'
import { enterRawMode } from '@sandbox-ssh/sandbox-bridge'

/** Those of the standard streams that were terminals. */
const TERMINALS = [0, 1, 2].filter((fd) => isatty(fd))

/**
 * Leaves raw mode when the process exits, also by `process.exit` and after an uncaught error. What
 * joins the terminal restores it itself; this is the net below.
 */
export function restoreTerminalOnExit(): void {
  process.once('exit', () => {
    const { stdin } = process
    try {
      if (stdin.isTTY && stdin.isRaw) stdin.setRawMode(false)
    } catch {
      // The terminal is gone, as after its window was closed.
    }
  })
}

/** A stopped raw-mode session finds the terminal as the shell left it; this puts it right. */
export function reenterRawModeOnContinue(): () => void {
  const again = (): void => {
    const { stdin } = process
    if (!stdin.isTTY || !stdin.isRaw) return
    // Node remembers the mode it set and would do nothing.
    stdin.setRawMode(false)
    enterRawMode(stdin)
  }
  process.on('SIGCONT', again)
  return () => {
    process.off('SIGCONT', again)
  }
}

/**
 * Ends this process. Where its terminal is gone, as after its window was closed, it dies of SIGHUP:
 * Node would try to put the terminal right, and abort with a core dump because it cannot.
 */
export function leave(code: number): never {
  if (TERMINALS.some((fd) => !isatty(fd))) {
    process.removeAllListeners('SIGHUP')
    process.kill(process.pid, 'SIGHUP')
  }
  process.exit(code)
}
