// What a process and those it has started use, as Linux tells it.

import { readdirSync, readFileSync } from 'node:fs'

/** Of a process and all below it. */
export interface Usage {
  /** User and system, including what children used that are gone. */
  readonly cpuSeconds: number
  /** Memory that would be free without it: what is shared counts by halves, thirds and so on. */
  readonly residentBytes: number
}

/** Kernels tell times in hundredths of seconds to programs, whatever their own clock is. */
const TICKS = 100

/** Adds up a process and its descendants. */
export function usageOf(pid: number): Usage {
  const all = [pid, ...descendants(pid)]
  let ticks = 0
  let residentBytes = 0
  for (const each of all) {
    const stat = statOf(each)
    if (stat === undefined) continue
    // utime, stime, and both of children that were waited for.
    ticks += stat.slice(11, 15).reduce((sum, field) => sum + Number(field), 0)
    residentBytes += proportional(each)
  }
  return { cpuSeconds: ticks / TICKS, residentBytes }
}

/** The fields of /proc/PID/stat behind the name, which may contain anything. */
function statOf(pid: number): readonly string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined
  }
}

function descendants(pid: number): readonly number[] {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc').filter((each) => /^\d+$/.test(each))) {
    const parent = Number(statOf(Number(name))?.[1])
    children.set(parent, [...(children.get(parent) ?? []), Number(name)])
  }
  const below = (parent: number): number[] =>
    (children.get(parent) ?? []).flatMap((child) => [child, ...below(child)])
  return below(pid)
}

function proportional(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
    return 1024 * Number(/^Pss: +(\d+) kB$/m.exec(text)?.[1] ?? 0)
  } catch {
    return 0
  }
}
