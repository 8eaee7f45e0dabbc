/**
 * How fast input may go to the guest.
 *
 * microsandbox's agent is one loop, and writing a child's stdin blocks it: a pipe takes 64 KiB, a
 * terminal about 20, a connection some megabytes, and while the receiver does not read nothing
 * else in the sandbox happens; on a terminal it may stay so for ever. Hence two rules towards such
 * an agent. One chunk at a time, the next after the pong to a ping sent behind it, larger while
 * pongs are prompt. And never more than certainly fits, whether the receiver reads or not: what it
 * has read is found out from the guest's kernel once an allowance is used up.
 *
 * A guest with `input-ack` tells of each session by itself and never blocks; there a window keeps
 * the pipe full.
 */
import type { InputRoom } from './input-room.ts'
import type { Link } from './link.ts'
import type { DataType } from './messages.ts'

/** Smallest and largest chunk towards an agent that may block. */
const CHUNK_BYTES_MIN = 4 * 1024
const CHUNK_BYTES_MAX = 32 * 1024
/** A pong within this time means that nobody was kept waiting. */
const PROMPT_MS = 40
/** Unacknowledged input of one session towards a guest that never blocks. */
const WINDOW_BYTES = 256 * 1024

/** Sends the input of one session at the pace the guest takes it. */
export class InputPacer {
  readonly #link: Link
  readonly #id: number
  readonly #type: DataType
  readonly #room: InputRoom
  #chunkBytes = CHUNK_BYTES_MIN
  #unacknowledged = 0
  #closed = false
  #wake: (() => void) | undefined
  /** Writes take turns, so that two of them never interleave. */
  #last: Promise<void> = Promise.resolve()

  /** `room` is what a blocking agent may be sent; it is not asked for any other. */
  constructor(link: Link, id: number, type: DataType, room: InputRoom) {
    this.#link = link
    this.#id = id
    this.#type = type
    this.#room = room
  }

  /**
   * Resolves when the guest has taken the chunk, or enough of it that more may follow. After
   * `close` it resolves at once and the bytes go nowhere, as they would in the guest.
   */
  write(chunk: Uint8Array): Promise<void> {
    return this.#inTurn(async () => {
      for (let at = 0; at < chunk.length && !this.#closed; ) {
        at += await this.#sendPiece(chunk.subarray(at))
      }
    })
  }

  /** Runs `action` behind all writes, unless the session has ended. */
  finish(action: () => Promise<void>): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.#closed) await action()
    })
  }

  /** The session ended; whoever waits goes on. */
  close(): void {
    this.#closed = true
    this.#room.close()
    this.#wake?.()
  }

  #inTurn(action: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(action)
    this.#last = turn.catch(() => {})
    return turn
  }

  /** Sends what may go of `bytes`; returns how much that was. */
  async #sendPiece(bytes: Uint8Array): Promise<number> {
    if (this.#link.has('input-ack')) {
      const piece = bytes.subarray(0, CHUNK_BYTES_MAX)
      await this.#link.sendData(this.#id, this.#type, piece)
      this.#unacknowledged += piece.length
      this.#acknowledge(piece.length)
      while (this.#unacknowledged >= WINDOW_BYTES && !this.#closed) await this.#woken()
      return piece.length
    }
    const count = await this.#room.take(Math.min(bytes.length, this.#chunkBytes))
    if (this.#closed) return 0
    await this.#link.sendData(this.#id, this.#type, bytes.subarray(0, count))
    if (this.#link.generation >= 6 && !this.#closed) await this.#untilWritten()
    return count
  }

  async #untilWritten(): Promise<void> {
    const sentMs = Date.now()
    let answered = false
    this.#link.ping().then(
      () => {
        answered = true
        this.#wake?.()
      },
      () => this.#wake?.(),
    )
    await this.#woken()
    const isPrompt = answered && Date.now() - sentMs <= PROMPT_MS
    this.#chunkBytes = isPrompt ? Math.min(this.#chunkBytes * 2, CHUNK_BYTES_MAX) : CHUNK_BYTES_MIN
  }

  #acknowledge(count: number): void {
    const acknowledged = () => {
      this.#unacknowledged -= count
      this.#wake?.()
    }
    // A ping that fails means a client that is gone, which `close` tells as well.
    this.#link.ping({ after: this.#id }).then(acknowledged, acknowledged)
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined
        resolve()
      }
    })
  }
}
