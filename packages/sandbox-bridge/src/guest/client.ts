/** One relay client of the guest: its sessions, its open files, its frames. */
import { decodeEnvelope, decodePayload, encodeData, encodeMessage } from '../agent/envelope.ts'
import type { CoreErrorKind } from '../agent/error.ts'
import type { Frame } from '../agent/frame.ts'
import {
  type FsOp,
  type FsResponse,
  isMessageType,
  type Message,
  type MessageType,
  messages,
  type Payloads,
} from '../agent/messages.ts'
import { PayloadError } from '../agent/payload.ts'
import type { ExecDefaults } from './command.ts'
import { ExecSession } from './exec.ts'
import { FsHandles, type HandleTable, type WriteStream } from './fs-handles.ts'
import {
  copy,
  FsFailure,
  list,
  makeDirectory,
  makeSymlink,
  readLink,
  realPath,
  remove,
  removeDirectory,
  renamePath,
  setStat,
  statPath,
} from './fs-paths.ts'
import type { Leftovers } from './leftovers.ts'
import type { Outbox } from './outbox.ts'
import type { GuestSession, Reply } from './session.ts'
import { TcpSession } from './tcp.ts'

/** What the clients of one guest share. */
export interface Shared {
  readonly defaults: ExecDefaults
  readonly handles: HandleTable
  readonly leftovers: Leftovers
  /** Counts use, for the idle timer; `core.touched` tells it. */
  activity: number
  /** `core.shutdown` came. */
  readonly onShutdown: () => void
}

/** Programs and connections of one client at once. */
const SESSIONS_MAX = 4096
/** Bytes of file writes under way at which the client's carrier is not read any more. */
const WRITE_BYTES_MAX = 8 * 1024 * 1024

type FsData = NonNullable<FsResponse['data']>

/** Handles the frames of one client, in order, and never waits for any of its sessions. */
export class GuestClient {
  readonly #shared: Shared
  readonly #outbox: Outbox
  readonly #sessions = new Map<number, ExecSession | TcpSession>()
  readonly #writes = new Map<number, WriteStream>()
  readonly #handles: FsHandles
  #writeBytes = 0
  #writesWaiting: (() => void)[] = []
  #gone = false

  constructor(shared: Shared, outbox: Outbox) {
    this.#shared = shared
    this.#outbox = outbox
    this.#handles = new FsHandles(shared.handles)
  }

  /** Process groups that still run. */
  get groups(): number[] {
    return [...this.#sessions.values()].flatMap((session) =>
      session instanceof ExecSession && session.pid !== undefined ? [session.pid] : [],
    )
  }

  /** Handles one frame. What does not fit the protocol is answered, never thrown. */
  handle(frame: Frame): void {
    const message = this.#decode(frame)
    if (message === undefined) return
    if (!QUIET.has(message.type)) this.#shared.activity++
    this.#dispatch(message)
  }

