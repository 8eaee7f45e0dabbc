/**
 * The binary packet protocol, RFC 4253 §6: framing, padding, sequence numbers and queues of bytes.
 * Payloads are built in the output buffer and opened in the buffer that brought them.
 */
import type { PacketOpener, PacketSealer } from '../algorithms/spec.ts'
import { assert } from '../assert.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { SshError } from '../errors.ts'
import { CHANNEL_PACKET_BYTES, PACKET_BYTES_MAX } from '../limits.ts'
import { getUint32, putUint32 } from '../wire/fast.ts'

/** Before the first NEWKEYS packets are in clear, in blocks of 8 (RFC 4253 §6). */
export const clearPackets: PacketSealer & PacketOpener = {
  blockBytes: 8,
  lengthCounts: true,
  tagBytes: 0,
  headBytes: 4,
  seal(): void {},
  packetLength: (head: Uint8Array): number => getUint32(head, 0),
  open: (packet: Uint8Array): Uint8Array => packet.subarray(4),
}

/** Output is gathered in chunks of this size, one write each: two full data packets and change. */
const CHUNK_BYTES = 66 * 1024
const PADDING_POOL_BYTES = 4096
/** Enough for all that may be unsent, see `OUTPUT_BYTES_SOFT`. */
const FREE_CHUNKS_MAX = 8

/** Seals payloads and queues the packets until they are taken. */
export class PacketWriter {
  readonly #crypto: CryptoProvider
  #sealer: PacketSealer = clearPackets
  #sequenceNumber = 0
  /** Full chunks, oldest first. */
  #full: Uint8Array[] = []
  /** Buffers of full chunks that were taken and may come back, and those that did. */
  readonly #lent: Set<ArrayBufferLike> = new Set()
  readonly #free: Uint8Array[] = []
  #chunk: Uint8Array = new Uint8Array(4096)
  /** Within `#chunk`: bytes before `#start` were taken, those up to `#end` are sealed. */
  #start = 0
  #end = 0
  #queuedBytes = 0
  #padding: Uint8Array = new Uint8Array(0)
  #paddingAt = 0
  /** Packets and bytes under the current keys. */
  packetsSinceKeys = 0
  bytesSinceKeys = 0
  /** Applied to every payload, once there is one. */
  #compress: ((payload: Uint8Array) => Uint8Array) | undefined
  /** Told the payload of every packet before it is sealed. */
  onPacket: ((payload: Uint8Array) => void) | undefined

  constructor(crypto: CryptoProvider) {
    this.#crypto = crypto
  }

  /** Bytes sealed and not yet taken. */
  get queuedBytes(): number {
    return this.#queuedBytes
  }

  get sequenceNumber(): number {
    return this.#sequenceNumber
  }

  /** Queues raw bytes that are no packet: the identification line. */
  raw(bytes: Uint8Array): void {
    this.#room(bytes.length)
    this.#chunk.set(bytes, this.#end)
    this.#end += bytes.length
    this.#queuedBytes += bytes.length
  }

  /** Queues a packet with a copy of `payload`. */
  packet(payload: Uint8Array): void {
    this.build(payload.length, (target, at) => target.set(payload, at))
  }

