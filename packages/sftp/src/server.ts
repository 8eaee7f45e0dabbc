/** The server: one session over one transport. */
import { SshError, type SshErrorCode, type Transport } from '@sandbox-ssh/protocol'
import { BufferPool } from './buffers.ts'
import { confinedFileSystem } from './confined-file-system.ts'
import { type Extension, serverExtensions } from './extensions.ts'
import { getUint32 } from './fast.ts'
import type { SftpFileSystem } from './file-system.ts'
import { Handles } from './handles.ts'
import { HANDLES_MAX, IN_FLIGHT_BYTES_MAX, REQUESTS_MAX } from './limits.ts'
import { type Context, operations, readOnlyError, type Task } from './operations.ts'
import { OwnerNameCache } from './owner-names.ts'
import { frame, PacketReader, PacketWriter } from './packets.ts'
import { statusReply } from './replies.ts'
import { Sequencer } from './sequencer.ts'
import { asSftpError, SftpError, STATUS } from './status.ts'
import { symlinkOrder } from './symlink-order.ts'
import * as wire from './wire.ts'

/** How a server behaves. Nothing is required. */
export interface SftpServerOptions {
  /** Refuse everything that would change a file. */
  readonly readOnly?: boolean
  /** Show only the tree below this directory, as its root: links cannot lead out of it. */
  readonly root?: string
  /**
   * The client's identification line (`SSH-2.0-…`), for the order of SYMLINK's arguments, in which
   * clients differ. Without it, OpenSSH's order is understood.
   */
  readonly clientIdentification?: string
  /** The only requests permitted, by the names of sftp-server(8), such as `open` and `lsetstat`. */
  readonly allow?: readonly string[]
  /** Requests refused; takes precedence over `allow`. */
  readonly deny?: readonly string[]
  /** Handles open at once, 1024 unless said otherwise. */
  readonly handlesMax?: number
  /** Told what fails inside the file system without being an answer to the client. */
  readonly onError?: (error: unknown) => void
  /** Told each request and its outcome, in one line. */
  readonly trace?: (line: string) => void
}

/** The names `allow` and `deny` understand. */
export const requestNames: readonly string[] = [
  ...[...operations.values()].map(({ name }) => name),
  ...[...serverExtensions.values()].map(({ name }) => name),
]

/**
 * Serves one SFTP session. Resolves when the client has ended it; all handles are closed then.
 * Rejects with SshError: `SSH_PROTOCOL` for a malformed packet, `SSH_CONNECTION_LOST` or the
 * transport's own error if the stream broke. `fileSystem.close` is called in every case.
 *
 * @example
 * import { memoryPair } from '@sandbox-ssh/protocol'
 * import { memoryFileSystem, openSftp, requestNames, serveSftp } from '@sandbox-ssh/sftp'
 *
 * const [near, far] = memoryPair()
 * console.log(requestNames.includes('remove')) // true
 * const serving = serveSftp(far, memoryFileSystem(), { deny: ['remove'] })
 * const sftp = await openSftp(near)
 * await sftp.write('/kept', 'for good')
 * console.log(await sftp.remove('/kept').catch(({ code }) => code)) // SFTP_STATUS
 * await sftp.close()
 * await serving
 */
export async function serveSftp(
  transport: Transport,
  fileSystem: SftpFileSystem,
  options: SftpServerOptions = {},
): Promise<void> {
  for (const name of [...(options.allow ?? []), ...(options.deny ?? [])]) {
    if (!requestNames.includes(name)) throw new TypeError(`no SFTP request is called ${name}`)
  }
  const shown =
    options.root === undefined ? fileSystem : confinedFileSystem(fileSystem, options.root)
  const session = new Session(transport, shown, options)
  try {
    await session.run()
  } finally {
    await fileSystem.close?.()
  }
}

/** What a subsystem handler gives us of its session. */
export interface SftpSession {
  readonly transport: Transport
  readonly clientIdentification?: string | undefined
}