  /** Resolves while this client may be read; only its own sessions can hold it up. */
  async room(): Promise<void> {
    await this.#outbox.room()
    while (this.#writeBytes >= WRITE_BYTES_MAX && !this.#gone) {
      await new Promise<void>((resolve) => this.#writesWaiting.push(resolve))
    }
    for (const session of this.#sessions.values()) {
      const room = session.inputRoom()
      if (room !== undefined) await room
    }
  }

  /** The client left: its programs are killed, its files and connections closed. */
  abandon(): void {
    this.#gone = true
    for (const session of this.#sessions.values()) session.abandon()
    this.#sessions.clear()
    this.#writes.clear()
    this.#handles.abandon()
    for (const resolve of this.#writesWaiting.splice(0)) resolve()
  }

  #decode(frame: Frame): Message | undefined {
    let type: string | undefined
    try {
      const envelope = decodeEnvelope(frame.body)
      type = envelope.type
      if (!isMessageType(type)) {
        this.#refuse(frame.id, 'unsupported_message_type', `unknown message type: ${type}`, type)
        return undefined
      }
      const { flags } = messages[type]
      if (frame.flags !== flags) {
        const why = `invalid flags for ${type}: got ${frame.flags}, expected ${flags}`
        this.#refuse(frame.id, 'invalid_flags', why, type)
        return undefined
      }
      // `type` and the payload decoded by it belong together, which a union cannot express.
      return { id: frame.id, type, payload: decodePayload(type, envelope.payload) } as Message
    } catch (error) {
      if (!(error instanceof PayloadError)) throw error
      const why = `cbor decode error: Semantic(None, ${JSON.stringify(error.message)})`
      if (type === undefined) {
        this.#refuse(frame.id, 'malformed_message', `decode message: ${why}`)
      } else {
        this.#refuse(frame.id, 'invalid_payload', `decode payload for ${type}: ${why}`, type)
      }
      return undefined
    }
  }

  #refuse(id: number, kind: CoreErrorKind, message: string, type?: string): void {
    const offending = type === undefined ? {} : { offending_type: type }
    this.#post(id, 'core.error', { kind, message, ...offending })
  }

  #dispatch(message: Message): void {
    const { id } = message
    switch (message.type) {
      case 'core.ping': {
        const { after, session, credit } = message.payload
        if (session !== undefined) this.#sessions.get(session)?.credit(credit ?? 0)
        const waited = after === undefined ? undefined : this.#sessions.get(after)?.inputDrained()
        if (waited === undefined) this.#post(id, 'core.pong', {})
        else void waited.then(() => this.#post(id, 'core.pong', {}))
        break
      }
      case 'core.touch':
        this.#shared.activity++
        this.#post(id, 'core.touched', { activity_seq: this.#shared.activity })
        break
      case 'core.shutdown':
        this.#shared.onShutdown()
        break
      case 'core.exec.request':
        this.#exec(id, message.payload)
        break
      case 'core.exec.stdin':
        this.#withExec(id, (session) => session.stdin(message.payload.data))
        break
      case 'core.exec.resize':
        this.#withExec(id, (session) => session.resize(message.payload))
        break
      case 'core.exec.signal':
        this.#withExec(id, (session) => session.signal(message.payload.signal))
        break
      case 'core.fs.request':
        this.#fs(id, message.payload.op)
        break
      case 'core.fs.data':
        this.#fsData(id, message.payload.data)
        break
      case 'core.tcp.connect':
        this.#connect(id, message.payload)
        break
      case 'core.tcp.data': {
        const session = this.#sessions.get(id)
        if (session instanceof TcpSession) session.data(message.payload.data)
        else this.#post(id, 'core.tcp.failed', { error: `unknown TCP session: ${id}` })
        break
      }
      case 'core.tcp.eof':
        this.#withTcp(id, (session) => session.eof())
        break
      case 'core.tcp.close':
        this.#withTcp(id, (session) => session.abandon())
        break
      default:
      // A guest's own words from a client, or the relay's: ignored, as the agent does.
    }
  }

  #exec(id: number, request: Payloads['core.exec.request']): void {
    const refusal = this.#refusal(id)
    if (refusal !== undefined) {
      this.#post(id, 'core.exec.failed', { kind: 'resource_limit', message: refusal })
      return
    }
    const session = new ExecSession(request, this.#reply(id), () => {
      if (session.pid !== undefined && (request.tty || session.isGroupAlive)) {
        this.#shared.leftovers.note(session.pid)
      }
      this.#forget(id, session)
    })
    this.#sessions.set(id, session)
    void session.run(this.#shared.defaults)
  }

