/** The client of `SandboxSshOps`: programs, terminals and files in a sandbox, in one process. */
import type { Client, ExitStatus, RunOptions } from '@sandbox-ssh/protocol'
import type { OpenSftpOptions } from '@sandbox-ssh/sftp'
import { signalNumber } from './agent/signals.ts'
import { type NativeSession, nativeSession } from './native-session.ts'
import type { Sandbox } from './sandbox.ts'
import { checkBoolean, checkEnv, checkInactivity, checkText } from './settings.ts'
import { SftpClient } from './sftp-client.ts'
import {
  type AttachStreams,
  attach,
  NoTerminalError,
  terminalName,
  terminalSize,
} from './terminal/attach.ts'
import { DEFAULT_DETACH_KEYS, parseDetachKeys } from './terminal/detach-keys.ts'

/** Options of `openClient`. */
export interface SshClientOptions {
  /** Guest user; default: that of the sandbox's options, else `root`. */
  readonly user?: string | undefined
  /** TERM of terminals; default: the local one, or `xterm` where that is empty or `dumb`. */
  readonly term?: string | undefined
  /** Offer SFTP; default true. */
  readonly sftp?: boolean | undefined
  /**
   * Seconds without a byte either way after which the connection ends; 0: never. Default: what
   * `config.json` says of it, else never.
   */
  readonly inactivityTimeoutSecs?: number | undefined
  /** Ends the attempt to connect. */
  readonly signal?: AbortSignal | undefined
}

/** Options of `exec`. */
export interface SshExecOptions {
  /** Run it in a terminal of 80×24; all output is then in `stdout`. */
  readonly tty?: boolean | undefined
  /** Input of the program; without it stdin ends at once. */
  readonly stdin?: Uint8Array | string | ReadableStream<Uint8Array> | undefined
  /** Variables for this program. */
  readonly env?: Readonly<Record<string, string>> | undefined
  /** Another guest user than the client's. */
  readonly user?: string | undefined
  /** Ends the program (TERM, then harder) and rejects. */
  readonly signal?: AbortSignal | undefined
  /** Most that is kept of each stream; default 64 MiB, more rejects with `SSH_LIMIT`. */
  readonly maxBytes?: number | undefined
}

/** What a program left behind. */
export interface SshOutput {
  /** Exit status; 128+n if signal n ended it. */
  readonly status: number
  /** The signal that ended it, without SIG. */
  readonly signal?: string | undefined
  readonly stdout: Buffer
  readonly stderr: Buffer
}

/** Options of `attach`. */
export interface SshAttachOptions {
  /** Default: the client's. */
  readonly term?: string | undefined
  /** Keys that leave the session, such as `ctrl-p,ctrl-q`; default `ctrl-]`. */
  readonly detachKeys?: string | undefined
}

/**
 * A client in a sandbox. Calls may overlap; each program has a channel of its own.
 *
 * @example
 * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * const client = await sandbox('local:devbox').ssh().openClient()
 * const sorted = await client.exec('sort', { stdin: 'pear\napple\n' })
 * console.log(sorted.status, sorted.stdout.toString().split('\n')[0]) // 0 apple
 * console.log((await client.exec('exit 7')).status) // 7
 *
 * // What streams goes through the SSH client underneath.
 * const process = await client.connection.exec('echo one; echo two', { stderr: 'ignore' })
 * console.log((await new Response(process.stdout).text()).length) // 8
 * await client.close()
 */
export class SshClient {
  readonly #sandbox: Sandbox
  readonly #options: SshClientOptions
  readonly #session: NativeSession
  /** Connections of other users, made as `exec` asks for them. */
  readonly #others = new Map<string, Promise<NativeSession>>()
  #closed: Promise<void> | undefined

  private constructor(sandbox: Sandbox, options: SshClientOptions, session: NativeSession) {
    this.#sandbox = sandbox
    this.#options = options
    this.#session = session
  }

  /** Internal: `SandboxSshOps.openClient` makes them. */
  static async open(sandbox: Sandbox, options: SshClientOptions): Promise<SshClient> {
    checkText(options.user, 'user')
    checkText(options.term, 'term')
    checkBoolean(options.sftp, 'sftp')
    checkInactivity(options.inactivityTimeoutSecs)
    return new SshClient(sandbox, options, await nativeSession(sandbox, options))
  }