/**
 * A handler for the subsystem `sftp` of an SSH server. A file system given as a function is made for
 * each session. The exit status is 0, or 1 after a broken stream, or after a malformed packet, of
 * which `onError` hears.
 *
 * @example
 * import { memoryFileSystem, openSftp, sftpServer } from '@sandbox-ssh/sftp'
 *
 * const files = memoryFileSystem()
 * const client = await pair({ subsystems: { sftp: sftpServer(files, { readOnly: true }) } })
 * const sftp = await openSftp(client)
 * const error = await sftp.mkdir('/new').catch((caught: unknown) => caught)
 * console.log(error instanceof Error && error.message) // …
 */
export function sftpServer<Session extends SftpSession = SftpSession>(
  fileSystem: SftpFileSystem | ((session: Session) => SftpFileSystem | Promise<SftpFileSystem>),
  options: SftpServerOptions = {},
): (session: Session) => Promise<number> {
  return async (session) => {
    try {
      const files = typeof fileSystem === 'function' ? await fileSystem(session) : fileSystem
      const { clientIdentification } = session
      const known = clientIdentification === undefined ? {} : { clientIdentification }
      await serveSftp(session.transport, files, { ...known, ...options })
      return 0
    } catch (error) {
      // A client that leaves without a word is no fault of anybody's.
      if (!(error instanceof SshError && LEFT.has(error.code))) options.onError?.(error)
      return 1
    }
  }
}

/** How a stream breaks when its peer is gone. */
const LEFT: ReadonlySet<SshErrorCode> = new Set<SshErrorCode>([
  'SSH_ABORTED',
  'SSH_CHANNEL_CLOSED',
  'SSH_CONNECTION_LOST',
  'SSH_DISCONNECTED',
  'SSH_TRANSPORT',
])

class Session {
  readonly #reader: PacketReader
  readonly #writer: PacketWriter
  readonly #transport: Transport
  readonly #options: SftpServerOptions
  readonly #context: Context
  readonly #extensions: ReadonlyMap<string, Extension>
  readonly #sequencer = new Sequencer()
  readonly #buffers = new BufferPool()
  /** The last reply under way, for tasks whose replies have an order. */
  readonly #lastReplies = new WeakMap<object, Promise<void>>()
  #requests = 0
  #bytes = 0
  /** Called when a reply has left, if reading waits for room. */
  #wake: (() => void) | undefined

