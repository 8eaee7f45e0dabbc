/** What may be sent to a receiver in the guest without ever making the agent wait for it. */
import { AgentError } from './error.ts'
import { InputGauge, type InputLevel } from './input-gauge.ts'
import type { Link } from './link.ts'

/** Hands out bytes that certainly fit. */
export interface InputRoom {
  /** Resolves with how many of `wanted` bytes may be sent now, at least one; after `close` at once. */
  take(wanted: number): Promise<number>
  /** Nobody waits any more. */
  close(): void
}

/** How a kind of receiver is looked at. */
interface Receiver {
  /** What fits if nothing is ever read. */
  readonly freeBytes: number
  /** What fits now, everything sent so far counted; undefined if nothing can tell. */
  measure(): Promise<number | undefined>
  /** What to send at a time when nothing can tell. */
  readonly blindBytes: number
  release(): void
}

/** Between two looks at a receiver that does not read. */
const LOOK_MS_MIN = 5
const LOOK_MS_MAX = 500
/** A gauge that was not asked for so long is let go. */
const GAUGE_IDLE_MS = 2000

/** Of the 64 KiB of a pipe. Its pages fill badly when it is written in small pieces. */
const PIPE_FREE_BYTES = 44 * 1024
const PIPE_MARGIN_BYTES = 16 * 1024
/** Of the some 20 KB of a terminal. */
const TTY_FREE_BYTES = 6 * 1024
/** Unread input at which a terminal takes no more into its line, so that what follows piles up. */
const TTY_UNREAD_BYTES_MAX = 1024
const TTY_STEP_BYTES = 2 * 1024
/** Of the megabytes of a connection's buffers and the agent's queue of 32 frames. */
const TCP_FREE_BYTES = 512 * 1024
const TCP_UNSENT_BYTES_MAX = 256 * 1024
const ENOENT = 2

/** The stdin of a program, on a pipe or a terminal. `pid` is asked when it is needed. */
export function programRoom(link: Link, pid: () => number, tty: boolean): InputRoom {
  const gauge = new IdlingGauge(link, pid)
  let lastRead: number | undefined
  const measure = async (): Promise<number | undefined> => {
    const level = await gauge.level()
    if (level !== undefined) {
      if (tty) return level.unreadBytes <= TTY_UNREAD_BYTES_MAX ? TTY_STEP_BYTES : 0
      return Math.max(level.sizeBytes - level.unreadBytes - PIPE_MARGIN_BYTES, 0)
    }
    if (!tty) return undefined
    // Nothing can ask the kernel, but it notes when a terminal was read, every eight seconds. That
    // is slow, and a sandbox that stands still for ever would be slower.
    try {
      const { atime = 0 } = await link.stat(`/proc/${pid()}/fd/0`)
      const wasRead = lastRead !== undefined && lastRead !== atime
      lastRead = atime
      return wasRead ? TTY_STEP_BYTES : 0
    } catch {
      return undefined
    }
  }
  return new MeasuredRoom({
    freeBytes: tty ? TTY_FREE_BYTES : PIPE_FREE_BYTES,
    blindBytes: tty ? 64 : 4 * 1024,
    measure,
    release: () => gauge.release(),
  })
}

/** A gauge that is started when it is asked, and let go when it is not. */
class IdlingGauge {
  readonly #link: Link
  readonly #pid: () => number
  #gauge: Promise<InputGauge | undefined> | undefined
  #isMissing = false
  #idle: ReturnType<typeof setTimeout> | undefined

  constructor(link: Link, pid: () => number) {
    this.#link = link
    this.#pid = pid
  }

  async level(): Promise<InputLevel | undefined> {
    clearTimeout(this.#idle)
    if (this.#isMissing) return undefined
    this.#gauge ??= InputGauge.start(this.#link, this.#pid())
    const level = await (await this.#gauge)?.level()
    this.#isMissing = level === undefined
    this.#idle = setTimeout(() => this.release(), GAUGE_IDLE_MS)
    return level
  }

  release(): void {
    clearTimeout(this.#idle)
    const running = this.#gauge
    this.#gauge = undefined
    void running?.then((each) => each?.close())
  }
}

/**
 * A connection to `port`. The kernel's table of connections tells what waits to be sent; which of
 * those to the port is ours it does not, so the fullest counts.
 */
export function tcpRoom(link: Link, port: number): InputRoom {
  // A guest without IPv6 has but one of them.
  const readTable = async (path: string): Promise<string> => {
    try {
      return await link.readText(path)
    } catch (error) {
      if (error instanceof AgentError && error.errno === ENOENT) return ''
      throw error
    }
  }
  const measure = async (): Promise<number | undefined> => {
    let tables: readonly string[]
    try {
      tables = await Promise.all(['/proc/net/tcp', '/proc/net/tcp6'].map(readTable))
    } catch {
      return undefined
    }
    if (tables.every((table) => table === '')) return undefined
    const unsent = Math.max(0, ...tables.flatMap((table) => unsentBytes(table, port)))
    return unsent <= TCP_UNSENT_BYTES_MAX ? TCP_FREE_BYTES : 0
  }
  return new MeasuredRoom({
    freeBytes: TCP_FREE_BYTES,
    blindBytes: 32 * 1024,
    measure,
    release: () => {},
  })
}

/** The send queues of the connections to `port` in a table such as `/proc/net/tcp`. */
function unsentBytes(table: string, port: number): number[] {
  const peer = port.toString(16).toUpperCase().padStart(4, '0')
  const line = /^ *\d+: \S+ [0-9A-F]+:([0-9A-F]{4}) \S+ ([0-9A-F]{8}):/gm
  return [...table.matchAll(line)].flatMap(([, found, queue = '0']) =>
    found === peer ? [Number.parseInt(queue, 16)] : [],
  )
}

class MeasuredRoom implements InputRoom {
  readonly #receiver: Receiver
  #left: number
  #closed = false
  #wake: () => void = () => {}

  constructor(receiver: Receiver) {
    this.#receiver = receiver
    this.#left = receiver.freeBytes
  }

  async take(wanted: number): Promise<number> {
    for (let delayMs = LOOK_MS_MIN; this.#left <= 0 && !this.#closed; delayMs *= 2) {
      const room = await this.#receiver.measure()
      this.#left = room ?? this.#receiver.blindBytes
      if (this.#left <= 0) await this.#pause(Math.min(delayMs, LOOK_MS_MAX))
    }
    if (this.#closed) return wanted
    const count = Math.min(wanted, this.#left)
    this.#left -= count
    return count
  }

  close(): void {
    this.#closed = true
    this.#receiver.release()
    this.#wake()
  }

  #pause(ms: number): Promise<void> {
    if (this.#closed) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}
