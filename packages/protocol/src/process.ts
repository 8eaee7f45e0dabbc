/** A program at the other end, as a client sees it: three streams, signals, an exit status. */
import { type Channel, listen, pullStream } from './channel.ts'
import {
  breakRequest,
  exitSignal,
  exitStatus,
  REQUEST,
  signal,
  understandsEow,
  windowChange,
  xonXoff,
} from './connection/requests.ts'
import { type Deferred, deferred } from './deferred.ts'
import { SshError } from './errors.ts'
import { TERMINATE_GRACE_MS } from './limits.ts'
import { unref } from './pump.ts'
import type { TerminalModes } from './terminal-modes.ts'
import { aborted, type WaitOptions, waitFor } from './wait.ts'

/** How a program ended: by itself with a code, or by a signal. */
export type ExitStatus =
  | { readonly code: number; readonly signal?: undefined }
  | {
      readonly code?: undefined
      /** Without SIG: `TERM`, `KILL`, … */
      readonly signal: string
      readonly coreDumped: boolean
      /** Text of the peer, untrusted. */
      readonly message: string
    }

/** A terminal to run a program in, RFC 4254 §6.2. */
export interface PtyOptions {
  /** Value of TERM. Default `xterm-256color`. */
  readonly term?: string
  /** Default 80. */
  readonly columns?: number
  /** Default 24. */
  readonly rows?: number
  /** 0, the default, if unknown. */
  readonly widthPixels?: number
  readonly heightPixels?: number
  readonly modes?: TerminalModes
}

/**
 * A running program, made by `Client.exec` and `Client.shell`.
 *
 * @example
 * const process = await client.exec('cat', { stderr: 'ignore' })
 * await process.write(new TextEncoder().encode('in and out'))
 * await process.end()
 * console.log(await new Response(process.stdout).text()) // in and out
 * console.log((await process.exit).code) // 0
 */
export class RemoteProcess {
  /** The session channel underneath, for requests of other kinds. */
  readonly channel: Channel
  readonly #exit: Deferred<ExitStatus> = deferred()
  readonly #notifyEow: boolean
  #status: ExitStatus | undefined
  #flowControl: boolean | undefined
  #closed = false
  #closeReason: unknown
  #terminated: Promise<void> | undefined
  #stdout: ReadableStream<Uint8Array> | undefined

  /** Internal: made by `Client.exec` and its like. */
  constructor(channel: Channel, serverIdentification: string) {
    this.channel = channel
    this.#notifyEow = understandsEow(serverIdentification)
    listen(
      channel,
      (request, data) => this.#request(request, data),
      () => this.#settle(),
    )
    void channel.closed.then(() => {
      this.#closed = true
      this.#settle()
    })
  }

  /**
   * Resolves when the program has ended and everything it wrote to stdout and stderr was read or
   * discarded. Rejects with SshError `SSH_CONNECTION_LOST` if the channel or the connection ended
   * without a status (so a lost connection is never taken for an exit code), and with the reason
   * of `close` or the AbortSignal if that came first.
   */
  get exit(): Promise<ExitStatus> {
    return this.#exit.promise
  }

  /**
   * `exit`, for who will not wait for ever: the signal ends only the waiting, and leaves the program
   * alone. That of `Client.exec` gives up the program.
   *
   * @example
   * const process = await client.exec('cat', { stderr: 'ignore' })
   * const soon = process.wait({ signal: AbortSignal.timeout(20) })
   * console.log(await soon.catch((error) => error.code)) // SSH_TIMEOUT
   * await process.end()
   * console.log((await process.wait()).code) // 0
   */
  wait(options: WaitOptions = {}): Promise<ExitStatus> {
    return waitFor(this.exit, { signal: options.signal, what: 'the program' })
  }

  /** The program's input; closing it is the end of file. Made when first asked for. */
  get stdin(): WritableStream<Uint8Array> {
    return this.channel.writable
  }

  /** The program's output. Cancelling it tells the server that nobody reads any more. */
  get stdout(): ReadableStream<Uint8Array> {
    this.#stdout ??= pullStream(
      () => this.channel.read(),
      () => {
        this.channel.discard()
        if (this.#notifyEow) this.channel.notify(REQUEST.EOW)
      },
    )
    return this.#stdout
  }

  /**
   * The program's error output; empty under `stderr: 'merge'` or `'ignore'`. It shares the window
   * with stdout: if it is not read, both come to a halt.
   */
  get stderr(): ReadableStream<Uint8Array> {
    return this.channel.readableStderr
  }

  /**
   * Next chunk of stdout, or undefined at its end; the fast way round `stdout`. One given up by its
   * signal takes nothing, and leaves the program alone.
   */
  read(options?: WaitOptions): Promise<Uint8Array | undefined> {
    return this.channel.read(options)
  }

  /** Next chunk of stderr, or undefined at its end. */
  readStderr(options?: WaitOptions): Promise<Uint8Array | undefined> {
    return this.channel.readStderr(options)
  }

  /** Writes to stdin; see `Channel.write`. Rejects `SSH_CHANNEL_CLOSED` once the program ended. */
  write(chunk: Uint8Array, options?: WaitOptions): Promise<void> {
    return this.channel.write(chunk, options)
  }

  /** Ends stdin; see `Channel.close`. */
  end(options?: WaitOptions): Promise<void> {
    return this.channel.close(options)
  }

