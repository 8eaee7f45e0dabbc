/** One client of a relay: its two queues and what it has running. */
import type { Transport } from '@sandbox-ssh/protocol'
import { joined } from '../agent/fs.ts'

/** Bytes of a client that may wait for the guest; beyond, the client is not read. */
const WAITING_BYTES_MAX = 256 * 1024
/** Frames joined into one write to the client. */
const JOINED_BYTES_MAX = 128 * 1024
/** Frames up to this are copied. */
const SMALL_BYTES = 16 * 1024
/** For a client to take its last bytes. */
const FINISH_MS = 1000

/** Frames to and from a client. */
export class RelayClient {
  readonly transport: Transport
  readonly idMin: number
  /** Exclusive. */
  readonly idMax: number
  /** Programs it has started and that have not ended. */
  readonly execs: Set<number> = new Set()
  /** Bytes it may still send in its turn. */
  credit = 0
  readonly #budgetBytes: number
  readonly #onDropped: (why: string) => void
  readonly #toGuest: Uint8Array[] = []
  #toGuestBytes = 0
  #hasTurns = false
  #wake: () => void = () => {}
  #toClient: Uint8Array[] = []
  #toClientBytes = 0
  #writing: Promise<void> | undefined
  #gone = false
  #finished: Promise<void> | undefined

  constructor(
    transport: Transport,
    ids: { readonly idMin: number; readonly idMax: number },
    budgetBytes: number,
    onDropped: (why: string) => void,
  ) {
    this.transport = transport
    this.idMin = ids.idMin
    this.idMax = ids.idMax
    this.#budgetBytes = budgetBytes
    this.#onDropped = onDropped
  }

  /** True once nothing of it goes to the guest any more. */
  get gone(): boolean {
    return this.#gone
  }

  /** Length of the next frame for the guest, 0 without one. */
  get nextBytes(): number {
    return this.#toGuest[0]?.length ?? 0
  }

  /** Queues a frame for the guest; true if the client now needs turns and has none. */
  push(frame: Uint8Array): boolean {
    this.#toGuest.push(frame)
    this.#toGuestBytes += frame.length
    const needsTurns = !this.#hasTurns
    this.#hasTurns = true
    return needsTurns
  }

  /** The next frame for the guest, which `nextBytes` has shown to exist. */
  take(): Uint8Array | undefined {
    const frame = this.#toGuest.shift()
    if (frame === undefined) return undefined
    this.credit -= frame.length
    this.#toGuestBytes -= frame.length
    if (this.#toGuestBytes < WAITING_BYTES_MAX) this.#wake()
    return frame
  }

  /** It has nothing to send: unused turns are not saved. */
  endTurns(): void {
    this.#hasTurns = false
    this.credit = 0
  }

  /** Resolves when more may be read from it. One waits at a time. */
  async room(): Promise<void> {
    while (this.#toGuestBytes >= WAITING_BYTES_MAX && !this.#gone) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** Queues a frame for the client, or drops the client if it has too many unread. */
  post(frame: Uint8Array): void {
    if (this.#gone) return
    // A small frame would keep alive all that was read together with it.
    const kept = frame.length < SMALL_BYTES ? frame.slice() : frame
    this.#toClient.push(kept)
    this.#toClientBytes += kept.length
    if (this.#toClientBytes > this.#budgetBytes) {
      this.drop(`it left ${this.#toClientBytes} bytes unread`)
      return
    }
    this.#writing ??= this.#drain()
  }

  /** Ends it at once; whoever serves it sees its transport end. */
  drop(why: string): void {
    if (this.#gone) return
    this.#onDropped(why)
    this.leave()
    this.#toClient = []
    this.transport.abort(new Error(why))
  }

  /** Nothing more goes to the guest, nothing more is taken for the client. */
  leave(): void {
    this.#gone = true
    this.#toGuest.length = 0
    this.#toGuestBytes = 0
    this.#wake()
  }

  /** Gives the client its last bytes and its end, for which it has a second. */
  finish(): Promise<void> {
    this.#finished ??= this.#finish()
    return this.#finished
  }

  async #finish(): Promise<void> {
    const timer = setTimeout(() => this.transport.abort(), FINISH_MS)
    await this.#writing
    await this.transport.close().catch(() => {})
    clearTimeout(timer)
    this.transport.abort()
  }

  async #drain(): Promise<void> {
    await Promise.resolve()
    while (this.#toClient.length > 0) {
      const batch = this.#takeBatch()
      const bytes = batch.reduce((sum, frame) => sum + frame.length, 0)
      try {
        await this.transport.write(joined(batch))
      } catch {
        // Its reading side tells that it is gone.
        this.#toClient = []
        this.transport.abort()
      }
      this.#toClientBytes -= bytes
    }
    this.#writing = undefined
  }

  #takeBatch(): Uint8Array[] {
    let bytes = 0
    let count = 0
    for (const frame of this.#toClient) {
      if (count > 0 && bytes + frame.length > JOINED_BYTES_MAX) break
      bytes += frame.length
      count++
    }
    return this.#toClient.splice(0, count)
  }
}
