/** Joins a program in a sandbox to the standard streams of this process, terminal or pipes. */
import type { ExitStatus, RemoteProcess } from '@sandbox-ssh/protocol'
import { passOutputThrough } from '../carriers/local-terminal.ts'
import { DetachMatcher } from './detach-keys.ts'

/** What is needed of `process.stdin`; a file or pipe has neither `isTTY` nor `setRawMode`. */
export interface AttachInput {
  readonly isTTY?: boolean | undefined
  /** Descriptor of the terminal. */
  readonly fd?: number | undefined
  setRawMode?(raw: boolean): unknown
  on(event: 'data', listener: (chunk: Uint8Array) => void): unknown
  on(event: 'end' | 'close', listener: () => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  off(event: 'data', listener: (chunk: Uint8Array) => void): unknown
  off(event: 'end' | 'close', listener: () => void): unknown
  off(event: 'error', listener: (error: Error) => void): unknown
  pause(): unknown
  resume(): unknown
  readonly readableEnded?: boolean
}

/** What is needed of `process.stdout` and `process.stderr`. */
export interface AttachOutput {
  readonly isTTY?: boolean | undefined
  readonly columns?: number | undefined
  readonly rows?: number | undefined
  write(chunk: Uint8Array, callback: (error?: Error | null) => void): boolean
  on(event: 'resize', listener: () => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  off(event: 'resize', listener: () => void): unknown
  off(event: 'error', listener: (error: Error) => void): unknown
}

/** The three streams; `process` itself fits. */
export interface AttachStreams {
  readonly stdin: AttachInput
  readonly stdout: AttachOutput
  readonly stderr: AttachOutput
}

/** A terminal is needed where stdin is none. */
export class NoTerminalError extends TypeError {}

/** How to join them. */
export interface AttachOptions {
  /**
   * Put stdin into raw mode, follow the size of stdout, look for detach keys. For a program with
   * a PTY, if stdin is a terminal.
   */
  readonly raw?: boolean
  /** See `parseDetachKeys`. Only looked for with `raw`. */
  readonly detachKeys?: Uint8Array | undefined
  /** Leaves at once, whatever is still to be written: the program is closed, the reason thrown. */
  readonly signal?: AbortSignal | undefined
}

/** How long outputs may keep a failure from being told. */
const FLUSH_MS = 1000

/** How it ended. */
export type AttachEnd =
  | { readonly type: 'exited'; readonly status: ExitStatus }
  /** The detach keys were typed; the remote program has been hung up on. */
  | { readonly type: 'detached' }
  /**
   * An output takes no more: `error.code` is EPIPE where nobody reads our stdout any more
   * (`| head -1`), ENOSPC on a full disk. Of a stderr that nobody reads nothing is said.
   */
  | {
      readonly type: 'output-closed'
      readonly stream: 'stdout' | 'stderr'
      readonly error: Error
    }

/**
 * Size of the terminal behind an output; 80×24 if unknown, as for a pipe.
 *
 * @example
 * import { terminalName, terminalSize } from '@sandbox-ssh/sandbox-bridge'
 *
 * const size = terminalSize(process.stdout)
 * console.log(size.columns > 0 && size.rows > 0, terminalName('dumb')) // true xterm
 */
export function terminalSize(output: AttachOutput): { columns: number; rows: number } {
  return { columns: output.columns || 80, rows: output.rows || 24 }
}

/**
 * The TERM to ask for: the local one, or `xterm` where that is empty or `dumb`.
 *
 * @example
 * import { terminalName } from '@sandbox-ssh/sandbox-bridge'
 *
 * console.log(terminalName('screen-256color'), terminalName('dumb')) // screen-256color xterm
 */
export function terminalName(term: string | undefined): string {
  return term === undefined || term === '' || term === 'dumb' ? 'xterm' : term
}

/**
 * Copies stdin to the program and its output to stdout and stderr, each as it comes and with
 * back-pressure, until the program has ended and the streams have taken all of its output. Raw mode
 * is restored and listeners are removed whatever happens; the streams stay open.
 *
 * Rejects as `RemoteProcess.exit` does, so a lost connection is an error and never a status, and
 * with the reason of `signal`.
 *
 * @example
 * import {
 *   attach,
 *   parseDetachKeys,
 *   sandbox,
 *   terminalName,
 *   terminalSize,
 * } from '@sandbox-ssh/sandbox-bridge'
 *
 * // In a terminal; typed: exit 3
 * const client = await sandbox('local:devbox').ssh().openClient()
 * const pty = { term: terminalName(process.env['TERM']), ...terminalSize(process.stdout) }
 * const shell = await client.connection.shell({ pty })
 * const detachKeys = parseDetachKeys('ctrl-p,ctrl-q')
 * const end = await attach(shell, process, { raw: true, detachKeys })
 * await client.close()
 * console.log(end.type, end.type === 'exited' && end.status.code) // exited 3
 */
export async function attach(
  process: RemoteProcess,
  streams: AttachStreams,
  options: AttachOptions = {},
): Promise<AttachEnd> {
  const { stdin, stdout, stderr } = streams
  const cleanup: (() => void)[] = []
  try {
    return await new Promise<AttachEnd>((resolve, reject) => {
      if (options.raw === true) cleanup.push(...rawMode(process, stdin, stdout))
      const keys = options.raw === true ? options.detachKeys : undefined
      const closed = (stream: 'stdout' | 'stderr') => (error: Error) => {
        if (stream === 'stdout' || !isReaderGone(error)) {
          resolve({ type: 'output-closed', stream, error })
        } else process.channel.discardStderr()
      }
      cleanup.push(
        copyInput(stdin, process, keys, () => resolve({ type: 'detached' })),
        onOutputError(stdout, closed('stdout')),
        onOutputError(stderr, closed('stderr')),
      )
      // The program ends when its output was read, which is before it was written here.
      const written = Promise.all([
        copyOutput(() => process.read(), stdout).catch(closed('stdout')),
        copyOutput(() => process.readStderr(), stderr).catch(closed('stderr')),
      ])
      process.exit.then(
        (status) => written.then(() => resolve({ type: 'exited', status })),
        (error) => {
          const late = setTimeout(() => reject(error), FLUSH_MS)
          cleanup.push(() => clearTimeout(late))
          void written.then(() => reject(error))
        },
      )
      const stop = (): void => reject(options.signal?.reason)
      options.signal?.addEventListener('abort', stop)
      cleanup.push(() => options.signal?.removeEventListener('abort', stop))
      if (options.signal?.aborted === true) stop()
    })
  } finally {
    for (const undo of cleanup.reverse()) undo()
    process.close()
  }
}

/**
 * Raw mode for input and output; `setRawMode(false)` leaves both.
 *
 * @example
 * import { enterRawMode } from '@sandbox-ssh/sandbox-bridge'
 *
 * // In a terminal; typed: q
 * enterRawMode(process.stdin)
 * process.once('exit', () => process.stdin.setRawMode(false))
 * console.log('any key')
 * process.stdin.once('data', (key) => {
 *   process.stdin.pause()
 *   console.log(key.toString()) // q…
 * })
 */
export function enterRawMode(stdin: AttachInput): void {
  stdin.setRawMode?.(true)
  if (stdin.isTTY === true && stdin.fd !== undefined) passOutputThrough(stdin.fd)
}

function rawMode(process: RemoteProcess, stdin: AttachInput, stdout: AttachOutput): (() => void)[] {
  const resized = (): void => {
    const { columns, rows } = terminalSize(stdout)
    process.resize(columns, rows)
  }
  enterRawMode(stdin)
  stdout.on('resize', resized)
  return [() => stdin.setRawMode?.(false), () => stdout.off('resize', resized)]
}

/** Copies until the end of stdin or of the program; the result stops it. */
function copyInput(
  stdin: AttachInput,
  process: RemoteProcess,
  keys: Uint8Array | undefined,
  detached: () => void,
): () => void {
  const matcher = keys === undefined ? undefined : new DetachMatcher(keys)
  let stopped = false
  // The program may have ended already: its status tells, not a write that came too late.
  const late = (): void => undefined
  const data = (chunk: Uint8Array): void => {
    const { forward, detached: leaving } = matcher?.push(chunk) ?? {
      forward: chunk,
      detached: false,
    }
    stdin.pause()
    const written = forward.length === 0 ? Promise.resolve() : process.write(forward)
    written.then(() => {
      if (leaving) detached()
      else if (!stopped) stdin.resume()
    }, late)
  }
  const end = (): void => {
    process.end().catch(late)
  }
  stdin.on('data', data)
  stdin.on('end', end)
  stdin.on('error', end)
  if (stdin.readableEnded === true) end()
  else stdin.resume()
  return () => {
    stopped = true
    stdin.off('data', data)
    stdin.off('end', end)
    stdin.off('error', end)
    stdin.pause()
  }
}

async function copyOutput(
  read: () => Promise<Uint8Array | undefined>,
  output: AttachOutput,
): Promise<void> {
  for (;;) {
    // A connection that breaks is reported by `exit`.
    const chunk = await read().catch(() => undefined)
    if (chunk === undefined) return
    await new Promise<void>((resolve, reject) => {
      output.write(chunk, (error) => (error ? reject(error) : resolve()))
    })
  }
}

/** An output without an error listener would end the whole process when its reader goes. */
function onOutputError(output: AttachOutput, listener: (error: Error) => void): () => void {
  output.on('error', listener)
  return () => output.off('error', listener)
}

function isReaderGone(error: Error): boolean {
  return 'code' in error && error.code === 'EPIPE'
}
