/**
 * Terminals. The pair is opened by the native half of node-pty; the program is started by
 * `setsid -c`, which makes the terminal its controlling one and then becomes the program. The rest
 * of node-pty is not used: its terminals have modes of their own, lose output that is read slowly,
 * hang when input is not read, and hide why a program could not be started.
 */
import { spawn } from 'node:child_process'
import { closeSync, constants, existsSync, openSync, readSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { setupFailure, tool } from './command.ts'
import { readFrom, writeFully } from './descriptor.ts'
import { findNodePty } from './node-pty.ts'
import { keepFromPrograms, stdioOf } from './stdio.ts'
import { sttyArguments } from './terminal-modes.ts'

/** The native functions of node-pty that are used. */
interface Binding {
  open(columns: number, rows: number): { master: number; slave: number; pty: string }
  resize(fd: number, columns: number, rows: number): void
}

/** An open terminal, seen from its inner end. */
export interface Terminal {
  /** What programs write to it. Never ends by itself: `drain` tells when there is nothing more. */
  readonly output: Readable
  /** Its path, such as `/dev/pts/3`. */
  readonly path: string
  /** The programs' end. It stays open here as well, for the sake of `output`. */
  readonly slave: number
  /** Types; resolves when it has been taken, or with what went wrong. */
  write(chunk: Uint8Array): Promise<unknown>
  /** What programs have written and `output` has not delivered; undefined if there is nothing. */
  drain(): Uint8Array | undefined
  resize(columns: number, rows: number): void
  /** Hangs it up. */
  close(): void
}

let binding: Binding | undefined

/**
 * Opens a terminal with the kernel's default modes.
 * @throws ExecFailure `pty_setup_failed` without node-pty, or when there are no more terminals
 */
export function openTerminal(columns: number, rows: number): Terminal {
  let pair: ReturnType<Binding['open']>
  try {
    binding ??= loadBinding()
    pair = binding.open(columns, rows)
  } catch (error) {
    const why = error instanceof Error ? error.message.split('\n')[0] : String(error)
    throw setupFailure('pty_setup_failed', `this guest cannot open a terminal: ${why}`)
  }
  // The pair comes non-blocking and inheritable. A program needs a blocking end, so its own is
  // opened anew; ours stays as it is, and `stdioOf` keeps it from programs.
  let slave: number
  try {
    slave = openSync(pair.pty, constants.O_RDWR | constants.O_NOCTTY)
  } catch (error) {
    closeSync(pair.master)
    throw setupFailure('pty_setup_failed', `${pair.pty} cannot be opened: ${String(error)}`)
  } finally {
    closeSync(pair.slave)
  }
  return new OpenTerminal(binding, pair.master, slave, pair.pty)
}

/**
 * Reading goes through the event loop, except at the end: when no program has the terminal open
 * any more, libuv takes the first short read for the end of everything and loses the rest. So the
 * outer end is held open here, and what is left behind by the last program is read directly.
 * Writing goes around the event loop altogether: libuv writes to terminals blocking, and a program
 * that does not read would stop the guest.
 */
class OpenTerminal implements Terminal {
  readonly output: Readable
  readonly slave: number
  readonly path: string
  readonly #binding: Binding
  readonly #fd: number
  readonly #release: () => void
  #open = true

  constructor(native: Binding, fd: number, slave: number, path: string) {
    this.path = path
    this.#binding = native
    this.#fd = fd
    this.slave = slave
    this.#release = keepFromPrograms(fd)
    this.output = readFrom(fd, 'terminal')
  }

  write(chunk: Uint8Array): Promise<unknown> {
    return writeFully(this.#fd, chunk, () => this.#open)
  }

  drain(): Uint8Array | undefined {
    if (!this.#open) return undefined
    const buffer = new Uint8Array(READ_BYTES)
    try {
      const count = readSync(this.#fd, buffer)
      return count === 0 ? undefined : buffer.subarray(0, count)
    } catch {
      // EAGAIN: there is nothing. EIO: and nobody is left.
      return undefined
    }
  }

  resize(columns: number, rows: number): void {
    if (this.#open) this.#binding.resize(this.#fd, columns, rows)
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#release()
    closeSync(this.slave)
    this.output.destroy()
  }
}

/** One read, which a terminal never fills. */
const READ_BYTES = 16 * 1024

/** Sets the modes a client asked for, before the program starts. What cannot be set stays. */
export async function applyModes(
  terminal: Terminal,
  modes: ReadonlyMap<string, number>,
): Promise<void> {
  const words = sttyArguments(modes)
  if (words.length === 0) return
  await new Promise<void>((resolve) => {
    const stty = spawn(tool('stty'), words, {
      stdio: stdioOf([terminal.slave, 'ignore', 'ignore']),
      timeout: STTY_MS,
    })
    stty.on('error', () => resolve())
    stty.on('exit', () => resolve())
  })
}

const STTY_MS = 5000

/**
 * node-pty's native half: named by the environment, beside this program, or installed. A guest is
 * often one file in a bare image, where only a path can tell.
 */
function loadBinding(): Binding {
  // The numbers of Deno's descriptors are its own, and mean nothing to node-pty and to programs.
  if (process.versions['deno'] !== undefined) throw new Error('Deno passes on no descriptors')
  const named = process.env['MSB_GUEST_PTY']
  const beside = fileURLToPath(new URL('./pty.node', import.meta.url))
  const path =
    named !== undefined
      ? resolve(named)
      : existsSync(beside)
        ? beside
        : findNodePty(import.meta.url)
  if (path === undefined) throw new Error('@lydell/node-pty is not installed')
  return createRequire(import.meta.url)(path)
}
