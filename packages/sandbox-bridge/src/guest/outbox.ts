/** The guest's way out: one queue for all sessions of a carrier. */
import type { Transport } from '@sandbox-ssh/protocol'
import { joined } from '../agent/fs.ts'

/** Queued bytes at which `send` starts to wait, which is what slows producers down. */
const SOFT_BYTES = 256 * 1024
/** Queued bytes at which the carrier is not read any more: the peer provokes and does not read. */
const HARD_BYTES = 4 * 1024 * 1024
/** Frames joined into one write. */
const JOINED_BYTES_MAX = 128 * 1024

/**
 * Frames in order of arrival. Every session has at most one data frame under way, because it waits
 * for `send`, so the sessions take turns and the queue stays short.
 */
export class Outbox {
  readonly #transport: Transport
  #frames: Uint8Array[] = []
  #bytes = 0
  #writing = false
  #closed = false
  readonly #waiting: { readonly below: number; resolve(): void }[] = []
  /** Called once if the carrier cannot be written. */
  onBroken: (error: unknown) => void = () => {}

  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** Queues a frame that must go: an answer, an end. */
  post(frame: Uint8Array): void {
    if (this.#closed) return
    this.#frames.push(frame)
    this.#bytes += frame.length
    if (!this.#writing) void this.#drain()
  }

  /** Queues a frame and waits until there is room for the next. */
  async send(frame: Uint8Array): Promise<void> {
    this.post(frame)
    await this.#below(SOFT_BYTES)
  }

  /** Resolves while answers still fit. */
  async room(): Promise<void> {
    await this.#below(HARD_BYTES)
  }

  /** Resolves when everything queued has been written. */
  async flush(): Promise<void> {
    while (this.#writing && !this.#closed) await this.#below(1)
  }

  /** Drops what is queued; whoever waits goes on. */
  close(): void {
    this.#closed = true
    this.#frames = []
    this.#bytes = 0
    this.#wake()
  }

  async #below(bytes: number): Promise<void> {
    while (this.#bytes >= bytes && !this.#closed) {
      await new Promise<void>((resolve) => this.#waiting.push({ below: bytes, resolve }))
    }
  }

  #wake(): void {
    const ready = this.#waiting.filter(({ below }) => this.#closed || this.#bytes < below)
    for (const each of ready) {
      this.#waiting.splice(this.#waiting.indexOf(each), 1)
      each.resolve()
    }
  }

  async #drain(): Promise<void> {
    this.#writing = true
    await Promise.resolve()
    while (this.#frames.length > 0) {
      const batch = this.#takeBatch()
      const bytes = batch.reduce((sum, frame) => sum + frame.length, 0)
      try {
        await this.#transport.write(joined(batch))
      } catch (error) {
        if (!this.#closed) {
          this.close()
          this.onBroken(error)
        }
        break
      }
      this.#bytes = Math.max(this.#bytes - bytes, 0)
      this.#wake()
    }
    this.#writing = false
    this.#wake()
  }

  #takeBatch(): Uint8Array[] {
    let bytes = 0
    let count = 0
    for (const frame of this.#frames) {
      if (count > 0 && bytes + frame.length > JOINED_BYTES_MAX) break
      bytes += frame.length
      count++
    }
    return this.#frames.splice(0, count)
  }
}