  /** Queues a packet whose payload of `length` bytes `fill` writes at the offset it is given. */
  build(length: number, fill: (target: Uint8Array, at: number) => void): void {
    assert(length > 0 && length <= PACKET_BYTES_MAX - 512, `a payload of ${length} bytes`)
    if (this.#compress === undefined) return this.#seal(length, fill)
    const payload = new Uint8Array(length)
    fill(payload, 0)
    this.onPacket?.(payload)
    const compressed = this.#compress(payload)
    this.#seal(compressed.length, (target, at) => target.set(compressed, at))
  }

  #seal(length: number, fill: (target: Uint8Array, at: number) => void): void {
    const { blockBytes, lengthCounts, tagBytes } = this.#sealer
    const counted = (lengthCounts ? 5 : 1) + length
    let padding = blockBytes - (counted % blockBytes)
    if (padding < 4) padding += blockBytes
    const size = 5 + length + padding + tagBytes
    this.#room(size)
    const chunk = this.#chunk
    const at = this.#end
    putUint32(chunk, at, 1 + length + padding)
    chunk[at + 4] = padding
    fill(chunk, at + 5)
    if (this.#compress === undefined) this.onPacket?.(chunk.subarray(at + 5, at + 5 + length))
    this.#pad(chunk, at + 5 + length, padding)
    this.#sealer.seal(chunk.subarray(at, at + size), this.#sequenceNumber)
    this.#sequenceNumber = (this.#sequenceNumber + 1) >>> 0
    this.#end = at + size
    this.#queuedBytes += size
    this.packetsSinceKeys++
    this.bytesSinceKeys += size
  }

  /** Puts new keys into force for all packets that follow. */
  useKeys(sealer: PacketSealer, resetSequenceNumber: boolean): void {
    this.#sealer = sealer
    if (resetSequenceNumber) this.#sequenceNumber = 0
    this.packetsSinceKeys = 0
    this.bytesSinceKeys = 0
  }

  /** Compresses all payloads that follow; a stream lives as long as the keys (RFC 4253 §6.2). */
  useCompressor(compress: ((payload: Uint8Array) => Uint8Array) | undefined): void {
    this.#compress = compress
  }

  /** The next bytes to send, the caller's to keep until sent; undefined if there are none. */
  take(): Uint8Array | undefined {
    const full = this.#full.shift()
    if (full !== undefined) {
      this.#queuedBytes -= full.length
      if (full.buffer.byteLength === CHUNK_BYTES) this.#lent.add(full.buffer)
      return full
    }
    if (this.#end === this.#start) return undefined
    const view = this.#chunk.subarray(this.#start, this.#end)
    this.#start = this.#end
    this.#queuedBytes -= view.length
    return view
  }

  /**
   * Takes back what `take` gave, once it and all before it has been sent and nobody looks at it any
   * more: making large buffers costs more than filling them. Not necessary.
   */
  recycle(chunk: Uint8Array): void {
    if (this.#lent.delete(chunk.buffer) && this.#free.length < FREE_CHUNKS_MAX) {
      this.#free.push(new Uint8Array(chunk.buffer))
    }
  }

  /** Never reuses a chunk by itself: what was taken may still be on its way out. */
  #room(size: number): void {
    if (this.#chunk.length - this.#end >= size) return
    if (this.#end > this.#start) this.#full.push(this.#chunk.subarray(this.#start, this.#end))
    const recycled = size <= CHUNK_BYTES ? this.#free.pop() : undefined
    this.#chunk = recycled ?? new Uint8Array(Math.max(CHUNK_BYTES, size))
    this.#start = 0
    this.#end = 0
  }

  #pad(target: Uint8Array, at: number, length: number): void {
    if (this.#paddingAt + length > this.#padding.length) {
      this.#padding = this.#crypto.random(PADDING_POOL_BYTES)
      this.#paddingAt = 0
    }
    target.set(this.#padding.subarray(this.#paddingAt, this.#paddingAt + length), at)
    this.#paddingAt += length
  }
}

/** A packet being gathered from several chunks. */
interface Partial {
  readonly buffer: Uint8Array
  filled: number
}

/** A buffer larger than this is not kept for the next packet: it holds any channel data. */
const SCRATCH_BYTES_MAX = CHANNEL_PACKET_BYTES + 16 * 1024
/** A large buffer is made in multiples of this, so that it does for packets of nearly its size. */
const SCRATCH_STEP_BYTES = 16 * 1024

/** Cuts packets out of what arrived and opens them. */
export class PacketReader {
  #opener: PacketOpener = clearPackets
  #sequenceNumber = 0
  /** Chunks not looked at yet, and how far the first has been read. */
  #chunks: Uint8Array[] = []
  #at = 0
  /** The head of a packet whose first bytes came in different chunks. */
  #head: number[] = []
  #partial: Partial | undefined
  /** Where the last straddling packet was gathered, if nothing handed out refers to it. */
  #scratch: Uint8Array = new Uint8Array(0)
  #decompress: ((payload: Uint8Array) => Uint8Array) | undefined
  packetsSinceKeys = 0
  bytesSinceKeys = 0

  /** Number of the next packet. */
  get sequenceNumber(): number {
    return this.#sequenceNumber
  }

  /** Takes ownership of `chunk`: packets are decrypted in it and handed out as views of it. */
  push(chunk: Uint8Array): void {
    if (chunk.length > 0) this.#chunks.push(chunk)
  }

  /** Puts new keys into force for all packets that follow. */
  useKeys(opener: PacketOpener, resetSequenceNumber: boolean): void {
    this.#opener = opener
    if (resetSequenceNumber) this.#sequenceNumber = 0
    this.packetsSinceKeys = 0
    this.bytesSinceKeys = 0
  }

  /** Decompresses all payloads that follow. */
  useDecompressor(decompress: ((payload: Uint8Array) => Uint8Array) | undefined): void {
    this.#decompress = decompress
  }

  /**
   * The payload of the next packet, a view that is the caller's to keep, or undefined if it has not
   * arrived whole. Throws SshError `SSH_PROTOCOL` or `SSH_MAC_INVALID`, after which it is dead.
   */
  next(): Uint8Array | undefined {
    for (;;) {
      const chunk = this.#chunks[0]
      if (chunk === undefined) return undefined
      const gathered = this.#partial !== undefined
      const packet = gathered ? this.#continue(chunk) : this.#begin(chunk)
      if (this.#at === chunk.length) {
        this.#chunks.shift()
        this.#at = 0
      }
      if (packet !== undefined) return this.#open(packet, gathered)
    }
  }

  /** Starts a packet; returns it if the chunk holds all of it. */
  #begin(chunk: Uint8Array): Uint8Array | undefined {
    const { headBytes } = this.#opener
    if (this.#head.length === 0 && chunk.length - this.#at >= headBytes) {
      const size = this.#size(chunk.subarray(this.#at, this.#at + headBytes))
      const end = this.#at + size
      if (end <= chunk.length) {
        const packet = chunk.subarray(this.#at, end)
        this.#at = end
        return packet
      }
      this.#partial = { buffer: this.#gather(size), filled: 0 }
      return this.#continue(chunk)
    }
    while (this.#at < chunk.length && this.#head.length < headBytes) {
      this.#head.push(chunk[this.#at++] as number)
    }
    if (this.#head.length < headBytes) return undefined
    const head = Uint8Array.from(this.#head)
    this.#head = []
    const buffer = this.#gather(this.#size(head))
    buffer.set(head)
    this.#partial = { buffer, filled: headBytes }
    return this.#continue(chunk)
  }

  /** Room for a packet that comes in pieces. */
  #gather(size: number): Uint8Array {
    if (this.#scratch.length < size) {
      const step = size < SCRATCH_STEP_BYTES ? 1 : SCRATCH_STEP_BYTES
      return new Uint8Array(Math.ceil(size / step) * step).subarray(0, size)
    }
    const buffer = this.#scratch.subarray(0, size)
    this.#scratch = new Uint8Array(0)
    return buffer
  }

  #continue(chunk: Uint8Array): Uint8Array | undefined {
    const partial = this.#partial
    assert(partial !== undefined, 'no packet was begun')
    const more = Math.min(partial.buffer.length - partial.filled, chunk.length - this.#at)
    partial.buffer.set(chunk.subarray(this.#at, this.#at + more), partial.filled)
    partial.filled += more
    this.#at += more
    if (partial.filled < partial.buffer.length) return undefined
    this.#partial = undefined
    return partial.buffer
  }

  /** Size of the whole packet on the wire. The length is not authenticated yet: bound it. */
  #size(head: Uint8Array): number {
    const { blockBytes, lengthCounts, tagBytes } = this.#opener
    const length = this.#opener.packetLength(head, this.#sequenceNumber)
    const counted = (lengthCounts ? 4 : 0) + length
    if (length < 5 || length > PACKET_BYTES_MAX || counted % blockBytes !== 0) {
      // Under encryption a wrong key or a changed byte shows here first; saying more helps no one.
      throw new SshError(
        this.#opener === clearPackets ? 'SSH_PROTOCOL' : 'SSH_MAC_INVALID',
        `a packet of ${length} bytes, which no packet can have`,
      )
    }
    return 4 + length + tagBytes
  }

  /** `gathered`: the packet is in a buffer of ours and not in a chunk. */
  #open(packet: Uint8Array, gathered: boolean): Uint8Array {
    const body = this.#opener.open(packet, this.#sequenceNumber)
    if (body === undefined) {
      throw new SshError('SSH_MAC_INVALID', 'a packet failed its integrity check')
    }
    this.#sequenceNumber = (this.#sequenceNumber + 1) >>> 0
    this.packetsSinceKeys++
    this.bytesSinceKeys += packet.length
    if (gathered && body.buffer !== packet.buffer && packet.length <= SCRATCH_BYTES_MAX) {
      this.#scratch = new Uint8Array(packet.buffer)
    }
    const padding = body[0] as number
    if (padding < 4 || padding > body.length - 2) {
      throw new SshError('SSH_PROTOCOL', `a packet with ${padding} bytes of padding`)
    }
    const payload = body.subarray(1, body.length - padding)
    if (this.#decompress === undefined) return payload
    const decompressed = this.#decompress(payload)
    if (decompressed.length === 0) throw new SshError('SSH_PROTOCOL', 'an empty message')
    return decompressed
  }
}
