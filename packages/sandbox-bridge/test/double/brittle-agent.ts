// An agent as brittle as the real one: one loop that blocks where it blocks and dies of what it
// dies of. What would have happened is written down, for a test to find nothing there.
//
// Programs are imitations that read and write at their own pace: `deaf` never reads, `stubborn`
// neither reads nor heeds what can be ignored, `cat` reads and echoes, `slow` reads a little at a
// time, `yes` writes without end, `escaped` does so out of reach of what stops it, `exit` ends at once. A shell runs the first word of its command,
// and is `cat` without one. `perl` answers as the gauge of unread input does. Connections go to
// hosts of the same names, to `flood`, which sends without end, and `silent`, which never answers. Whatever the real agent was recorded
// to be asked, it is answered in the recorded bytes; and whatever is sent must look as recorded.

import { memoryPair, type Transport } from '@sandbox-ssh/protocol'
import {
  decodeEnvelope,
  decodeMessage,
  decodePayload,
  encodeMessage,
} from '../../src/agent/envelope.ts'
import { FRAME_LENGTH_MAX, type Frame, FrameDecoder, writeUint32 } from '../../src/agent/frame.ts'
import {
  isMessageType,
  type Message,
  type MessageType,
  messages,
  type Payloads,
} from '../../src/agent/messages.ts'
import { fromHex, linesOf } from '../recorded.ts'
import { BrittleFiles } from './brittle-files.ts'
import { type RecordedAnswer, RecordedAnswers } from './recorded-answers.ts'
import { strangeness } from './recorded-shapes.ts'

/** What a pipe and a terminal hold when nobody reads. */
const PIPE_BYTES = 64 * 1024
const TTY_BYTES = 20_000
/** Of which this much is seen as unread: the rest waits outside the line. */
const TTY_LINE_BYTES = 4095
/** Of a connection: the buffers of both kernels, and 32 frames in the agent. */
const TCP_BYTES = 4 * 1024 * 1024
const TCP_FRAMES = 32
const STEP = 33_554_431
const CLIENTS_MAX = 128
/** Signals that a program may ignore. */
const IGNORABLE: readonly number[] = [1, 2, 3, 13, 15]
const DEADLY: readonly number[] = [...IGNORABLE, 9]

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
  /** The first argument. */
  readonly word: string
  readonly tty: boolean
  eof: boolean
  /** The program whose input a gauge looks at. */
  readonly watched: Receiver | undefined
  /** Of a program out of the recording, what it has yet to say. */
  readonly script: Uint8Array[]
}

interface Connection extends Receiver {
  /** How many of its two directions have ended. */
  ends: number
  sent: number
}

const HOSTS = ['cat', 'slow', 'deaf', 'yes', 'flood', 'silent']
const KINDS = [
  'deaf',
  'stubborn',
  'cat',
  'slow',
  'yes',
  'escaped',
  'exit',
  'perl',
  'ln',
  'stat',
  'sync',
]
/** What `yes` writes in a millisecond, and a connection to it in all. */
const YES_BYTES = 32 * 1024
const TCP_SENT_MAX = 4 * 1024 * 1024

/** What `flood` and `escaped` write in a millisecond. */
const FLOOD_BYTES = 256 * 1024

