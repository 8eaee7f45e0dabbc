// An agent as brittle as the real one: one loop that blocks where it blocks and dies of what it
// dies of. What would have happened is written down, for a test to find nothing there.
//
// Programs are imitations that read and write at their own pace: `deaf` never reads, `cat` reads
// and echoes, `slow` reads a little at a time, `yes` writes without end, `exit` ends at once.
// `perl` answers as the gauge of unread input does. Connections go to hosts of the same names.

import { memoryPair, type Transport } from '@sandbox-ssh/protocol'
import { decodeEnvelope, decodePayload, encodeMessage } from '../../src/agent/envelope.ts'
import { FRAME_LENGTH_MAX, type Frame, FrameDecoder, writeUint32 } from '../../src/agent/frame.ts'
import {
  isMessageType,
  type Message,
  type MessageType,
  messages,
  type Payloads,
} from '../../src/agent/messages.ts'

/** What a pipe and a terminal hold when nobody reads. */
const PIPE_BYTES = 64 * 1024
const TTY_BYTES = 20_000
/** Of which this much is seen as unread: the rest waits outside the line. */
const TTY_LINE_BYTES = 4095
/** Of a connection: the buffers of both kernels, and 32 frames in the agent. */
const TCP_BYTES = 4 * 1024 * 1024
const TCP_FRAMES = 32
const STEP = 33_554_431

/** Something in the guest that takes input: a program or a connection. */
interface Receiver {
  readonly kind: string
  readonly capacity: number
  buffered: number
  /** Frames a connection has not written to its socket. */
  frames: number
  stopped: boolean
  ended: boolean
}

/** A program's own part. */
interface Program extends Receiver {
  readonly pid: number
  readonly tty: boolean
  eof: boolean
  /** The program whose input a gauge looks at. */
  readonly watched: Receiver | undefined
}

/** The agent, its relay and its guest in one. */
export class BrittleAgent {
  /** Why the agent would have ended, and the guest with it. */
  dead: string | undefined
  /** Whom it would have waited for. */
  blocked: string | undefined
  /** What else a relay or an agent would not have borne. */
  readonly broken: string[] = []
  /** The most output that waited for a client, in bytes. */
  queuedBytesMax = 0
  readonly #random: () => number
  readonly #programs = new Map<number, Program>()
  readonly #connections = new Map<number, Receiver>()
  readonly #files = new Map<number, { path: string; data: Uint8Array }>()
  readonly #writes = new Map<number, number>()
  #transport: Transport | undefined
  #queued = 0
  #pid = 100
  #handle = 1
  #slot = 0
  /** Ids that the previous client of this slot left behind. */
  #former: number[] = []
  #timer: ReturnType<typeof setInterval> | undefined

  constructor(random: () => number) {
    this.#random = random
    this.#timer = setInterval(() => this.#tick(), 1)
  }

