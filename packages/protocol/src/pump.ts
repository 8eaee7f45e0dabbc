/**
 * The only loop joining a Machine to a Transport. Reading never waits for writing: two peers doing
 * that would wait for each other. What the machine holds unsent is bounded by the machine.
 */
import { deferred } from './deferred.ts'
import { SshError } from './errors.ts'
import type { Transport } from './io/transport.ts'
import type { Event } from './machine/event.ts'
import type { Machine } from './machine/machine.ts'
import { DISCONNECT } from './wire/numbers.ts'

/** Time for a goodbye to leave, once the machine is dead. */
const FLUSH_MS = 2000
/** Time for the peer to end its side after ours, so that a reset does not overtake the goodbye. */
const LINGER_MS = 1000
/** Read at most about so much while the machine waits for an answer of ours. */
const AHEAD_BYTES_MAX = 256 * 1024
/** What keeping a chunk costs beside its bytes: a peer may send them one by one. */
const CHUNK_BYTES = 256
/** Timers of every runtime take 31 bits. */
const TIMER_MS_MAX = 2 ** 31 - 1

/** What a pump drives. */
export interface PumpOptions {
  readonly machine: Machine
  readonly transport: Transport
  /** Called for each event, in order. It may give commands to the machine; it must not throw. */
  readonly onEvent: (event: Exclude<Event, { readonly type: 'closed' }>) => void
  /** Called once, as soon as the machine is dead. */
  readonly onClosed: (error: SshError | undefined) => void
}

/** Milliseconds that never go back; their origin means nothing. */
export function nowMs(): number {
  return performance.now()
}

/** What `setTimeout` gives, whichever the runtime. */
export type Timer = ReturnType<typeof setTimeout>

/** Drives one machine over one transport until both are done. */
export class Pump {
  readonly #machine: Machine
  readonly #transport: Transport
  readonly #onEvent: PumpOptions['onEvent']
  readonly #onClosed: PumpOptions['onClosed']
  readonly #finished = deferred<void>()
  /** Why we ended the connection ourselves; wins over what the machine says. */
  #reason: SshError | undefined
  #closed = false
  #finishing = false
  #turning = false
  #feeding = false
  #writing = false
  #wakeQueued = false
  #readEnded = false
  #onReadEnded: () => void = () => {}
  /** Read, but not wanted by the machine yet. */
  readonly #ahead: Uint8Array[] = []
  #aheadBytes = 0
  #onFed: () => void = () => {}
  #timer: Timer | undefined
  #timerAtMs = Number.POSITIVE_INFINITY
  #lastInputMs = nowMs()
  /** Time that the machine is not told of, because our own side was thinking. */
  #pausedMs = 0
  #pausedSinceMs: number | undefined
  #background = false

  constructor(options: PumpOptions) {
    this.#machine = options.machine
    this.#transport = options.transport
    this.#onEvent = options.onEvent
    this.#onClosed = options.onClosed
  }

  /** Resolves once the transport was let go; never rejects. */
  get finished(): Promise<void> {
    return this.#finished.promise
  }

  /** When bytes last arrived, on the clock of `nowMs`. */
  get lastInputMs(): number {
    return this.#lastInputMs
  }

