/** The seam to the world below: how bytes reach the peer. */

/** A reliable, ordered, full-duplex byte stream. A channel is one too. */
export interface Transport {
  /**
   * Next non-empty chunk, or undefined at the end of the stream. The chunk is the caller's to keep.
   * One read at a time. Rejects if the stream broke or was aborted.
   */
  read(): Promise<Uint8Array | undefined>
  /** Resolves when more may be written. The chunk must not change until then. */
  write(chunk: Uint8Array): Promise<void>
  /** Flushes, then ends the writing side. Reading goes on until the peer ends too. */
  close(): Promise<void>
  /** Drops everything at once; pending reads and writes reject with `reason`. */
  abort(reason?: unknown): void
  /**
   * Where the stream has a window: lets the peer have so many bytes on their way to us, if that is
   * more than before. See `Channel.widen`.
   *
   * @example
   * import type { Transport } from '@sandbox-ssh/protocol'
   *
   * // Whatever it is: much from far away.
   * const patient = (transport: Transport) => {
   *   transport.widen?.(8 * 1024 * 1024)
   *   return transport
   * }
   * const channel = patient(await client.directTcpip('localhost', 7))
   * await channel.write(new TextEncoder().encode('there and back'))
   * console.log(new TextDecoder().decode(await channel.read())) // there and back
   * await channel.close()
   */
  widen?(windowBytes: number): void
}
