/**
 * Terminals. The pair is opened by the native half of node-pty; the program is started by
 * `setsid -c`, which makes the terminal its controlling one and then becomes the program. The rest
 * of node-pty is not used: its terminals have modes of its own, lose output that is read slowly,
 * and hide why a program could not be started.
 */
import { type StdioOptions, spawn } from 'node:child_process'
import { closeSync, constants, existsSync, openSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { ReadStream } from 'node:tty'
import { fileURLToPath } from 'node:url'
import { setupFailure, tool } from './command.ts'
import { sttyArguments } from './terminal-modes.ts'

/** The native functions of node-pty that are used. */
interface Binding {
  open(columns: number, rows: number): { master: number; slave: number; pty: string }
  resize(fd: number, columns: number, rows: number): void
}

/** An open terminal. */
export interface Terminal {
  /** Our end. */
  readonly stream: ReadStream
  /** The program's end, for starting it; close it once the program has it. */
  readonly slave: number
  resize(columns: number, rows: number): void
}

/** Our ends of all open terminals. */
const masters = new Set<number>()
let binding: Binding | undefined
let nothing: number | undefined

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
  const { resize } = binding
  masters.add(pair.master)
  const stream = new ReadStream(pair.master)
  let open = true
  stream.on('close', () => {
    open = false
    masters.delete(pair.master)
  })
  return {
    stream,
    slave,
    resize: (newColumns, newRows) => {
      if (open && !stream.destroyed) resize(pair.master, newColumns, newRows)
    },
  }
}

/**
 * The `stdio` of a new program: its three streams, and `/dev/null` in the place of every terminal's
 * inner end. Were one inherited, closing ours would not hang the terminal up.
 */
export function stdioOf(streams: readonly ('pipe' | 'ignore' | number)[]): StdioOptions {
  const stdio: ('pipe' | 'ignore' | number)[] = [...streams]
  for (const fd of masters) {
    nothing ??= openSync('/dev/null', constants.O_RDWR)
    while (stdio.length < fd) stdio.push('ignore')
    stdio[fd] = nothing
  }
  return stdio
}

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

/** True for an error that means that no program has the terminal open any more. */
export function isHangup(error: Error): boolean {
  return 'code' in error && error.code === 'EIO'
}

/**
 * node-pty's native half: named by the environment, beside this program, or installed. A guest is
 * often one file in a bare image, where only a path can tell.
 */
function loadBinding(): Binding {
  const require = createRequire(import.meta.url)
  const platform = `@lydell/node-pty-${process.platform}-${process.arch}`
  const named = process.env['MSB_GUEST_PTY']
  if (named !== undefined) return require(resolve(named))
  const beside = fileURLToPath(new URL('./pty.node', import.meta.url))
  if (existsSync(beside)) return require(beside)
  try {
    return require(`${platform}/pty.node`)
  } catch {
    // Not hoisted: it is installed below the package that asks for it.
    const owner = createRequire(require.resolve('@lydell/node-pty'))
    return owner(`${platform}/pty.node`)
  }
}
