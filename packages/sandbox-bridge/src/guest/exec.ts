/** One program started for a client. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, fchownSync } from 'node:fs'
import { constants } from 'node:os'
import type { Writable } from 'node:stream'
import type { ExecRequest, Resize } from '../agent/messages.ts'
import {
  type Command,
  type ExecDefaults,
  ExecFailure,
  prepareCommand,
  setupFailure,
  spawnFailure,
  tool,
} from './command.ts'
import { Credit } from './credit.ts'
import { errorName, errorNumber, osError } from './errno.ts'
import { InputQueue } from './input-queue.ts'
import { openPipes } from './pipes.ts'
import { applyModes, openTerminal, type Terminal } from './pty.ts'
import type { GuestSession, Reply } from './session.ts'
import { Source } from './source.ts'
import { stdioOf } from './stdio.ts'

/** Largest piece of output in one frame. */
const OUTPUT_BYTES_MAX = 64 * 1024
/** More than the kernel buffers on a terminal. */
const TERMINAL_BYTES_MAX = 128 * 1024
const EPIPE = 32

/** A program, its streams and its end. Exactly one of `exited` and `failed` is posted, last. */
export class ExecSession implements GuestSession {
  readonly #request: ExecRequest
  readonly #reply: Reply
  readonly #credit: Credit
  readonly #input: InputQueue
  readonly #onEnd: (session: ExecSession) => void
  readonly #sources: Source[] = []
  #stdin: Writable | undefined
  /** Ends the write that is under way, if its stream is closed before. */
  #interrupt: () => void = () => {}
  #terminal: Terminal | undefined
  #child: ChildProcess | undefined
  #abandoned = false
  #over = false
  #inputBroken = false

