// A client that sends what it is told, packet by packet, and shows the replies.
import { memoryPair, type Transport } from '@sandbox-ssh/protocol'
import { BufferPool } from '../src/buffers.ts'
import type { SftpFileSystem } from '../src/file-system.ts'
import { frame, PacketReader } from '../src/packets.ts'
import { type SftpServerOptions, serveSftp } from '../src/server.ts'
import * as wire from '../src/wire.ts'

/** A server, and a way to send it anything. */
export class RawClient {
  readonly transport: Transport
  readonly served: Promise<void>
  readonly #reader: PacketReader

  constructor(files: SftpFileSystem, options: SftpServerOptions = {}) {
    const [left, right] = memoryPair()
    this.transport = left
    this.#reader = new PacketReader(left, new BufferPool())
    this.served = serveSftp(right, files, options)
    this.served.catch(() => {})
  }

  /** Exchanges versions; resolves to the names of the extensions. */
  async greet(): Promise<readonly string[]> {
    await this.send(wire.init.encode({ version: 3, extensions: new Map() }))
    const packet = await this.next()
    return [...wire.version.decode(packet).extensions.keys()]
  }

  /** Sends packets, each with a length in front, all in one chunk. */
  async send(...packets: readonly Uint8Array[]): Promise<void> {
    const frames = packets.map(frame)
    const all = new Uint8Array(frames.reduce((sum, bytes) => sum + bytes.length, 0))
    let at = 0
    for (const bytes of frames) {
      all.set(bytes, at)
      at += bytes.length
    }
    await this.transport.write(all)
  }

  /** The next reply. Rejects at the end. */
  async next(): Promise<Uint8Array> {
    const packet = await this.#reader.next()
    if (packet === undefined) throw new Error('the server has ended the session')
    return packet
  }

  /** The next reply, as a status. */
  async status(): Promise<wire.Status> {
    return wire.status.decode(await this.next())
  }

  /** Opens a file and gives its handle. */
  async open(path: string, flags: wire.Open['flags']): Promise<Uint8Array> {
    await this.send(wire.open.encode({ id: 1, path, flags, attributes: {} }))
    return wire.handle.decode(await this.next()).handle
  }

  /** Ends the session and waits for the server. */
  async end(): Promise<void> {
    await this.transport.close()
    await this.served
  }
}