  constructor(transport: Transport, fileSystem: SftpFileSystem, options: SftpServerOptions) {
    this.#transport = transport
    this.#reader = new PacketReader(transport, this.#buffers)
    this.#writer = new PacketWriter(transport)
    this.#options = options
    const handlesMax = options.handlesMax ?? HANDLES_MAX
    this.#context = {
      fileSystem,
      handles: new Handles(handlesMax),
      handlesMax,
      owners: new OwnerNameCache(fileSystem),
      readOnly: options.readOnly ?? false,
      symlinkOrder: symlinkOrder(options.clientIdentification),
      buffers: this.#buffers,
    }
    this.#extensions = new Map(
      [...serverExtensions].filter(
        ([, extension]) => extension.available(fileSystem) && this.#permits(extension.name),
      ),
    )
  }

  async run(): Promise<void> {
    try {
      await this.#serve()
    } catch (error) {
      // Who sends nonsense may not read either: nothing is waited for.
      this.#transport.abort(error)
      throw error
    } finally {
      await this.#sequencer.idle()
      await this.#context.handles.closeAll()
    }
    await this.#writer.flush()
    await this.#transport.close()
  }

  async #serve(): Promise<void> {
    if (!(await this.#greet())) return
    for (;;) {
      const packet = await this.#reader.next()
      if (packet === undefined) return
      this.#accept(packet)
      while (this.#isFull()) await this.#room()
    }
  }

  /** The version exchange. False if the client left without a word. */
  async #greet(): Promise<boolean> {
    const packet = await this.#reader.next()
    if (packet === undefined) return false
    const { version } = wire.init.decode(packet)
    this.#options.trace?.(`init version ${version}`)
    const extensions = new Map(
      [...this.#extensions].map(([name, extension]) => [name, extension.version]),
    )
    // Clients of older versions are told 3 as well, as sftp-server does: it is all we speak.
    this.#writer.send(frame(wire.version.encode({ version: wire.VERSION, extensions })))
    return true
  }

  /** Starts a request. Throws SshError `SSH_PROTOCOL` if it is malformed. */
  #accept(packet: Uint8Array): void {
    if (packet.length < 5) throw new SshError('SSH_PROTOCOL', 'an SFTP packet without a request id')
    const id = getUint32(packet, 1)
    let name = `type ${packet[0]}`
    let task: Task
    try {
      const prepared = this.#prepare(packet)
      name = prepared.name
      task = prepared.task()
    } catch (error) {
      if (!(error instanceof SftpError)) throw error
      // Refused in its turn, so that what was sent before is done before.
      task = { claim: { kind: 'look' }, run: () => Promise.reject(error) }
    }
    const cost = packet.length + (task.replyBytes ?? 0)
    this.#requests++
    this.#bytes += cost
    const answer = this.#answer(id, name, task)
    const { replyOrder } = task
    const before = replyOrder && this.#lastReplies.get(replyOrder)
    const replied = (async () => {
      const reply = await answer
      await before
      this.#writer.send(reply, () => {
        this.#requests--
        this.#bytes -= cost
        this.#buffers.give(reply)
        this.#wake?.()
      })
    })()
    if (replyOrder !== undefined) this.#lastReplies.set(replyOrder, replied)
  }

  /** Finds what a packet asks for, and whether it may. */
  #prepare(packet: Uint8Array): { readonly name: string; readonly task: () => Task } {
    const type = packet[0] as number
    const operation = operations.get(type)
    if (operation !== undefined) {
      return {
        name: operation.name,
        task: () => {
          this.#check(operation.name, operation.writes)
          return operation.prepare(this.#context, packet)
        },
      }
    }
    if (type !== wire.FXP.EXTENDED) {
      if (type === wire.FXP.INIT) throw new SshError('SSH_PROTOCOL', 'a second SFTP INIT')
      throw new SftpError(STATUS.OP_UNSUPPORTED, `Packet type ${type} is not a request`)
    }
    const { id, request, data } = wire.extended.decode(packet)
    const extension = this.#extensions.get(request)
    if (extension === undefined) throw new SftpError(STATUS.OP_UNSUPPORTED)
    return {
      name: extension.name,
      task: () => {
        this.#check(extension.name, extension.writes)
        return extension.prepare(this.#context, id, data)
      },
    }
  }

  #check(name: string, writes: boolean): void {
    if (!this.#permits(name)) throw new SftpError(STATUS.PERMISSION_DENIED)
    if (writes && this.#context.readOnly) throw readOnlyError()
  }

  #permits(name: string): boolean {
    const { allow, deny } = this.#options
    return !deny?.includes(name) && (allow === undefined || allow.includes(name))
  }

  /** Runs a task in its turn. Never rejects: a failure is an answer too. */
  async #answer(id: number, name: string, task: Task): Promise<Uint8Array> {
    try {
      const reply = await this.#sequencer.run(task.claim, task.run)
      this.#options.trace?.(`${name} ${id}: done`)
      return reply
    } catch (error) {
      const known = asSftpError(error)
      if (known === undefined) this.#options.onError?.(error)
      const status = known?.status ?? STATUS.FAILURE
      this.#options.trace?.(`${name} ${id}: ${known?.message ?? 'internal failure'}`)
      return statusReply(id, status, known?.message)
    }
  }

  #isFull(): boolean {
    return this.#requests >= REQUESTS_MAX || this.#bytes >= IN_FLIGHT_BYTES_MAX
  }

  /** Resolves when a reply has left. Rejects if the transport can take no more. */
  async #room(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#wake = resolve
      this.#writer.onFailure(reject)
    })
    this.#wake = undefined
  }
}