/** The real agent's answers, as far as they were recorded; shared by all imitations. */
export const recorded: RecordedAnswers = new RecordedAnswers()
/** Its first words, and its sign of life. */
const READY = recordedFrame('handshake', 'client-preamble')
const PONG = recordedFrame('core', 'ping')
const TOUCHED = recordedFrame('core', 'touch')

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
  readonly #connections = new Map<number, Connection>()
  readonly #files: BrittleFiles
  readonly #slots = new Map<number, Transport>()
  #queued = 0
  /** Above those of the recording. */
  #pid = 10_000
  /** Ids that former clients of each slot left behind. */
  readonly #former = new Map<number, readonly number[]>()
  /** Bytes written by `yes`, by the word behind it. */
  readonly #produced = new Map<string, number>()
  #timer: ReturnType<typeof setInterval> | undefined

  constructor(random: () => number) {
    this.#random = random
    this.#files = new BrittleFiles({
      say: (id, type, payload) => this.#say(id, type, payload),
      connections: () => this.#connectionTable(),
      blocks: (why) => {
        this.blocked ??= why
      },
      breaks: (why) => this.broken.push(why),
    })
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

  /** Connections that are open. */
  get connections(): number {
    return this.#connections.size
  }

  /** Clients of the relay. */
  get clients(): number {
    return this.#slots.size
  }

  /** Connections that nobody has closed, both of whose ends have ended. */
  get forgotten(): number {
    return [...this.#connections.values()].filter(({ ends }) => ends === 2).length
  }

  /** Bytes that `yes WORD` has written. */
  produced(word: string): number {
    return this.#produced.get(word) ?? 0
  }

  /** A new client of the relay, in the first slot that is free. */
  accept(): Transport {
    const [ours, theirs] = memoryPair()
    let slot = 0
    while (this.#slots.has(slot)) slot++
    if (slot >= CLIENTS_MAX) {
      void ours.close()
      return theirs
    }
    this.#slots.set(slot, ours)
    const prologue = new Uint8Array(8)
    writeUint32(prologue, 0, slot * STEP + 1)
    writeUint32(prologue, 4, slot * STEP + STEP)
    this.#write(ours, prologue)
    this.#write(ours, READY)
    void this.#serve(ours, slot)
    return theirs
  }

  async #serve(transport: Transport, slot: number): Promise<void> {
    const decoder = new FrameDecoder(0xffff_ffff)
    for (;;) {
      const chunk = await transport.read().catch(() => undefined)
      if (chunk === undefined) break
      decoder.push(chunk)
      for (let frame = decoder.next(); frame; frame = decoder.next()) this.#frame(frame, slot)
    }
    // The relay kills what the client left, and the slot is free again.
    const isOwn = (id: number): boolean => slotOf(id) === slot
    this.#former.set(slot, [...this.#programs.keys()].filter(isOwn))
    for (const id of [...this.#programs.keys()].filter(isOwn)) this.#programs.delete(id)
    for (const id of [...this.#connections.keys()].filter(isOwn)) this.#connections.delete(id)
    this.#files.leave(slot)
    this.#slots.delete(slot)
    transport.abort()
  }

  #frame(frame: Frame, slot: number): void {
    const { id, flags, body, bytes } = frame
    if (bytes.length - 4 > FRAME_LENGTH_MAX) this.dead ??= 'frame over 4 MiB'
    if (bytes.length > 1024 * 1024) this.broken.push(`frame of ${bytes.length} bytes`)
    if (id < slot * STEP + 1 || id >= slot * STEP + STEP) {
      this.broken.push(`id ${id} out of range`)
    }
    let message: Message
    try {
      const strange = strangeness(bytes)
      if (strange !== undefined) this.broken.push(strange)
      const { type, payload, generation } = decodeEnvelope(body)
      if (!isMessageType(type)) throw new Error(`type ${type}`)
      if (generation !== 7) this.broken.push(`generation ${generation}`)
      if (flags !== messages[type].flags) this.broken.push(`flags ${flags} of ${type}`)
      message = { id, type, payload: decodePayload(type, payload) } as Message
    } catch (error) {
      this.dead ??= String(error)
      return
    }
    this.#handle(message, slot)
  }

  #handle(message: Message, slot: number): void {
    const { id } = message
    if (this.#recite(message)) return
    switch (message.type) {
      case 'core.ping':
        this.#repeat(id, PONG)
        break
      case 'core.touch':
        this.#repeat(id, TOUCHED)
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
        if (this.#isOpen(id)) this.broken.push(`id ${id} was reused while open`)
        this.#files.request(id, slot, message.payload)
        break
      case 'core.fs.data':
        this.#files.data(id, message.payload.data)
        break
      case 'core.tcp.connect':
        this.#connect(id, message.payload.host)
        break
      case 'core.tcp.data':
        this.#tcpData(id, message.payload.data)
        break
      case 'core.tcp.eof':
        this.#tcpEof(id)
        break
      case 'core.tcp.close':
        this.#connections.delete(id)
        break
      default:
        if (messages[message.type].from !== 'host') this.broken.push(`${message.type} from a host`)
    }
  }

  /** Answers out of the recording; a program there says one thing after the other. */
  #recite(message: Message): boolean {
    const answer = recorded.to(message)
    if (answer === undefined) return false
    const { id, type } = message
    if (type !== 'core.exec.request' || answer.length === 1) {
      if (this.#isOpen(id)) this.broken.push(`id ${id} was reused while open`)
      for (const bytes of answer) this.#repeat(id, bytes)
      return true
    }
    // The same program cannot run twice at once under the same recorded process id.
    const pid = pidOf(answer)
    if (this.#isOpen(id) || this.#programOf(pid) !== undefined) return false
    const program = this.#newProgram('recorded', '', message.payload.tty)
    this.#programs.set(id, { ...program, pid, script: [...answer] })
    return true
  }

  #programOf(pid: number | undefined): Program | undefined {
    return [...this.#programs.values()].find((program) => program.pid === pid)
  }

  #newProgram(kind: string, word: string, tty: boolean): Program {
    return {
      kind,
      word,
      pid: this.#pid++,
      tty,
      capacity: tty ? TTY_BYTES : PIPE_BYTES,
      buffered: 0,
      frames: 0,
      stopped: false,
      ended: false,
      eof: false,
      watched: undefined,
      script: [],
    }
  }

  #exec(id: number, request: Payloads['core.exec.request']): void {
    if (this.#isOpen(id)) this.broken.push(`id ${id} was reused while open`)
    const [kind, word] = imitated(request)
    if (!KINDS.includes(kind)) {
      const message = `spawn "${request.cmd}": No such file or directory (os error 2)`
      this.#say(id, 'core.exec.failed', { kind: 'not_found', errno: 2, message })
      return
    }
    const watchedPid = kind === 'perl' ? Number(request.args.at(-1)) : undefined
    const watched = this.#programOf(watchedPid)
    const program = { ...this.#newProgram(kind, word, request.tty), watched }
    this.#programs.set(id, program)
    this.#say(id, 'core.exec.started', { pid: program.pid })
    if (kind === 'perl')
      this.#print(id, `${program.watched?.capacity === PIPE_BYTES ? PIPE_BYTES : 0}\n`)
    if (kind === 'stat') this.#print(id, '4096 4096 9 9 9 9 9 0 255\n')
    if (['exit', 'stat', 'ln', 'sync'].includes(kind)) this.#exited(id, Number(word) || 0)
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
    const deadly = program.kind === 'stubborn' ? [9] : DEADLY
    if (deadly.includes(signal)) this.#exited(id, -1)
  }

  #connect(id: number, host: string): void {
    if (this.#isOpen(id)) this.broken.push(`id ${id} was reused while open`)
    if (host === 'refuse') {
      const error = `connect ${host}:1: Connection refused (os error 111)`
      this.#say(id, 'core.tcp.failed', { error })
      return
    }
    if (!HOSTS.includes(host)) {
      const error = `connect ${host}:1: failed to lookup address information: Try again`
      this.#say(id, 'core.tcp.failed', { error })
      return
    }
    const receiver = { kind: host, capacity: TCP_BYTES, buffered: 0, frames: 0 }
    this.#connections.set(id, { ...receiver, stopped: false, ended: false, ends: 0, sent: 0 })
    if (host !== 'silent') this.#say(id, 'core.tcp.connected', {})
  }

  #tcpEof(id: number): void {
    const connection = this.#connections.get(id)
    if (connection === undefined) return
    connection.ends++
    if (connection.kind === 'cat') {
      connection.ends++
      this.#say(id, 'core.tcp.eof', {})
    }
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
      if (program.kind === 'escaped') {
        this.#data(id, 'core.exec.stdout', new Uint8Array(FLOOD_BYTES))
        continue
      }
      if (program.stopped) continue
      if (program.kind === 'recorded') {
        this.#continue(id, program)
        continue
      }
      const read = Math.min(program.buffered, paceOf(program.kind))
      program.buffered -= read
      if (program.kind === 'yes') {
        this.#data(id, 'core.exec.stdout', new Uint8Array(YES_BYTES))
        this.#produced.set(program.word, this.produced(program.word) + YES_BYTES)
      }
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
      if (connection.kind === 'flood') {
        this.#data(id, 'core.tcp.data', new Uint8Array(FLOOD_BYTES))
      }
      if (connection.kind === 'yes' && connection.sent < TCP_SENT_MAX) {
        connection.sent += YES_BYTES
        this.#data(id, 'core.tcp.data', new Uint8Array(YES_BYTES))
      }
    }
    // Late words for a former client reach the next one of its slot.
    const former = [...this.#former.values()].flat()
    const stray = former[Math.floor(this.#random() * former.length * 4)]
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
    this.#ended(id, program)
    this.#say(id, 'core.exec.exited', { code })
  }

  /** The next words of a program out of the recording, the last of which are its end. */
  #continue(id: number, program: Program): void {
    const bytes = program.script.shift()
    if (bytes === undefined) return
    if (program.script.length === 0) this.#ended(id, program)
    this.#repeat(id, bytes)
  }

  #ended(id: number, program: Program): void {
    // The real one waits for ever when a terminal's input was not read by its end.
    if (program.tty && program.buffered > TTY_BYTES) this.blocked ??= 'a terminal that ended'
    program.ended = true
    this.#programs.delete(id)
  }

  #isOpen(id: number): boolean {
    return this.#programs.has(id) || this.#connections.has(id) || this.#files.has(id)
  }

  #say<T extends MessageType>(id: number, type: T, payload: Payloads[T]): void {
    const transport = this.#slots.get(slotOf(id))
    if (transport !== undefined) this.#write(transport, encodeMessage(id, type, payload))
  }

  /** A recorded frame, under another id. */
  #repeat(id: number, frame: Uint8Array): void {
    const transport = this.#slots.get(slotOf(id))
    const bytes = frame.slice()
    writeUint32(bytes, 4, id)
    if (transport !== undefined) this.#write(transport, bytes)
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

/** The process id that a recorded program has. */
function pidOf(answer: RecordedAnswer): number {
  const decoder = new FrameDecoder()
  decoder.push(answer[0] ?? new Uint8Array(0))
  const frame = decoder.next()
  const started = frame === undefined ? undefined : decodeMessage(frame)
  return started?.type === 'core.exec.started' ? started.payload.pid : 0
}

/** The agent's word of a case in which it has but one. */
function recordedFrame(group: string, name: string): Uint8Array {
  const line = linesOf(group, name).find(({ dir }) => dir === 'guest')
  return fromHex(line?.hex ?? '')
}

/** Bytes a kind of receiver reads in a millisecond. */
function paceOf(kind: string): number {
  if (kind === 'cat') return 1024 * 1024
  return kind === 'slow' ? 700 : 0
}

/** What a request runs, and its first argument. */
function imitated({ cmd, args }: Payloads['core.exec.request']): [string, string] {
  if (/\/(sh|bash)$/.test(cmd)) {
    if (args[0] !== '-c') return ['cat', '']
    const [kind = '', word = ''] = (args[1] ?? '').trim().split(' ')
    return [kind, word]
  }
  return [cmd.slice(cmd.lastIndexOf('/') + 1), args[0] ?? '']
}

function slotOf(id: number): number {
  return Math.floor((id - 1) / STEP)
}
