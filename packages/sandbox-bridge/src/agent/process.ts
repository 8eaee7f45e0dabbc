/** A program running in the guest. */
import { AgentError, parseErrno } from './error.ts'
import { Inbox } from './inbox.ts'
import { InputPacer } from './input-pacer.ts'
import { programRoom } from './input-room.ts'
import type { Link, Session } from './link.ts'
import type { ExecRequest, Message } from './messages.ts'
import { signalName, signalNumber } from './signals.ts'

/** What to run; everything but `command` has the guest's defaults. */
export interface ExecOptions {
  /** Program, looked up on the PATH of `env` unless it has a slash. No shell is involved. */
  readonly command: string
  readonly args?: readonly string[] | undefined
  /** Laid over the guest's own environment. */
  readonly env?: ReadonlyMap<string, string> | undefined
  readonly cwd?: string | undefined
  /** `USER[:GROUP]`, names or numbers; the guest's default if absent. */
  readonly user?: string | undefined
  /** Present for a terminal. */
  readonly pty?: PtySize | undefined
}

/** A terminal's size, and with a guest that can do it, its modes. */
export interface PtySize {
  readonly columns: number
  readonly rows: number
  readonly widthPixels?: number | undefined
  readonly heightPixels?: number | undefined
  /** Names of RFC 4254 §8 to values; ignored by guests without `pty-modes`. */
  readonly modes?: Readonly<Record<string, number>> | undefined
  /** Variable for the path of the terminal; ignored by guests without `tty-env`. */
  readonly pathVariable?: string | undefined
}

/** How a program ended. */
export interface ExecExit {
  /** Exit status 0 to 255, or -1 if a signal ended it. */
  readonly code: number
  /**
   * The signal's name without `SIG`. If the guest does not tell, the last deadly one that we sent;
   * undefined if we sent none.
   */
  readonly signal?: string | undefined
}

/** Output held for one program at which it is made to stop producing. */
const PAUSE_ABOVE_BYTES = 256 * 1024
/** Output held at which it may go on. */
const RESUME_BELOW_BYTES = 64 * 1024
/** Output held at which a program that cannot be stopped is killed. */
const HELD_BYTES_MAX = 64 * 1024 * 1024
/** Output a guest with `window` may have under way. */
export const OUTPUT_WINDOW_BYTES: number = 256 * 1024

const SIGKILL = 9
const SIGCONT = 18
const SIGSTOP = 19
/** Signals whose default action leaves the process running or stopped. */
const HARMLESS = new Set(['CHLD', 'CONT', 'STOP', 'TSTP', 'TTIN', 'TTOU', 'URG', 'WINCH'])

/** A program in the guest: its streams, its signals, its end. Made by `AgentClient.exec`. */
export class AgentProcess implements Session {
  /** True with a terminal: one output stream, and end of input is a character. */
  readonly tty: boolean
  /** Resolves at the end; rejects with `AgentError` if the agent is gone before. */
  readonly exited: Promise<ExecExit>
  readonly #link: Link
  readonly #id: number
  readonly #stdout: Inbox
  readonly #stderr: Inbox
  readonly #input: InputPacer
  /** VEOF, or undefined where the terminal has none. */
  readonly #endOfFile: number | undefined
  #pid = 0
  #started: { resolve(process: AgentProcess): void; reject(error: Error): void } | undefined
  #settleExit: { resolve(exit: ExecExit): void; reject(error: unknown): void } | undefined
  #ended = false
  #inputEnded = false
  #inputBroken = false
  #paused = false
  #owedCredit = 0
  #lastSignal: string | undefined

