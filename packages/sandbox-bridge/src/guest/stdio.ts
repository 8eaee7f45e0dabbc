/** What a new program inherits, and what it must not. */
import type { StdioOptions } from 'node:child_process'
import { constants, openSync } from 'node:fs'

/** Our ends of all open terminals, which node-pty leaves inheritable. */
const kept = new Set<number>()
let nothing: number | undefined

/** Keeps a descriptor from programs until the returned function is called. */
export function keepFromPrograms(fd: number): () => void {
  kept.add(fd)
  return () => void kept.delete(fd)
}

/**
 * The `stdio` of a new program: its three streams, and `/dev/null` in the place of every
 * descriptor it must not get. Were a terminal's inner end inherited, closing ours would not hang
 * it up.
 */
export function stdioOf(streams: readonly ('pipe' | 'ignore' | number)[]): StdioOptions {
  const stdio: ('pipe' | 'ignore' | number)[] = [...streams]
  for (const fd of kept) {
    nothing ??= openSync('/dev/null', constants.O_RDWR)
    while (stdio.length < fd) stdio.push('ignore')
    stdio[fd] = nothing
  }
  return stdio
}