  /** `onEnd` is called once, after the last message. */
  constructor(request: ExecRequest, reply: Reply, onEnd: (session: ExecSession) => void) {
    this.#request = request
    this.#reply = reply
    this.#onEnd = onEnd
    this.#credit = new Credit(request.window)
    this.#input = new InputQueue(
      (chunk) => this.#writeStdin(chunk),
      () => this.#stdin?.end(),
    )
  }

  /** Process group of the program, once it runs. */
  get pid(): number | undefined {
    return this.#child?.pid
  }

  /** True if anybody is left in the program's group. */
  get isGroupAlive(): boolean {
    try {
      return this.pid !== undefined && process.kill(-this.pid, 0)
    } catch {
      return false
    }
  }

  /** Runs the program to its end. Never rejects. */
  async run(defaults: ExecDefaults): Promise<void> {
    try {
      const { exit } = await this.#start(prepareCommand(this.#request, defaults))
      await this.#pump(exit)
      const { code, signal } = await exit
      this.#over = true
      const told = defaults.tellsSignals && signal !== undefined ? { signal } : {}
      this.#reply.post('core.exec.exited', { code, ...told })
    } catch (error) {
      this.#reply.post('core.exec.failed', failureOf(error, this.#request))
    }
    this.#input.close()
    this.#credit.close()
    this.#onEnd(this)
  }

  stdin(chunk: Uint8Array): void {
    if (chunk.length > 0) this.#input.push(chunk)
    // End of input is a character on a terminal, and the client types it.
    else if (!this.#request.tty) this.#input.end()
  }

  resize(size: Resize): void {
    this.#terminal?.resize(size.cols, size.rows)
  }

  /** Signals the group; unknown numbers, and groups that are gone, say nothing. */
  signal(number: number): void {
    const pid = this.#child?.pid
    if (pid === undefined || !(number >= 1 && number <= 31)) return
    try {
      process.kill(-pid, number)
    } catch {
      // A program on a terminal makes its group a moment after its start.
      if (this.#child?.exitCode === null && this.#child.signalCode === null) {
        this.#child.kill(number as never)
      }
    }
  }

  credit(bytes: number): void {
    this.#credit.give(bytes)
  }

  inputDrained(): Promise<void> {
    return this.#input.drained()
  }

  inputRoom(): Promise<void> | undefined {
    return this.#input.full ? this.#input.room() : undefined
  }

  abandon(): void {
    this.#abandoned = true
    this.signal(constants.signals.SIGKILL)
    this.#credit.close()
    this.#input.close()
    this.#stdin?.destroy()
    // Whoever escaped the group may hold the streams for ever.
    for (const source of this.#sources) source.destroy()
    this.#terminal?.close()
  }

  /** Starts it; the result settles when the program has ended and been reaped. */
  async #start(command: Command): Promise<Running> {
    return this.#request.tty ? this.#startOnTerminal(command) : this.#startOnPipes(command)
  }

  async #startOnPipes(command: Command): Promise<Running> {
    const pipes = await openPipes()
    let child: ChildProcess
    try {
      // Detached is setsid(2): a session and a group of its own.
      child = spawn(command.file, command.args, {
        cwd: command.cwd,
        env: command.env,
        detached: true,
        stdio: stdioOf(pipes?.program ?? ['pipe', 'pipe', 'pipe']),
      })
    } catch (error) {
      destroyAll(pipes)
      throw error
    } finally {
      for (const fd of pipes?.program ?? []) closeSync(fd)
    }
    this.#child = child
    const { stdin, stdout, stderr } = pipes ?? child
    if (stdin === null || stdout === null || stderr === null) throw new Error('no pipes')
    try {
      const running = await this.#running(child)
      this.#sources.push(new Source(stdout), new Source(stderr))
      this.#openInput(stdin)
      return running
    } catch (error) {
      destroyAll({ stdin, stdout, stderr })
      throw error
    }
  }

  async #startOnTerminal(command: Command): Promise<Running> {
    const terminal = openTerminal(this.#request.cols, this.#request.rows)
    this.#terminal = terminal
    try {
      if (this.#request.modes !== undefined) await applyModes(terminal, this.#request.modes)
      // Closed meanwhile, and its number perhaps somebody else's.
      if (this.#abandoned) throw setupFailure('other', 'the client is gone')
      if (command.user !== undefined) fchownSync(terminal.slave, command.user.uid, -1)
      const { slave } = terminal
      const variable = this.#request.tty_env
      const child = spawn(tool('setsid'), ['-c', '--', command.file, ...command.args], {
        cwd: command.cwd,
        env: { ...command.env, ...(variable === undefined ? {} : { [variable]: terminal.path }) },
        stdio: stdioOf([slave, slave, slave]),
      })
      this.#child = child
      const running = await this.#running(child)
      const source = new Source(terminal.output)
      this.#sources.push(source)
      this.#input.open()
      // Jobs left behind may hold the terminal for ever; what the program wrote is all there now.
      void running.exit.then(() => source.drainWith(rest(terminal)))
      return running
    } catch (error) {
      terminal.close()
      throw error
    }
  }

  async #running(child: ChildProcess): Promise<Running> {
    const exit = new Promise<Exit>((resolve) => {
      child.on('exit', (code, signal) => {
        resolve(signal === null ? { code: code ?? -1 } : { code: -1, signal: signal.slice(3) })
      })
    })
    await new Promise<void>((resolve, reject) => {
      child.on('spawn', resolve)
      child.on('error', reject)
    })
    this.#reply.post('core.exec.started', { pid: child.pid ?? 0 })
    if (this.#abandoned) this.signal(constants.signals.SIGKILL)
    return { exit }
  }

  /** Sends output until its end. */
  async #pump(exit: Promise<Exit>): Promise<void> {
    const [stdout, stderr] = this.#sources
    await Promise.all([
      this.#forward('core.exec.stdout', stdout),
      this.#forward('core.exec.stderr', stderr),
    ])
    await exit
    this.#terminal?.close()
    this.#stdin?.destroy()
  }

  async #forward(
    type: 'core.exec.stdout' | 'core.exec.stderr',
    source: Source | undefined,
  ): Promise<void> {
    if (source === undefined) return
    for (;;) {
      // A broken output stream has nothing more to give, which is its end.
      const chunk = await source.next().catch(() => undefined)
      if (chunk === undefined) return
      for (let at = 0; at < chunk.length && !this.#abandoned; ) {
        const count = await this.#credit.take(Math.min(chunk.length - at, OUTPUT_BYTES_MAX))
        await this.#reply.data(type, chunk.subarray(at, at + count))
        at += count
      }
    }
  }

  #openInput(stream: Writable): void {
    this.#stdin = stream
    stream.on('error', () => {})
    stream.on('close', () => this.#interrupt())
    this.#input.open()
  }

  async #writeStdin(chunk: Uint8Array): Promise<void> {
    const error = this.#inputBroken ? brokenPipe() : await this.#written(chunk)
    if (error === undefined || this.#abandoned || this.#over) return
    this.#inputBroken = true
    const errno = errorNumber(error) ?? EPIPE
    this.#reply.post('core.exec.stdin.error', {
      errno,
      errno_name: errorName(errno),
      message: `io error: ${osError(errno)}`,
    })
  }

  /** Resolves with what went wrong, if anything did, once the chunk is written. */
  #written(chunk: Uint8Array): Promise<unknown> {
    if (this.#terminal !== undefined) return this.#terminal.write(chunk)
    const stream = this.#stdin
    if (stream === undefined || stream.destroyed) return Promise.resolve(brokenPipe())
    return new Promise((resolve) => {
      // A stream destroyed with a write pending may never call back.
      this.#interrupt = () => resolve(brokenPipe())
      stream.write(chunk, (error) => resolve(error ?? undefined))
    })
  }
}

/** A program that was started; a promise alone would be awaited on its way. */
interface Running {
  readonly exit: Promise<Exit>
}

interface Exit {
  readonly code: number
  readonly signal?: string
}

/**
 * What a terminal still holds. Jobs left behind may go on writing for ever, so no more is taken
 * than a terminal can have held when its program ended.
 */
function rest(terminal: Terminal): () => Uint8Array | undefined {
  let left = TERMINAL_BYTES_MAX
  return () => {
    const chunk = left > 0 ? terminal.drain() : undefined
    left -= chunk?.length ?? 0
    return chunk
  }
}

function destroyAll(
  streams: Record<'stdin' | 'stdout' | 'stderr', { destroy(): unknown }> | undefined,
): void {
  streams?.stdin.destroy()
  streams?.stdout.destroy()
  streams?.stderr.destroy()
}

function brokenPipe(): Error {
  return Object.assign(new Error('broken pipe'), { code: 'EPIPE' })
}

function failureOf(error: unknown, request: ExecRequest): ExecFailure['failed'] {
  if (error instanceof ExecFailure) return error.failed
  const number = errorNumber(error)
  if (number !== undefined) return spawnFailure(request, number).failed
  return setupFailure('other', error instanceof Error ? error.message : String(error)).failed
}
