/**
 * Descriptors that would leak into a child. Those Node opens close themselves on exec; those this
 * process was itself started with, by a shell or a service manager, do not. One that leads to a
 * directory of the host would be a way out of the sandbox.
 */
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'

const O_CLOEXEC = 0o2000000

/** What to append to a `stdio` array. */
export interface CoveredDescriptors {
  readonly stdio: readonly (number | 'ignore')[]
  /** Call once the child was started. */
  release(): void
}

/** Puts /dev/null in the place of every descriptor from `first` on that a child would inherit. */
export function coverInherited(first: number): CoveredDescriptors {
  const leaking = inheritable().filter((fd) => fd >= first)
  if (leaking.length === 0) return { stdio: [], release: () => undefined }
  const nothing = openSync('/dev/null', 'r')
  const length = Math.max(...leaking) + 1 - first
  // For descriptors past the third one, 'ignore' means to leave them as they are.
  const stdio = Array.from({ length }, (_, index) =>
    leaking.includes(first + index) ? nothing : 'ignore',
  )
  return { stdio, release: () => closeSync(nothing) }
}

function inheritable(): readonly number[] {
  if (process.platform !== 'linux') return []
  return readdirSync('/proc/self/fd').map(Number).filter(isInheritable)
}

function isInheritable(fd: number): boolean {
  try {
    const flags = /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1]
    return flags !== undefined && (Number.parseInt(flags, 8) & O_CLOEXEC) === 0
  } catch {
    // The one that listed the directory is closed by now.
    return false
  }
}
