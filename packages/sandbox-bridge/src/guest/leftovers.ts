/**
 * Processes that outlive their sessions: `nohup`, jobs of a shell that has ended. They may run as
 * long as the guest does, and must not run longer, whether a namespace sees to that or not.
 */
import { readdirSync, readFileSync } from 'node:fs'

/** Sessions, in the kernel's sense, that still had members when their leader's end was told. */
export class Leftovers {
  readonly #sessions = new Set<number>()

  /** A session's leader has ended. Costs a look at all processes, and so is not asked for others. */
  note(session: number): void {
    if (membersOf(new Set([session])).length > 0) this.#sessions.add(session)
  }

  /** Ends them all. A session number is not given again while it has members. */
  kill(): void {
    for (const pid of membersOf(this.#sessions)) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It ended by itself.
      }
    }
    this.#sessions.clear()
  }
}

function membersOf(sessions: ReadonlySet<number>): number[] {
  if (sessions.size === 0) return []
  return processes().filter((pid) => {
    const session = sessionOf(pid)
    return session !== undefined && sessions.has(session)
  })
}

function processes(): number[] {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
  } catch {
    return []
  }
}

/** The session of a living process. */
function sessionOf(pid: number): number | undefined {
  try {
    // The name in parentheses may hold anything, parentheses and spaces included.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const [state, , , session] = stat.slice(stat.lastIndexOf(') ') + 2).split(' ')
    return state === 'Z' ? undefined : Number(session)
  } catch {
    return undefined
  }
}