  /**
   * Asks the server to send a signal, named without SIG (RFC 4254 §6.9), or `INFO@openssh.com`.
   * Works after `end` too; servers are free to ignore it. Throws TypeError on a name with SIG.
   *
   * @example
   * const client = await pair({
   *   exec: (session) => new Promise((end) => session.onSignal((signal) => end({ signal }))),
   * })
   * const process = await client.exec('sleep 1000', { stderr: 'ignore' })
   * process.kill('INT')
   * console.log((await process.exit).signal) // INT
   */
  kill(name: string): void {
    if (typeof name !== 'string' || name === '' || name.startsWith('SIG')) {
      throw new TypeError('signal must be a name without SIG, such as "TERM"')
    }
    this.channel.notify(REQUEST.SIGNAL, signal.encode({ name }))
  }

  /**
   * Sends a break (RFC 4335), for serial consoles; true if the server did it. 0 is its own length.
   *
   * @example
   * const client = await pair({
   *   exec: (session) => new Promise((end) => session.onBreak((ms) => end(ms === 500 ? 0 : 1))),
   * })
   * const console_ = await client.exec('console ttyS0', { stderr: 'ignore' })
   * console.log(await console_.break(500), (await console_.exit).code) // true 0
   */
  break(lengthMs = 0, options: WaitOptions = {}): Promise<boolean> {
    return this.channel.request(REQUEST.BREAK, breakRequest.encode({ lengthMs }), options)
  }

  /**
   * Whether the server said that Ctrl-S and Ctrl-Q may be acted on at this side (RFC 4254 §6.8);
   * undefined until it says anything.
   */
  get flowControl(): boolean | undefined {
    return this.#flowControl
  }

  /** Tells the new size of the terminal, RFC 4254 §6.7. */
  resize(columns: number, rows: number, widthPixels = 0, heightPixels = 0): void {
    const size = { columns, rows, widthPixels, heightPixels }
    this.channel.notify(REQUEST.WINDOW_CHANGE, windowChange.encode(size))
  }

  /**
   * Closes the channel, whatever the program does; what was not read is dropped.
   *
   * @example
   * const process = await client.exec('cat')
   * process.close(new Error('nobody needs it any more'))
   * console.log(await process.exit.catch((error) => error.message)) // nobody needs it any more
   */
  close(reason?: unknown): void {
    this.#closeReason ??= reason ?? new SshError('SSH_ABORTED', 'the process was closed')
    this.channel.abort(this.#closeReason)
  }

  /**
   * Has the program end, the hard way if need be: TERM, after `graceMs` KILL, after as long again
   * CLOSE, upon which servers end what still runs. Resolves once the channel is gone; how the
   * program ended, `exit` tells as always.
   *
   * @example
   * // This one is deaf to TERM.
   * const client = await pair({
   *   exec: (session) =>
   *     new Promise((end) => session.onSignal((signal) => signal === 'KILL' && end({ signal }))),
   * })
   * const process = await client.exec('stubborn', { stderr: 'ignore' })
   * await process.terminate(50)
   * console.log((await process.exit).signal) // KILL
   */
  terminate(graceMs: number = TERMINATE_GRACE_MS): Promise<void> {
    this.#terminated ??= this.#terminate(graceMs)
    return this.#terminated
  }

  /** Internal: what an AbortSignal does. Nobody waits for the program, but it is seen to its end. */
  giveUp(reason: unknown, graceMs?: number): void {
    this.#closeReason ??= reason
    this.#exit.reject(this.#closeReason)
    this.channel.leave(this.#closeReason)
    void this.terminate(graceMs)
  }

  /** `close`, unless the program is being terminated, and waits for the channel to be gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#terminated === undefined) this.close()
    await this.channel.closed
  }

  async #terminate(graceMs: number): Promise<void> {
    for (const name of ['TERM', 'KILL']) {
      if (this.#closed) return
      this.kill(name)
      await this.#closedWithin(graceMs)
    }
    this.channel.abort(this.#closeReason)
    await this.channel.closed
  }

  #closedWithin(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      // What nobody waits for is no reason to keep a program running.
      unref(timer)
      void this.channel.closed.then(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  #request(request: string, data: Uint8Array): boolean {
    try {
      if (request === REQUEST.EXIT_STATUS) {
        this.#status ??= { code: exitStatus.decode(data).code }
        return true
      }
      if (request === REQUEST.EXIT_SIGNAL) {
        const { name, coreDumped, message } = exitSignal.decode(data)
        this.#status ??= { signal: name, coreDumped, message }
        return true
      }
      if (request === REQUEST.XON_XOFF) {
        this.#flowControl = xonXoff.decode(data).clientCanDo
        return true
      }
      if (request === REQUEST.EOW) {
        const text = 'the program reads no more of its input'
        this.channel.refuseWrites(new SshError('SSH_CHANNEL_CLOSED', text))
        return true
      }
    } catch {
      // Malformed: as if it had not come, so that `exit` tells that there was no status.
    }
    return false
  }

  #settle(): void {
    if (!this.#closed) return
    const status = this.#status
    // Without the end of the output a status proves little: the cut may have taken the rest of it.
    if (status !== undefined && this.channel.peerEnded) {
      if (this.channel.drained) this.#exit.resolve(status)
    } else {
      this.#exit.reject(
        this.#closeReason ??
          new SshError('SSH_CONNECTION_LOST', 'the session ended without an exit status', {
            cause: this.channel.failure,
          }),
      )
    }
  }
}

/** Ties a process to a signal: when it fires the program is given up, see `giveUp`. */
export function killOnAbort(
  process: RemoteProcess,
  abortSignal: AbortSignal,
  graceMs: number | undefined,
): void {
  const onAbort = (): void => process.giveUp(aborted(abortSignal), graceMs)
  if (abortSignal.aborted) return onAbort()
  abortSignal.addEventListener('abort', onAbort, { once: true })
  void process.channel.closed.then(() => abortSignal.removeEventListener('abort', onAbort))
}
