/**
 * How fast input may go to the guest.
 *
 * microsandbox's agent is one loop, and writing a child's stdin blocks it: a pipe takes 64 KiB, a
 * terminal about 20, and while the child does not read nothing else in the sandbox happens. There
 * is no acknowledgement, but frames are handled in order, so the pong to a ping sent behind a
 * chunk says that the chunk was written. Hence: one small chunk at a time, the next after its pong,
 * larger while pongs are prompt. A guest with `input-ack` tells of each session by itself and
 * never blocks; there a window keeps the pipe full.
 */

import type { Link } from './link.ts'
import type { DataType } from './messages.ts'

/** Smallest and largest chunk towards an agent that may block. */
const CHUNK_BYTES_MIN = 4 * 1024
const CHUNK_BYTES_MAX = 32 * 1024
/** Chunk for a terminal: a quarter of what its line discipline holds. */
const TTY_CHUNK_BYTES = 1024
/** A pong within this time means that nobody was kept waiting. */
const PROMPT_MS = 40
/** Unacknowledged input of one session towards a guest that never blocks. */
const WINDOW_BYTES = 256 * 1024

/** Sends the input of one session at the pace the guest takes it. */
export class InputPacer {
  readonly #link: Link
  readonly #id: number
  readonly #type: DataType
  readonly #chunkMax: number
  #chunkBytes: number
  #unacknowledged = 0
  #closed = false
  #wake: (() => void) | undefined
  /** Writes take turns, so that two of them never interleave. */
  #last: Promise<void> = Promise.resolve()

  constructor(link: Link, id: number, type: DataType, tty: boolean) {
    this.#link = link
    this.#id = id
    this.#type = type
    this.#chunkMax = tty ? TTY_CHUNK_BYTES : CHUNK_BYTES_MAX
    this.#chunkBytes = tty ? TTY_CHUNK_BYTES : CHUNK_BYTES_MIN
  }

  /**
   * Resolves when the guest has taken the chunk, or enough of it that more may follow. After
   * `close` it resolves at once and the bytes go nowhere, as they would in the guest.
   */
  write(chunk: Uint8Array): Promise<void> {
    return this.#inTurn(async () => {
      for (let at = 0; at < chunk.length && !this.#closed; ) {
        const piece = chunk.subarray(at, at + this.#pieceBytes())
        at += piece.length
        await this.#sendPiece(piece)
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
    this.#wake?.()
  }

  #inTurn(action: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(action)
    this.#last = turn.catch(() => {})
    return turn
  }

  #pieceBytes(): number {
    return this.#link.has('input-ack') ? CHUNK_BYTES_MAX : this.#chunkBytes
  }

  async #sendPiece(piece: Uint8Array): Promise<void> {
    await this.#link.sendData(this.#id, this.#type, piece)
    if (this.#closed) return
    if (this.#link.has('input-ack')) {
      this.#unacknowledged += piece.length
      this.#acknowledge(piece.length)
      while (this.#unacknowledged >= WINDOW_BYTES && !this.#closed) await this.#woken()
    } else if (this.#link.generation >= 6) {
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
      const prompt = answered && Date.now() - sentMs <= PROMPT_MS
      this.#chunkBytes = prompt
        ? Math.min(this.#chunkBytes * 2, this.#chunkMax)
        : Math.min(CHUNK_BYTES_MIN, this.#chunkMax)
    }
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