  #connect(id: number, request: Payloads['core.tcp.connect']): void {
    const refusal = this.#refusal(id)
    if (refusal !== undefined) {
      this.#post(id, 'core.tcp.failed', { error: refusal })
      return
    }
    const session: TcpSession = new TcpSession(request, this.#reply(id), () =>
      this.#forget(id, session),
    )
    this.#sessions.set(id, session)
  }

  /** Why no session may be opened under this id, if so. */
  #refusal(id: number): string | undefined {
    if (this.#sessions.has(id)) return `id ${id} is in use`
    if (this.#sessions.size >= SESSIONS_MAX) return `${SESSIONS_MAX} sessions are open`
    return undefined
  }

  #forget(id: number, session: GuestSession): void {
    if (this.#sessions.get(id) === session) this.#sessions.delete(id)
  }

  #withExec(id: number, action: (session: ExecSession) => void): void {
    const session = this.#sessions.get(id)
    if (session instanceof ExecSession) action(session)
  }

  #withTcp(id: number, action: (session: TcpSession) => void): void {
    const session = this.#sessions.get(id)
    if (session instanceof TcpSession) action(session)
  }

  #fs(id: number, op: FsOp): void {
    if ('Write' in op) {
      try {
        this.#writes.set(id, this.#handles.startWrite(op.Write))
      } catch (error) {
        this.#respond(id, Promise.reject(error))
      }
      return
    }
    this.#respond(id, this.#run(id, op))
  }

  /** Runs an operation and gives what its response holds. */
  async #run(id: number, op: Exclude<FsOp, { Write: unknown }>): Promise<FsData | undefined> {
    const handles = this.#handles
    if ('RealPath' in op) return { Path: await realPath(op.RealPath) }
    if ('Stat' in op) return { Stat: await statPath(op.Stat) }
    if ('List' in op) return { List: await list(op.List) }
    if ('ReadLink' in op) return { Path: await readLink(op.ReadLink) }
    if ('OpenFile' in op) return { Handle: await handles.openFile(op.OpenFile) }
    if ('OpenDir' in op) return { Handle: await handles.openDirectory(op.OpenDir) }
    if ('ReadDir' in op) return { List: await handles.readDirectory(op.ReadDir) }
    if ('FStat' in op) return { Stat: await handles.stat(op.FStat) }
    if ('SetStat' in op) await setStat(op.SetStat)
    else if ('Symlink' in op) await makeSymlink(op.Symlink)
    else if ('Mkdir' in op) await makeDirectory(op.Mkdir)
    else if ('Remove' in op) await remove(op.Remove)
    else if ('RemoveDir' in op) await removeDirectory(op.RemoveDir)
    else if ('Copy' in op) await copy(op.Copy)
    else if ('Rename' in op) await renamePath(op.Rename)
    else if ('CloseHandle' in op) await handles.closeHandle(op.CloseHandle)
    else if ('FSetStat' in op) await handles.setStat(op.FSetStat)
    else await handles.read(op.Read, (chunk) => this.#data(id, 'core.fs.data', chunk))
    return undefined
  }

  #fsData(id: number, data: Uint8Array): void {
    const stream = this.#writes.get(id)
    if (stream === undefined) {
      this.#respond(id, Promise.reject(new FsFailure(`unknown write session: ${id}`)))
      return
    }
    if (data.length === 0) {
      this.#writes.delete(id)
      this.#respond(
        id,
        stream.finish().then(() => undefined),
      )
      return
    }
    this.#writeBytes += data.length
    stream
      .write(data)
      .catch((error) => {
        // The first error ends the stream; pieces already queued on it say nothing more.
        if (this.#writes.get(id) !== stream) return
        this.#writes.delete(id)
        this.#respond(id, Promise.reject(error))
      })
      .finally(() => {
        this.#writeBytes -= data.length
        for (const resolve of this.#writesWaiting.splice(0)) resolve()
      })
  }

  #respond(id: number, outcome: Promise<FsData | undefined>): void {
    outcome.then(
      (data) => {
        const response = data === undefined ? { ok: true } : { ok: true, data }
        this.#post(id, 'core.fs.response', response)
      },
      (error) => {
        const text = error instanceof Error ? error.message : String(error)
        this.#post(id, 'core.fs.response', { ok: false, error: text })
      },
    )
  }

  #reply(id: number): Reply {
    return {
      post: (type, payload) => this.#post(id, type, payload),
      data: (type, chunk) => this.#data(id, type, chunk),
    }
  }

  #post<T extends MessageType>(id: number, type: T, payload: Payloads[T]): void {
    if (this.#gone) return
    if (!QUIET.has(type)) this.#shared.activity++
    this.#outbox.post(encodeMessage(id, type, payload))
  }

  async #data(id: number, type: Parameters<Reply['data']>[0], chunk: Uint8Array): Promise<void> {
    if (this.#gone) return
    this.#shared.activity++
    await this.#outbox.send(encodeData(id, type, chunk))
  }
}

/** Messages that are not use of the sandbox. */
const QUIET: ReadonlySet<MessageType> = new Set<MessageType>([
  'core.ping',
  'core.pong',
  'core.touch',
  'core.touched',
  'core.error',
  'core.clock.sync',
])
