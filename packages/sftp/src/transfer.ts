/**
 * Moving one file's bytes, many blocks at once. Blocks may arrive in any order and shorter than asked
 * for; the size somebody told is a hint, and only an empty read says where a file ends. To a server
 * they are sent in the order of the file: one that works off its requests in turn, as OpenSSH's does,
 * then never has a file with a hole in it, and a copy that was cut off goes on where the file ends.
 */
import { SshError, type SshErrorCode } from '@sandbox-ssh/protocol'
import type { SftpFile } from './file-system.ts'
import { InFlight } from './in-flight.ts'
import { DATA_BYTES_MAX, IN_FLIGHT_BYTES_MAX } from './limits.ts'
import { printablePath } from './path.ts'
import { RemoteFile } from './remote-file-system.ts'
import { throwIfAborted } from './requests.ts'
import { asSftpError } from './status.ts'

/** Blocks are not made smaller than this, however short a source's reads are. */
const BLOCK_BYTES_MIN = 4096
/** How much is asked for where the end was told to be: almost always there is nothing. */
const PROBE_BYTES = 4096

/** What to move, and how. */
export interface TransferOptions {
  /** Where to begin in both files. */
  readonly position?: number
  /** The source's size as somebody told it; undefined or wrong only costs time. */
  readonly sizeHint?: number | undefined
  /** Blocks in flight at most; by default what 4 MiB hold. */
  readonly inFlight?: number | undefined
  /** Memory shared with other transfers. */
  readonly budget?: Budget | undefined
  readonly signal?: AbortSignal | undefined
  /** For errors that are the target's. */
  readonly targetPath?: string
  /** Told the bytes moved so far, after each block. */
  readonly onProgress?: ((bytes: number) => void) | undefined
}

/**
 * Bytes in flight that several transfers share. Each may have one block in any case, so that none
 * waits for another.
 */
export class Budget {
  #free: number

  constructor(bytes: number) {
    this.#free = bytes
  }

  allows(bytes: number): boolean {
    return this.#free >= bytes
  }

  take(bytes: number): void {
    this.#free -= bytes
  }

  give(bytes: number): void {
    this.#free += bytes
  }
}

/**
 * A transfer ended early. Its `code` is that of the `cause`.
 *
 * @example
 * import { memoryFileSystem, TransferError } from '@sandbox-ssh/sftp'
 *
 * // A disk that is full after a while, as some are.
 * const here = memoryFileSystem({ capacityBytes: 4 })
 * const attempt = sftp.get('/etc/motd', here, '/motd')
 * const error = await attempt.catch((caught: unknown) => caught)
 * console.log(error instanceof TransferError && error.path) // …
 */
export class TransferError extends SshError {
  override readonly name = 'TransferError'
  /** The source. */
  readonly path: string
  /**
   * Where to resume: every byte before this position is in its place. What the target held beyond it
   * was cut off where that was still possible.
   */
  readonly position: number
  /** The target if that could not be written, undefined if it was the source that failed. */
  readonly targetPath: string | undefined

  constructor(path: string, position: number, cause: unknown, targetPath?: string) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const code: SshErrorCode = cause instanceof SshError ? cause.code : 'SSH_TRANSPORT'
    const failed = printablePath(targetPath ?? path)
    super(code, `${failed}: ${reason} (after ${position} bytes)`, { cause })
    this.path = path
    this.position = position
    this.targetPath = targetPath
  }
}

/** A block's place in the line of those that are sent to a server. */
interface Turn {
  /** Resolves when every earlier block was sent, or failed. */
  readonly comes: Promise<void>
  /** Lets the next one have its turn. */
  readonly pass: () => void
}

/**
 * Copies from one open file to another until the source's end, and says where that was. Both files
 * stay open. Rejects with TransferError, once nothing is in flight any more.
 */
export async function transfer(
  source: SftpFile,
  target: SftpFile,
  path: string,
  options: TransferOptions = {},
): Promise<number> {
  return new Transfer(source, target, options).run(path)
}