  private constructor(link: Link, id: number, options: ExecOptions) {
    this.#link = link
    this.#id = id
    this.tty = options.pty !== undefined
    this.#endOfFile = endOfFile(options.pty, link)
    const owner = {
      held: link.held,
      onTaken: (count: number) => this.#taken(count),
      onOverflow: () =>
        this.#overflow('the connection to the agent holds too much for its readers'),
    }
    this.#stdout = new Inbox(owner)
    this.#stderr = new Inbox(owner)
    const room = programRoom(link, () => this.#pid, this.tty)
    this.#input = new InputPacer(link, id, 'core.exec.stdin', room)
    this.exited = new Promise((resolve, reject) => {
      this.#settleExit = { resolve, reject }
    })
    // Nobody is obliged to wait for the end.
    this.exited.catch(() => {})
  }

  /** For `AgentClient`: sends the request. `opened` registers the session before anything comes. */
  static start(
    link: Link,
    id: number,
    options: ExecOptions,
    opened: (session: Session) => void,
  ): Promise<AgentProcess> {
    const process = new AgentProcess(link, id, options)
    opened(process)
    return new Promise((resolve, reject) => {
      process.#started = { resolve, reject }
      link.send(id, 'core.exec.request', execRequest(link, options)).catch((error) => {
        link.release(id)
        process.#fail(error)
      })
    })
  }

  /** Process id in the guest; also its session and process group. */
  get pid(): number {
    return this.#pid
  }

  /** Output that came and was not read yet, both streams together. */
  get bufferedBytes(): number {
    return this.#stdout.bufferedBytes + this.#stderr.bufferedBytes
  }

  /** True once the program closed its stdin: what is written goes nowhere. */
  get inputBroken(): boolean {
    return this.#inputBroken
  }

  /**
   * Next chunk of stdout, or undefined at its end. Output that is not read makes the program stop
   * once 256 KiB are held. @throws AgentError `closed` if the agent is gone
   */
  read(): Promise<Uint8Array | undefined> {
    return this.#stdout.read()
  }

  /** Next chunk of stderr. With a terminal there is none: it ends with the program. */
  readStderr(): Promise<Uint8Array | undefined> {
    return this.#stderr.read()
  }

  /** Drops what stdout and stderr hold and whatever still comes. */
  discardOutput(): void {
    this.#stdout.discard()
    this.#stderr.discard()
  }

  /**
   * Writes to stdin at the pace the guest takes it. After the end of the program, or of its stdin,
   * it resolves and the bytes go nowhere. @throws AgentError `closed`
   */
  write(chunk: Uint8Array): Promise<void> {
    if (this.#inputEnded) return Promise.reject(new TypeError('write after end'))
    return this.#input.write(chunk)
  }

  /** For programs of our own: writes a few bytes that certainly fit, without any pacing. */
  send(chunk: Uint8Array): Promise<void> {
    return this.#link.sendData(this.#id, 'core.exec.stdin', chunk)
  }

  /** Ends stdin behind everything written: closes the pipe, or types the end-of-file character. */
  end(): Promise<void> {
    if (this.#inputEnded) return Promise.resolve()
    this.#inputEnded = true
    return this.#input.finish(async () => {
      const eof = this.tty ? this.#endOfFile : undefined
      if (this.tty && eof === undefined) return
      const last = eof === undefined ? new Uint8Array(0) : Uint8Array.of(eof)
      await this.#link.sendData(this.#id, 'core.exec.stdin', last)
    })
  }

  /** Tells the terminal its new size. */
  resize(columns: number, rows: number, widthPixels?: number, heightPixels?: number): void {
    if (!this.tty || this.#ended) return
    const pixels = this.#link.has('pty-modes')
      ? { xpixel: dimension(widthPixels ?? 0), ypixel: dimension(heightPixels ?? 0) }
      : {}
    const size = { rows: dimension(rows), cols: dimension(columns), ...pixels }
    this.#link.send(this.#id, 'core.exec.resize', size).catch(() => {})
  }

  /**
   * Signals the process group, by Linux number or by name without `SIG`. Returns false for a
   * signal Linux does not have.
   */
  signal(signal: number | string): boolean {
    const number = typeof signal === 'number' ? signal : signalNumber(signal)
    const name = number === undefined ? undefined : signalName(number)
    if (number === undefined || name === undefined) return false
    if (this.#ended) return true
    if (!HARMLESS.has(name)) this.#lastSignal = name
    this.#kill(number)
    // A process that we stopped would act on the signal only when somebody reads its output.
    if (this.#paused && number !== SIGSTOP) this.#resume()
    return true
  }

  /** For `AgentClient`. */
  handle(message: Message): void {
    switch (message.type) {
      case 'core.exec.started':
        this.#pid = message.payload.pid
        this.#started?.resolve(this)
        this.#started = undefined
        break
      case 'core.exec.stdout':
        this.#arrived(this.#stdout, message.payload.data)
        break
      case 'core.exec.stderr':
        this.#arrived(this.#stderr, message.payload.data)
        break
      case 'core.exec.stdin.error':
        this.#inputBroken = true
        this.#input.close()
        break
      case 'core.exec.exited':
        this.#exit(message.payload.code, message.payload.signal)
        break
      case 'core.exec.failed': {
        const { kind, message: text, errno } = message.payload
        this.#fail(new AgentError(kind, text, { errno: errno ?? parseErrno(text) }))
        break
      }
      case 'core.error':
        this.#fail(new AgentError(message.payload.kind, message.payload.message))
        break
      default:
    }
  }

  /** For `AgentClient`. */
  lost(error: Error): void {
    this.#fail(error)
  }

  #arrived(inbox: Inbox, chunk: Uint8Array): void {
    inbox.push(chunk)
    const held = this.bufferedBytes
    if (held > HELD_BYTES_MAX) {
      // Only a process that left its group can get here; it gets what its group gets.
      this.#overflow(`program output exceeds ${HELD_BYTES_MAX} unread bytes`)
    } else if (held > PAUSE_ABOVE_BYTES && !this.#paused && !this.#link.has('window')) {
      this.#paused = true
      this.#kill(SIGSTOP)
    }
  }

  /** What was held goes at once: whoever did not read it may never do. */
  #overflow(why: string): void {
    const error = new AgentError('limit', why)
    this.#stdout.break(error)
    this.#stderr.break(error)
    if (this.#ended) return
    this.#kill(SIGKILL)
    this.#link.release(this.#id)
    this.#fail(error)
  }

  #taken(count: number): void {
    if (this.#ended) return
    if (this.#link.has('window')) {
      this.#owedCredit += count
      if (this.#owedCredit < OUTPUT_WINDOW_BYTES / 2) return
      const credit = this.#owedCredit
      this.#owedCredit = 0
      this.#link.ping({ session: this.#id, credit }).catch(() => {})
    } else if (this.#paused && this.bufferedBytes < RESUME_BELOW_BYTES) {
      this.#resume()
    }
  }

  #resume(): void {
    this.#paused = false
    this.#kill(SIGCONT)
  }

  /** Sends a signal without waiting; a carrier that is gone is told by `lost`. */
  #kill(signal: number): void {
    this.#link.send(this.#id, 'core.exec.signal', { signal }).catch(() => {})
  }

  #exit(code: number, told: string | undefined): void {
    this.#close()
    this.#stdout.end()
    this.#stderr.end()
    const signal = code < 0 ? (told ?? this.#lastSignal) : undefined
    this.#settleExit?.resolve(signal === undefined ? { code } : { code, signal })
  }

  #fail(error: Error): void {
    this.#close()
    this.#started?.reject(error)
    this.#started = undefined
    this.#stdout.fail(error)
    this.#stderr.fail(error)
    this.#settleExit?.reject(error)
  }

  #close(): void {
    this.#ended = true
    this.#input.close()
  }
}