  /** The SSH connection underneath: streaming programs, forwards, everything SSH has. */
  get connection(): Client {
    this.#requireOpen()
    return this.#session.client
  }

  /**
   * Runs a command line in the user's shell and collects what it writes. A status other than 0 is
   * a result.
   * @throws SshError `SSH_CONNECTION_LOST` if it ended without a status, `SSH_LIMIT`,
   * `SSH_ABORTED`; TypeError for a bad option
   */
  async exec(command: string | Uint8Array, options: SshExecOptions = {}): Promise<SshOutput> {
    this.#requireOpen()
    const { tty, stdin, env, user, signal, maxBytes } = options
    checkBoolean(tty, 'tty')
    checkEnv(env, 'env')
    checkText(user, 'user')
    const runOptions: RunOptions = {
      ...(stdin === undefined ? {} : { stdin }),
      ...(env === undefined ? {} : { env }),
      ...(signal === undefined ? {} : { signal }),
      ...(maxBytes === undefined ? {} : { maxBytes }),
      ...(tty === true ? { pty: { term: this.#term(), columns: 80, rows: 24 } } : {}),
    }
    const { client } = await this.#sessionOf(user)
    const result = await client.run(command, runOptions)
    return {
      status: result.code ?? signalStatus(result.signal),
      ...(result.signal === undefined ? {} : { signal: result.signal }),
      stdout: asBuffer(result.stdout),
      stderr: asBuffer(result.stderr),
    }
  }

  /**
   * Joins a login shell to the terminal of this process until it ends or the detach keys are
   * typed. Resolves with its exit status, 0 if detached.
   * @throws TypeError without a terminal; RangeError for bad detach keys; SshError
   */
  async attach(options: SshAttachOptions = {}): Promise<number> {
    this.#requireOpen()
    checkText(options.term, 'term')
    const detachKeys = parseDetachKeys(options.detachKeys ?? DEFAULT_DETACH_KEYS)
    const streams: AttachStreams = process
    if (streams.stdin.isTTY !== true) throw new NoTerminalError('attach needs a terminal on stdin')
    const term = options.term ?? this.#term()
    const shell = await this.#session.client.shell({
      pty: { term, ...terminalSize(streams.stdout) },
    })
    const end = await attach(shell, streams, { raw: true, detachKeys })
    return end.type === 'exited' ? exitStatus(end.status) : 0
  }

  /**
   * Opens an SFTP session.
   * @throws SshError `SSH_REQUEST_REFUSED` if the client was opened without SFTP
   */
  async sftp(options: OpenSftpOptions = {}): Promise<SftpClient> {
    this.#requireOpen()
    return SftpClient.open(this.#session.client, options)
  }

  /** Ends everything that runs through this client, and the connection. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    const others = await Promise.allSettled(this.#others.values())
    const opened = others.flatMap((other) => (other.status === 'fulfilled' ? [other.value] : []))
    await Promise.all([this.#session, ...opened].map((session) => session.close()))
  }

  #sessionOf(user: string | undefined): Promise<NativeSession> {
    if (user === undefined || user === this.#session.client.username) {
      return Promise.resolve(this.#session)
    }
    let other = this.#others.get(user)
    if (other === undefined) {
      const { signal: _, ...options } = this.#options
      other = nativeSession(this.#sandbox, { ...options, user })
      this.#others.set(user, other)
      other.catch(() => this.#others.delete(user))
    }
    return other
  }

  #term(): string {
    return this.#options.term ?? terminalName(process.env['TERM'])
  }

  #requireOpen(): void {
    if (this.#closed !== undefined) throw new Error('SSH handle has been consumed')
  }
}

/**
 * The exit status that stands for how a program ended: its own, or 128+n for signal n.
 *
 * @example
 * import { exitStatus } from '@sandbox-ssh/sandbox-bridge'
 *
 * console.log(exitStatus({ code: 3 })) // 3
 * console.log(exitStatus({ signal: 'TERM', coreDumped: false, message: '' })) // 143
 */
export function exitStatus(status: ExitStatus): number {
  return status.code ?? signalStatus(status.signal)
}

function signalStatus(signal: string | undefined): number {
  return 128 + (signal === undefined ? 0 : (signalNumber(signal) ?? 0))
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