class Transfer {
  readonly #source: SftpFile
  readonly #target: SftpFile
  readonly #signal: AbortSignal | undefined
  readonly #onProgress: ((bytes: number) => void) | undefined
  readonly #inFlight: InFlight
  readonly #budget: Budget
  readonly #start: number
  /** Blocks that are done although an earlier one is not: from their start to their end. */
  readonly #ahead = new Map<number, number>()
  #blockBytes: number
  /** Where the next block starts. */
  #next: number
  /** Everything before it is in its place. */
  #prefix: number
  /** Believed to be the end, until proven. */
  #hint: number
  /** Somebody told a size. */
  readonly #told: boolean
  #end = Number.POSITIVE_INFINITY
  #highest = 0
  #probing = false
  /** There was more than was told. */
  #wasMore = false
  #bytes = 0
  #running = 0
  #failure: { readonly error: unknown } | undefined
  readonly #targetPath: string | undefined
  /** What a write of the target was rejected with. */
  #writeError: unknown
  #lastTurn: Promise<void> = Promise.resolve()
  #settled: () => void = () => {}

  constructor(source: SftpFile, target: SftpFile, options: TransferOptions) {
    this.#source = source
    this.#target = target
    this.#signal = options.signal
    this.#onProgress = options.onProgress
    this.#targetPath = options.targetPath
    this.#start = options.position ?? 0
    this.#next = this.#start
    this.#prefix = this.#start
    this.#hint = Math.max(this.#start, options.sizeHint ?? 0)
    this.#told = options.sizeHint !== undefined
    this.#blockBytes = blockBytes(source, target)
    this.#budget = options.budget ?? new Budget(IN_FLIGHT_BYTES_MAX)
    this.#inFlight = new InFlight(
      options.inFlight ?? Math.floor(IN_FLIGHT_BYTES_MAX / this.#blockBytes),
    )
  }

  async run(path: string): Promise<number> {
    try {
      throwIfAborted(this.#signal)
      await new Promise<void>((resolve) => {
        this.#settled = resolve
        this.#fill()
      })
      if (this.#failure !== undefined) throw this.#failure.error
      // The source shrank while it was read, after a later block had been written.
      if (this.#highest > this.#end) await this.#target.setstat({ size: this.#end })
      return this.#end
    } catch (error) {
      if (this.#highest > this.#prefix) {
        await this.#target.setstat({ size: this.#prefix }).catch(() => {})
      }
      // A connection that is gone is of neither file.
      const isTargets = error === this.#writeError && asSftpError(error) !== undefined
      throw new TransferError(path, this.#prefix, error, isTargets ? this.#targetPath : undefined)
    }
  }

  /** Starts what may be started; resolves the run when there is nothing left. */
  #fill(): void {
    while (this.#mayStart()) {
      const from = this.#next
      const isProbe = from >= this.#hint
      const most = isProbe ? this.#probeBytes() : this.#hint - from
      const length = Math.min(this.#blockBytes, most)
      this.#next += length
      // One look past the believed end at a time, until it has answered.
      if (isProbe) this.#hint = this.#next
      this.#running++
      this.#budget.take(length)
      void this.#block(from, length, isProbe).then(() => {
        this.#running--
        this.#budget.give(length)
        this.#fill()
      })
    }
    if (this.#running === 0) this.#settled()
  }

  /** Little past an end that was told; where none was, or it was wrong, what any block has. */
  #probeBytes(): number {
    return this.#told && !this.#wasMore ? PROBE_BYTES : this.#blockBytes
  }

  #mayStart(): boolean {
    if (this.#failure !== undefined || this.#next >= this.#end) return false
    if (this.#next >= this.#hint && this.#probing) return false
    if (this.#running === 0) return true
    return this.#running < this.#inFlight.limit && this.#budget.allows(this.#blockBytes)
  }

  async #block(from: number, length: number, isProbe: boolean): Promise<void> {
    if (isProbe) this.#probing = true
    const turn = this.#takeTurn()
    const started = performance.now()
    try {
      const moved = await this.#move(from, length, turn)
      if (moved < length) this.#end = Math.min(this.#end, from + moved)
      // There is more than was told: expect as much again, so that the rest is not fetched singly.
      else if (isProbe) {
        this.#wasMore = true
        this.#hint = Math.max(this.#hint, 2 * this.#next - this.#start)
      }
      this.#inFlight.learn(performance.now() - started)
      this.#finished(from, moved)
    } catch (error) {
      this.#failure ??= { error }
    }
    turn.pass()
    if (isProbe) this.#probing = false
  }

  #takeTurn(): Turn {
    const comes = this.#lastTurn
    let pass = (): void => {}
    this.#lastTurn = new Promise((resolve) => {
      pass = resolve
    })
    return { comes, pass }
  }