  /**
   * Stops the machine's clock while a decision of our own side is pending: a person may be
   * thinking, and no limit is meant for that.
   */
  pauseClock(): void {
    this.#pausedSinceMs ??= nowMs()
    clearTimeout(this.#timer)
    this.#timerAtMs = Number.POSITIVE_INFINITY
  }

  resumeClock(): void {
    if (this.#pausedSinceMs === undefined) return
    this.#pausedMs += nowMs() - this.#pausedSinceMs
    this.#pausedSinceMs = undefined
  }

  /** From now on deadlines alone do not keep the process alive. */
  runInBackground(): void {
    this.#background = true
    clearTimeout(this.#timer)
    this.#timerAtMs = Number.POSITIVE_INFINITY
  }

  start(): void {
    void this.#readLoop()
    this.wake()
  }

  /**
   * To be called after commands to the machine. What they caused is handled in a microtask, so
   * that the output of several commands leaves in one write.
   */
  wake(): void {
    if (this.#wakeQueued) return
    this.#wakeQueued = true
    queueMicrotask(() => {
      this.#wakeQueued = false
      this.#turn()
    })
  }

  /** Says goodbye and ends; `onClosed` gets `error`. Ignored once the machine is dead. */
  disconnect(reason: number, description: string, error: SshError | undefined): void {
    if (this.#closed) return
    this.#reason ??= error
    this.#machine.disconnect(reason, description)
    this.#turn()
  }

  /** The same at once and without a goodbye, for when nothing can be hoped of the peer. */
  abort(error: SshError): void {
    if (!this.#closed) {
      this.#reason ??= error
      this.#machine.receiveEnd()
      this.#turn()
    }
    this.#transport.abort(error)
  }

  /**
   * Reads a little ahead of a machine that waits for an answer of ours, so that a peer that goes
   * away meanwhile is noticed.
   */
  async #readLoop(): Promise<void> {
    try {
      for (let chunk = await this.#transport.read(); chunk; chunk = await this.#transport.read()) {
        // After the end what still comes is read and dropped, until the peer sees the end too.
        if (this.#closed) continue
        this.#lastInputMs = nowMs()
        this.#ahead.push(chunk)
        this.#aheadBytes += chunk.length + CHUNK_BYTES
        this.#feed()
        while (this.#aheadBytes > AHEAD_BYTES_MAX && !this.#closed) {
          await new Promise<void>((resolve) => {
            this.#onFed = resolve
          })
        }
      }
    } catch (error) {
      this.#transportFailed(error)
    }
    this.#readEnded = true
    this.#onReadEnded()
    if (!this.#closed) {
      this.#machine.receiveEnd()
      this.#turn()
    }
  }

  /** Gives the machine what it wants of what was read. */
  #feed(): void {
    if (this.#feeding) return
    this.#feeding = true
    while (this.#machine.wantsInput) {
      const chunk = this.#ahead.shift()
      if (chunk === undefined) break
      this.#aheadBytes -= chunk.length + CHUNK_BYTES
      this.#machine.advance(this.#clockMs())
      this.#machine.receive(chunk)
      this.#turn()
    }
    this.#feeding = false
  }

  #clockMs(): number {
    return (this.#pausedSinceMs ?? nowMs()) - this.#pausedMs
  }

  /** Delivers events, then sees to output and the deadline. */
  #turn(): void {
    // Commands given by an event handler come back here; the loop below picks up their events.
    if (this.#turning) return
    this.#turning = true
    try {
      for (let event = this.#machine.nextEvent(); event; event = this.#machine.nextEvent()) {
        if (event.type === 'closed') this.#close(event.error)
        else this.#onEvent(event)
      }
    } catch (cause) {
      // A failure of ours, or a broken assertion in the machine: it ends this connection only.
      this.#reason ??= asInternal(cause)
      this.#machine.disconnect(DISCONNECT.BY_APPLICATION, 'internal error')
      this.#close(this.#reason)
    } finally {
      this.#turning = false
    }
    if (this.#ahead.length > 0 && this.#machine.wantsInput) this.#feed()
    if (this.#aheadBytes <= AHEAD_BYTES_MAX) this.#onFed()
    if (!this.#writing) void this.#writeLoop()
    this.#armTimer()
  }

  async #writeLoop(): Promise<void> {
    this.#writing = true
    try {
      for (;;) {
        const output = this.#machine.takeOutput()
        if (output === undefined) break
        // Room was made: writers may go on while this chunk is under way.
        this.#turn()
        await this.#transport.write(output)
        // By the contract of `write` nobody looks at it any more.
        this.#machine.recycle(output)
      }
    } catch (error) {
      this.#transportFailed(error)
      if (!this.#closed) {
        this.#machine.receiveEnd()
        this.#turn()
      }
    } finally {
      this.#writing = false
    }
    if (this.#closed) void this.#finish()
  }

  #transportFailed(error: unknown): void {
    if (this.#closed || this.#reason !== undefined) return
    const what = error instanceof Error ? error.message : 'the transport failed'
    this.#reason = new SshError('SSH_CONNECTION_LOST', `connection lost: ${what}`, { cause: error })
  }

  #close(error: SshError | undefined): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#timer)
    this.#ahead.length = 0
    this.#aheadBytes = 0
    this.#onFed()
    // A peer that takes nothing more must not keep us from going.
    const flush = setTimeout(() => this.#transport.abort(), FLUSH_MS)
    void this.#finished.promise.then(() => clearTimeout(flush))
    this.#onClosed(this.#reason ?? error)
  }

  /** The last output has left: ends our side, gives the peer a moment to end its own. */
  async #finish(): Promise<void> {
    if (this.#finishing) return
    this.#finishing = true
    try {
      await this.#transport.close()
      if (!this.#readEnded) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, LINGER_MS)
          this.#onReadEnded = () => {
            clearTimeout(timer)
            resolve()
          }
        })
      }
    } catch {
      // The transport broke while we were leaving it.
    }
    this.#transport.abort()
    this.#finished.resolve()
  }

  /** Re-arms only for an earlier deadline: a later one is noticed when the timer fires. */
  #armTimer(): void {
    const { deadlineMs } = this.#machine
    if (this.#closed || this.#pausedSinceMs !== undefined || deadlineMs >= this.#timerAtMs) return
    clearTimeout(this.#timer)
    this.#timerAtMs = deadlineMs
    const delayMs = Math.min(Math.max(1, deadlineMs - this.#clockMs()), TIMER_MS_MAX)
    this.#timer = setTimeout(() => {
      this.#timerAtMs = Number.POSITIVE_INFINITY
      this.#machine.advance(this.#clockMs())
      this.#turn()
    }, delayMs)
    if (this.#background) unref(this.#timer)
  }
}

/** Lets the process end though the timer is armed, where the runtime can tell. */
export function unref(timer: Timer): void {
  const found: unknown = timer
  if (typeof found === 'object' && found !== null) (found as { unref?(): void }).unref?.()
}

function asInternal(cause: unknown): SshError {
  if (cause instanceof SshError) return cause
  const what = cause instanceof Error ? cause.message : 'unknown'
  return new SshError('SSH_INTERNAL', `internal error: ${what}`, { cause })
}