function execRequest(link: Link, options: ExecOptions): ExecRequest {
  const { pty } = options
  const request: ExecRequest = {
    cmd: options.command,
    args: options.args ?? [],
    env: [...(options.env ?? [])].map(([name, value]) => `${name}=${value}`),
    cwd: options.cwd,
    user: options.user,
    tty: pty !== undefined,
    rows: dimension(pty?.rows ?? 24),
    cols: dimension(pty?.columns ?? 80),
    rlimits: [],
  }
  return {
    ...request,
    ...(link.has('window') ? { window: OUTPUT_WINDOW_BYTES } : {}),
    ...(pty?.pathVariable !== undefined && link.has('tty-env')
      ? { tty_env: pty.pathVariable }
      : {}),
    ...(pty !== undefined && link.has('pty-modes')
      ? {
          modes: new Map(Object.entries(pty.modes ?? {})),
          xpixel: dimension(pty.widthPixels ?? 0),
          ypixel: dimension(pty.heightPixels ?? 0),
        }
      : {}),
  }
}

/** Terminal sizes are u16; an SSH client may say anything. */
function dimension(value: number): number {
  return Math.min(Math.max(Math.trunc(value) || 0, 0), 0xffff)
}

/** The terminal's end-of-file character as the client asked for it, if the guest applies modes. */
function endOfFile(pty: PtySize | undefined, link: Link): number | undefined {
  const asked = link.has('pty-modes') ? pty?.modes?.['VEOF'] : undefined
  if (asked === undefined) return 0x04
  return asked === 0xff ? undefined : asked & 0xff
}
