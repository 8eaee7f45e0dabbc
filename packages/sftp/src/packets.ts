/** Packets on a byte stream: a length, then that many bytes. Draft 02 §3. */
import { SshError, type Transport } from '@sandbox-ssh/protocol'
import type { BufferPool } from './buffers.ts'
import { getUint32, putUint32 } from './fast.ts'
import { PACKET_BYTES_MAX, SESSION_WINDOW_BYTES } from './limits.ts'

/** Takes packets out of a transport, one at a time. */
export class PacketReader {
  readonly #transport: Transport
  readonly #buffers: BufferPool
  #chunk: Uint8Array = new Uint8Array(0)
  #at = 0

  /** Packets that come in pieces are gathered in `buffers`, to which whoever is done gives them. */
  constructor(transport: Transport, buffers: BufferPool) {
    this.#transport = transport
    transport.widen?.(SESSION_WINDOW_BYTES)
    this.#buffers = buffers
  }

  /**
   * The next packet without its length field, or undefined at the end of the stream. It is a view of
   * the chunk that brought it where it came in one piece. Rejects with SshError `SSH_PROTOCOL` for
   * an impossible length and `SSH_CONNECTION_LOST` if the stream ends inside a packet.
   */
  async next(): Promise<Uint8Array | undefined> {
    if (this.#at === this.#chunk.length && !(await this.#more())) return undefined
    const length = this.#available() >= 4 ? this.#takeLength() : getUint32(await this.#take(4), 0)
    if (length === 0 || length > PACKET_BYTES_MAX) {
      throw new SshError(
        'SSH_PROTOCOL',
        `a packet of ${length} bytes where 1 to ${PACKET_BYTES_MAX} are allowed`,
      )
    }
    if (this.#available() >= length) {
      this.#at += length
      return this.#chunk.subarray(this.#at - length, this.#at)
    }
    return this.#take(length)
  }

  #available(): number {
    return this.#chunk.length - this.#at
  }

  #takeLength(): number {
    this.#at += 4
    return getUint32(this.#chunk, this.#at - 4)
  }

  /** Bytes that lie in several chunks, copied into an array of their own as they arrive. */
  async #take(length: number): Promise<Uint8Array> {
    const bytes = this.#buffers.take(length)
    let filled = 0
    while (filled < length) {
      if (this.#at === this.#chunk.length && !(await this.#more())) {
        throw new SshError('SSH_CONNECTION_LOST', 'the stream ended inside an SFTP packet')
      }
      const part = this.#chunk.subarray(this.#at, this.#at + length - filled)
      bytes.set(part, filled)
      filled += part.length
      this.#at += part.length
    }
    return bytes
  }

  async #more(): Promise<boolean> {
    const chunk = await this.#transport.read()
    this.#chunk = chunk ?? new Uint8Array(0)
    this.#at = 0
    return this.#chunk.length > 0
  }
}

/** Frames up to this size are joined with their neighbours: copying is cheaper than a packet. */
const JOIN_BYTES_MAX = 4096
/** Size of a joined chunk. */
const JOINED_BYTES = 32 * 1024

interface Queued {
  readonly frame: Uint8Array
  readonly sent: (() => void) | undefined
}

/** Sends frames in the order given, without making the sender wait. */
export class PacketWriter {
  readonly #transport: Transport
  readonly #queue: Queued[] = []
  #running: Promise<void> | undefined
  #failure: { readonly error: unknown } | undefined
  #failed: ((error: unknown) => void) | undefined

  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** Calls `failed` when the transport fails, at once if it has; the last one given counts. */
  onFailure(failed: (error: unknown) => void): void {
    this.#failed = failed
    if (this.#failure !== undefined) failed(this.#failure.error)
  }

  /**
   * Queues a frame (length field included), which must not change from now on. `sent` is called when
   * the transport took it, or never if it failed. Who queues bounds the queue.
   */
  send(frame: Uint8Array, sent?: () => void): void {
    if (this.#failure !== undefined) return
    this.#queue.push({ frame, sent })
    // A microtask's delay lets replies that finish together travel together.
    this.#running ??= Promise.resolve().then(() => this.#run())
  }

  /** Resolves when all that was queued is sent. Rejects if the transport failed. */
  async flush(): Promise<void> {
    await this.#running
    if (this.#failure !== undefined) throw this.#failure.error
  }

  async #run(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        const batch = this.#nextBatch()
        await this.#transport.write(batch.length === 1 ? (batch[0] as Queued).frame : join(batch))
        for (const { sent } of batch) sent?.()
      }
    } catch (error) {
      this.#failure = { error }
      this.#queue.length = 0
      // Whoever reads from the same transport hears of it there.
      this.#transport.abort(error)
      this.#failed?.(error)
    } finally {
      this.#running = undefined
    }
  }

  #nextBatch(): Queued[] {
    let count = 0
    let bytes = 0
    for (const { frame } of this.#queue) {
      if (count > 0 && (frame.length > JOIN_BYTES_MAX || bytes + frame.length > JOINED_BYTES)) break
      count++
      bytes += frame.length
      if (frame.length > JOIN_BYTES_MAX) break
    }
    return this.#queue.splice(0, count)
  }
}

/** Puts the length field in front of a packet. */
export function frame(packet: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + packet.length)
  putUint32(bytes, 0, packet.length)
  bytes.set(packet, 4)
  return bytes
}

function join(batch: readonly Queued[]): Uint8Array {
  const bytes = new Uint8Array(batch.reduce((sum, { frame }) => sum + frame.length, 0))
  let at = 0
  for (const { frame } of batch) {
    bytes.set(frame, at)
    at += frame.length
  }
  return bytes
}
