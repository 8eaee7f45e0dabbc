/** Making a program in the guest end: when its client is gone, and when nobody reads it. */
import type { AgentProcess } from './agent/process.ts'

/** Between the end of input and HUP, without a terminal. */
const INPUT_END_MS = 2000
/** Between HUP and TERM: programs that save what they have do so now. */
const HANGUP_MS = 2000
/** Between TERM and KILL. */
const TERMINATE_MS = 2000
/** What is left after KILL escaped its group and is nobody's any more. */
const KILL_MS = 1000
/** Between two signals to a program that goes on writing to nobody. */
const UNREAD_MS = 500

/**
 * Ends a program whose client has gone, as a terminal that hangs up would: HUP, in a while TERM,
 * at last KILL. One without a terminal first learns it as from sshd, by the end of its input:
 * signals go to its whole group, and would take along the server that a shell has left in the
 * background for its next login. Resolves once it has ended or cannot be reached; never rejects.
 */
export async function hangUp(
  program: AgentProcess,
  { terminal }: { readonly terminal: boolean },
): Promise<void> {
  program.discardOutput()
  if (!terminal) {
    program.end().catch(() => {})
    if (await endsWithin(program, INPUT_END_MS)) return
  }
  const steps = [
    ['HUP', HANGUP_MS],
    ['TERM', TERMINATE_MS],
    ['KILL', KILL_MS],
  ] as const
  for (const [signal, waitMs] of steps) {
    program.signal(signal)
    if (await endsWithin(program, waitMs)) return
  }
}

/**
 * Ends a program of which nobody reads stdout any more, as far as it writes: one that wrote to a
 * closed pipe would get PIPE, and that is what it is sent, harder signals if it still goes on. One
 * that is silent may live. Resolves at the end of its output.
 */
export async function endWithoutReader(program: AgentProcess): Promise<void> {
  const signals = ['PIPE', 'HUP', 'TERM', 'KILL']
  let nextMs = 0
  do {
    const now = Date.now()
    if (now < nextMs) continue
    nextMs = now + UNREAD_MS
    const signal = signals.shift()
    if (signal === undefined) return program.discardOutput()
    program.signal(signal)
  } while ((await program.read()) !== undefined)
}

function endsWithin(program: AgentProcess, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), ms)
    const ended = (): void => {
      clearTimeout(timer)
      resolve(true)
    }
    program.exited.then(ended, ended)
  })
}