  /** Moves one block; fewer bytes than asked for only at the end of the source. */
  async #move(from: number, length: number, turn: Turn): Promise<number> {
    if (this.#source instanceof RemoteFile && !(this.#target instanceof RemoteFile)) {
      return this.#moveViews(this.#source, from, length)
    }
    const draft =
      this.#target instanceof RemoteFile
        ? this.#target.draft(length)
        : { body: new Uint8Array(length) }
    let filled = 0
    while (filled < length) {
      const rest = draft.body.subarray(filled, length)
      const got = await this.#readInto(rest, from + filled)
      if (got === 0) break
      filled += got
      this.#shorten(got, rest.length)
    }
    if (filled > 0) {
      if (this.#target instanceof RemoteFile) await turn.comes
      this.#check()
      this.#highest = Math.max(this.#highest, from + filled)
      const writing =
        this.#target instanceof RemoteFile && 'frame' in draft
          ? this.#target.send(draft, from, filled, this.#signal)
          : this.#target.write(draft.body.subarray(0, filled), from)
      turn.pass()
      await this.#written(writing)
    } else if (this.#target instanceof RemoteFile) this.#target.release(draft.body)
    return filled
  }

  /** From a server to something nearer: packets are written as they came, without a copy. */
  async #moveViews(source: RemoteFile, from: number, length: number): Promise<number> {
    let moved = 0
    while (moved < length) {
      const data = await source.view(length - moved, from + moved, this.#signal)
      if (data.length === 0) break
      this.#shorten(data.length, length - moved)
      this.#check()
      this.#highest = Math.max(this.#highest, from + moved + data.length)
      await this.#written(this.#target.write(data, from + moved))
      moved += data.length
      source.release(data)
    }
    return moved
  }

  async #written(writing: Promise<unknown>): Promise<void> {
    try {
      await writing
    } catch (error) {
      this.#writeError ??= error
      throw error
    }
  }

  #readInto(into: Uint8Array, position: number): Promise<number> {
    return this.#source instanceof RemoteFile
      ? this.#source.read(into, position, this.#signal)
      : this.#source.read(into, position)
  }

  /** A source that gives less than asked for is asked for less, or each block takes many turns. */
  #shorten(got: number, asked: number): void {
    if (got < asked) this.#blockBytes = Math.max(BLOCK_BYTES_MIN, Math.min(this.#blockBytes, got))
  }

  /** Nothing more is written once the transfer has failed or was called off. */
  #check(): void {
    if (this.#failure !== undefined) throw this.#failure.error
    throwIfAborted(this.#signal)
  }

  #finished(from: number, moved: number): void {
    this.#ahead.set(from, from + moved)
    for (;;) {
      const end = this.#ahead.get(this.#prefix)
      if (end === undefined) break
      this.#ahead.delete(this.#prefix)
      if (end === this.#prefix) break
      this.#prefix = end
    }
    this.#bytes += moved
    if (moved > 0) this.#onProgress?.(this.#bytes)
  }
}

/** The size both sides can do in one go. */
function blockBytes(source: SftpFile, target: SftpFile): number {
  const read = source instanceof RemoteFile ? source.sizes.readBytes : DATA_BYTES_MAX
  const write = target instanceof RemoteFile ? target.sizes.writeBytes : DATA_BYTES_MAX
  return Math.min(read, write)
}
