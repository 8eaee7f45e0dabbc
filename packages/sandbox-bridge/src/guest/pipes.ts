/**
 * Real pipes for a program's streams. What Node calls a pipe is a pair of sockets, and a program
 * cannot open /dev/stdin, /dev/stdout or /dev/stderr when that is a socket: `echo x >/dev/stderr`
 * fails, and so do the many scripts and services that log that way.
 *
 * Node cannot make a pipe, but it can open one. A shell that is given empty here-documents holds
 * a pipe for each; they are opened through /proc, and the shell may go. (A FIFO would not do: a
 * program that opens its stdin again after its end would wait for a writer for ever.)
 */
import { spawn } from 'node:child_process'
import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { readFrom, writeTo } from './descriptor.ts'
import { stdioOf } from './stdio.ts'

/** A program's streams: our ends, and its own for starting it. */
export interface Pipes {
  readonly stdin: Writable
  readonly stdout: Readable
  readonly stderr: Readable
  /** Descriptors 0, 1 and 2 of the program; to be closed here once it has them. */
  readonly program: readonly [number, number, number]
}

/** Descriptors of the shell that hold pipes: all that its grammar can name. */
const DESCRIPTORS = [3, 4, 5, 6, 7, 8, 9]
/** Says when the pipes are there, and waits to be let go. */
const SCRIPT = `exec ${DESCRIPTORS.map((fd) => `${fd}<<E`).join(' ')}
${'E\n'.repeat(DESCRIPTORS.length)}echo ready
read line
`
const SHELL_MS = 5000

/** Open for both directions and without a name. */
const ready: number[] = []
let making: Promise<void> | undefined
let impossible = false

/** Three fresh pipes, or undefined where the system lacks what it takes. */
export async function openPipes(): Promise<Pipes | undefined> {
  while (ready.length < 3 && !impossible) await make()
  const [a, b, c] = ready.splice(0, 3)
  // The next program should not have to wait.
  if (ready.length < 3 && !impossible) void make()
  if (a === undefined || b === undefined || c === undefined) return undefined
  const open: number[] = []
  const end = (pipe: number, flags: number): number => {
    const fd = openSync(`/proc/self/fd/${pipe}`, flags)
    open.push(fd)
    return fd
  }
  const ours = constants.O_NONBLOCK
  try {
    const stdin = end(a, constants.O_WRONLY | ours)
    const stdout = end(b, constants.O_RDONLY | ours)
    const stderr = end(c, constants.O_RDONLY | ours)
    const program = [
      end(a, constants.O_RDONLY),
      end(b, constants.O_WRONLY),
      end(c, constants.O_WRONLY),
    ] as const
    return {
      stdin: writeTo(stdin),
      stdout: readFrom(stdout, 'pipe'),
      stderr: readFrom(stderr, 'pipe'),
      program,
    }
  } catch {
    for (const fd of open) closeSync(fd)
    impossible = true
    return undefined
  } finally {
    // Were they left open, no reader would ever see an end.
    for (const fd of [a, b, c]) closeSync(fd)
  }
}

function make(): Promise<void> {
  making ??= makeBatch().finally(() => {
    making = undefined
  })
  return making
}

async function makeBatch(): Promise<void> {
  const shell = spawn('/bin/sh', ['-c', SCRIPT], {
    stdio: stdioOf(['pipe', 'pipe', 'ignore']),
    timeout: SHELL_MS,
  })
  try {
    await new Promise<void>((resolve, reject) => {
      shell.on('error', reject)
      shell.on('exit', () => reject(new Error('the shell ended')))
      shell.stdout?.on('data', () => resolve())
    })
    for (const fd of DESCRIPTORS) {
      const pipe = openSync(`/proc/${shell.pid}/fd/${fd}`, constants.O_RDWR | constants.O_NONBLOCK)
      // Some shells put here-documents into files.
      if (fstatSync(pipe).isFIFO()) {
        ready.push(pipe)
      } else {
        closeSync(pipe)
        impossible = true
      }
    }
  } catch {
    impossible = true
  } finally {
    shell.on('error', () => {})
    shell.stdin?.on('error', () => {}).end()
    shell.stdout?.destroy()
  }
}