  /** Ends the imitation. */
  stop(): void {
    clearInterval(this.#timer)
  }

  /** Programs that run. */
  get running(): number {
    return this.#programs.size
  }

  /** A new client of the relay, in the slot of the last one, which must be gone. */
  accept(): Transport {
    const [ours, theirs] = memoryPair()
    this.#transport = ours
    const prologue = new Uint8Array(8)
    writeUint32(prologue, 0, this.#slot * STEP + 1)
    writeUint32(prologue, 4, this.#slot * STEP + STEP)
    const times = { boot_time_ns: 1, init_time_ns: 2, ready_time_ns: 3, agent_version: '0.6.18' }
    this.#write(ours, prologue)
    this.#write(ours, encodeMessage(0, 'core.ready', times))
    void this.#serve(ours)
    return theirs
  }

  async #serve(transport: Transport): Promise<void> {
    const decoder = new FrameDecoder(0xffff_ffff)
    for (;;) {
      const chunk = await transport.read().catch(() => undefined)
      if (chunk === undefined) break
      decoder.push(chunk)
      for (let frame = decoder.next(); frame; frame = decoder.next()) this.#frame(frame)
    }
    // The relay kills what the client left, and the slot is free again.
    this.#former = [...this.#programs.keys()]
    for (const program of this.#programs.values()) program.ended = true
    this.#programs.clear()
    this.#connections.clear()
    this.#files.clear()
    this.#writes.clear()
    if (this.#transport === transport) this.#transport = undefined
    transport.abort()
  }

  #frame(frame: Frame): void {
    const { id, flags, body, bytes } = frame
    if (bytes.length - 4 > FRAME_LENGTH_MAX) this.dead ??= 'frame over 4 MiB'
    if (bytes.length > 1024 * 1024) this.broken.push(`frame of ${bytes.length} bytes`)
    if (id < this.#slot * STEP + 1 || id >= this.#slot * STEP + STEP) {
      this.broken.push(`id ${id} out of range`)
    }
    let message: Message
    try {
      const { type, payload, generation } = decodeEnvelope(body)
      if (!isMessageType(type)) throw new Error(`type ${type}`)
      if (generation !== 7) this.broken.push(`generation ${generation}`)
      if (flags !== messages[type].flags) this.broken.push(`flags ${flags} of ${type}`)
      message = { id, type, payload: decodePayload(type, payload) } as Message
    } catch (error) {
      this.dead ??= String(error)
      return
    }
    this.#handle_(message)
  }

  #handle_(message: Message): void {
    const { id } = message
    switch (message.type) {
      case 'core.ping':
        if (Object.keys(message.payload).length > 0) this.broken.push('an extension was used')
        this.#say(id, 'core.pong', {})
        break
      case 'core.touch':
        this.#say(id, 'core.touched', { activity_seq: 1 })
        break
      case 'core.exec.request':
        this.#exec(id, message.payload)
        break
      case 'core.exec.stdin':
        this.#stdin(id, message.payload.data)
        break
      case 'core.exec.signal':
        this.#signal(id, message.payload.signal)
        break
      case 'core.fs.request':
        this.#fs(id, message.payload)
        break
      case 'core.fs.data':
        this.#fsData(id, message.payload.data)
        break
      case 'core.tcp.connect':
        this.#connect(id, message.payload.host)
        break
      case 'core.tcp.data':
        this.#tcpData(id, message.payload.data)
        break
      case 'core.tcp.eof':
        if (this.#connections.get(id)?.kind === 'cat') this.#say(id, 'core.tcp.eof', {})
        break
      case 'core.tcp.close':
        this.#connections.delete(id)
        break
      default:
        if (messages[message.type].from !== 'host') this.broken.push(`${message.type} from a host`)
    }
  }

  #exec(id: number, request: Payloads['core.exec.request']): void {
    if (this.#isOpen(id)) this.broken.push(`id ${id} was reused while open`)
    const kind = request.cmd
    const known = ['deaf', 'cat', 'slow', 'yes', 'exit', 'perl']
    if (!known.includes(kind)) {
      const message = `spawn "${kind}": No such file or directory (os error 2)`
      this.#say(id, 'core.exec.failed', { kind: 'not_found', errno: 2, message })
      return
    }
    const watchedPid = kind === 'perl' ? Number(request.args.at(-1)) : undefined
    const program: Program = {
      kind,
      pid: this.#pid++,
      tty: request.tty,
      capacity: request.tty ? TTY_BYTES : PIPE_BYTES,
      buffered: 0,
      frames: 0,
      stopped: false,
      ended: false,
      eof: false,
      watched: [...this.#programs.values()].find(({ pid }) => pid === watchedPid),
    }
    this.#programs.set(id, program)
    this.#say(id, 'core.exec.started', { pid: program.pid })
    if (kind === 'perl')
      this.#print(id, `${program.watched?.capacity === PIPE_BYTES ? PIPE_BYTES : 0}\n`)
    if (kind === 'exit') this.#exited(id, Number(request.args[0] ?? 0))
  }

  #stdin(id: number, data: Uint8Array): void {
    const program = this.#programs.get(id)
    if (program === undefined || program.eof) return
    if (data.length === 0) {
      program.eof = !program.tty
      return
    }
    program.buffered += data.length
    if (program.buffered > program.capacity) {
      this.blocked ??= `${program.kind}${program.tty ? ' on a terminal' : ''} at ${program.buffered}`
    }
    if (program.kind === 'perl') {
      program.buffered = 0
      const { watched } = program
      const unread = watched?.buffered ?? 0
      const seen = watched?.capacity === TTY_BYTES ? Math.min(unread, TTY_LINE_BYTES) : unread
      this.#print(id, `${seen}\n`)
    } else if (program.tty && data.includes(4) && program.kind === 'cat') {
      this.#exited(id, 0)
    }
  }

  #signal(id: number, signal: number): void {
    const program = this.#programs.get(id)
    if (program === undefined) return
    if (signal === 19) program.stopped = true
    if (signal === 18) program.stopped = false
    if ([1, 2, 3, 9, 15].includes(signal)) this.#exited(id, -1)
  }

  #fs(id: number, { op }: Payloads['core.fs.request']): void {
    if (this.#isOpen(id)) this.broken.push(`id ${id} was reused while open`)
    const refuse = (error: string) => this.#say(id, 'core.fs.response', { ok: false, error })
    if ('Stat' in op) {
      const entry = {
        path: op.Stat.path,
        kind: 'file' as const,
        size: 1,
        mode: 0o100644,
        uid: 0,
        gid: 0,
      }
      this.#say(id, 'core.fs.response', { ok: true, data: { Stat: entry } })
    } else if ('OpenFile' in op) {
      // A FIFO would never be opened; the table of connections is what the pacing looks at.
      if (op.OpenFile.path.includes('fifo')) this.blocked ??= 'opening a FIFO'
      const table = op.OpenFile.path === '/proc/net/tcp' ? this.#connectionTable() : ''
      const handle = this.#handle++
      this.#files.set(handle, { path: op.OpenFile.path, data: new TextEncoder().encode(table) })
      this.#say(id, 'core.fs.response', { ok: true, data: { Handle: handle } })
    } else if ('Read' in op) {
      const { handle, offset, len } = op.Read
      if (len === undefined || len > 1024 * 1024) this.broken.push(`read of ${len} bytes`)
      const file = this.#files.get(handle)
      if (file === undefined) return refuse(`read: invalid handle: ${handle}`)
      const data = file.data.subarray(offset, offset + (len ?? 0))
      if (data.length > 0) this.#say(id, 'core.fs.data', { data })
      this.#say(id, 'core.fs.response', { ok: true })
    } else if ('Write' in op) {
      if (!this.#files.has(op.Write.handle)) return refuse(`write: invalid handle`)
      this.#writes.set(id, op.Write.handle)
    } else if ('CloseHandle' in op) {
      this.#files.delete(op.CloseHandle.handle)
      this.#say(id, 'core.fs.response', { ok: true })
    } else {
      refuse('mkdir: Permission denied (os error 13)')
    }
  }

  #fsData(id: number, data: Uint8Array): void {
    if (!this.#writes.has(id)) {
      this.#say(id, 'core.fs.response', { ok: false, error: `unknown write session: ${id}` })
    } else if (data.length === 0) {
      this.#writes.delete(id)
      this.#say(id, 'core.fs.response', { ok: true })
    }
  }

  #connect(id: number, host: string): void {
    if (this.#isOpen(id)) this.broken.push(`id ${id} was reused while open`)
    if (host === 'refuse') {
      const error = `connect ${host}:1: Connection refused (os error 111)`
      this.#say(id, 'core.tcp.failed', { error })
      return
    }
    const receiver = { kind: host, capacity: TCP_BYTES, buffered: 0, frames: 0 }
    this.#connections.set(id, { ...receiver, stopped: false, ended: false })
    this.#say(id, 'core.tcp.connected', {})
  }

  #tcpData(id: number, data: Uint8Array): void {
    const connection = this.#connections.get(id)
    if (connection === undefined) {
      this.#say(id, 'core.tcp.failed', { error: `unknown TCP session: ${id}` })
      return
    }
    connection.buffered += data.length
    if (connection.buffered <= connection.capacity) return
    connection.frames++
    if (connection.frames > TCP_FRAMES) this.blocked ??= `a connection to ${connection.kind}`
  }

  /** As the kernel prints it; all connections go to port 1. */
  #connectionTable(): string {
    const lines = [...this.#connections.values()].map(({ buffered }, index) => {
      const queue = Math.max(buffered - TCP_BYTES / 2, 0)
        .toString(16)
        .toUpperCase()
        .padStart(8, '0')
      return `   ${index}: 0100007F:A001 0100007F:0001 01 ${queue}:00000000 00:00000000 00000000     0`
    })
    return `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n${lines.join('\n')}\n`
  }

  /** What programs do by themselves. */
  #tick(): void {
    for (const [id, program] of this.#programs) {
      if (program.stopped) continue
      const read = Math.min(program.buffered, paceOf(program.kind))
      program.buffered -= read
      if (program.kind === 'yes') this.#data(id, 'core.exec.stdout', new Uint8Array(32 * 1024))
      if (program.kind === 'cat' && read > 0) {
        this.#data(id, 'core.exec.stdout', new Uint8Array(read))
      }
      const isDone = program.eof && program.buffered === 0 && paceOf(program.kind) > 0
      if (isDone && program.kind !== 'yes') this.#exited(id, 0)
    }
    for (const [id, connection] of this.#connections) {
      const read = Math.min(connection.buffered, paceOf(connection.kind))
      connection.buffered -= read
      if (connection.buffered <= connection.capacity) connection.frames = 0
      if (connection.kind === 'cat' && read > 0) {
        this.#data(id, 'core.tcp.data', new Uint8Array(Math.min(read, 65_536)))
      }
    }
    // Late words for a former client reach the next one of its slot.
    const stray = this.#former[Math.floor(this.#random() * this.#former.length * 4)]
    if (stray !== undefined) this.#say(stray, 'core.exec.exited', { code: -1 })
  }

  #print(id: number, text: string): void {
    this.#data(id, 'core.exec.stdout', new TextEncoder().encode(text))
  }

  #data(id: number, type: 'core.exec.stdout' | 'core.tcp.data', data: Uint8Array): void {
    this.#say(id, type, { data })
  }

  #exited(id: number, code: number): void {
    const program = this.#programs.get(id)
    if (program === undefined) return
    // The real one waits for ever when a terminal's input was not read by its end.
    if (program.tty && program.buffered > TTY_BYTES) this.blocked ??= 'a terminal that ended'
    program.ended = true
    this.#programs.delete(id)
    this.#say(id, 'core.exec.exited', { code })
  }

  #isOpen(id: number): boolean {
    return this.#programs.has(id) || this.#connections.has(id) || this.#writes.has(id)
  }

  #say<T extends MessageType>(id: number, type: T, payload: Payloads[T]): void {
    if (this.#transport !== undefined)
      this.#write(this.#transport, encodeMessage(id, type, payload))
  }

  #write(transport: Transport, bytes: Uint8Array): void {
    this.#queued += bytes.length
    this.queuedBytesMax = Math.max(this.queuedBytesMax, this.#queued)
    const done = (): void => {
      this.#queued -= bytes.length
    }
    transport.write(bytes).then(done, done)
  }
}

/** Bytes a kind of receiver reads in a millisecond. */
function paceOf(kind: string): number {
  if (kind === 'cat') return 1024 * 1024
  return kind === 'slow' ? 700 : 0
}
