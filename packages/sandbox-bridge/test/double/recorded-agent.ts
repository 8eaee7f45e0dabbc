// An agent that knows one conversation by heart: where the client says what the recorded client
// said, it says the recorded bytes, with the id changed to the client's. What our client asks on
// the side, to measure how much input fits, it answers with recorded bytes as well: yes to a ping,
// no to everything else.

import { memoryPair, type Transport } from '@sandbox-ssh/protocol'
import { READ_BYTES_MAX } from '../../src/agent/client.ts'
import { decodeEnvelope, decodePayload } from '../../src/agent/envelope.ts'
import { type Frame, FrameDecoder, SESSION_START, writeUint32 } from '../../src/agent/frame.ts'
import { isMessageType } from '../../src/agent/messages.ts'
import { fromHex, type Line, linesOf, toHex } from '../recorded.ts'
import { strangeness } from './recorded-shapes.ts'

/** What the agent says to questions that were not asked when it was recorded. */
const ASIDES: ReadonlyMap<string, readonly [group: string, name: string]> = new Map([
  ['core.ping', ['core', 'ping']],
  ['core.exec.request', ['exec-failed', 'not-found']],
  ['core.fs.request', ['fs', 'stat-ENOENT']],
  ['core.fs.data', ['fs-handle', 'data-without-stream']],
])

/** The agent's side of one recorded conversation. */
export class RecordedAgent {
  /** What the client said that was not recorded and is no aside. */
  readonly surprises: string[] = []
  /** Frames of the client that are those of the recording to the last bit, but for the id. */
  exact = 0
  /** Those that mean the same: with defaults written out, or without surplus fields. */
  alike = 0
  /** Recorded frames that were said. */
  said = 0
  readonly #lines: Line[]
  readonly #transport: Transport
  /** By recorded id, the client's. */
  readonly #ids = new Map<number, number>()
  #wake: () => void = () => {}

  private constructor(lines: readonly Line[], transport: Transport) {
    this.#lines = lines.filter(({ dir }) => dir !== 'note')
    this.#transport = transport
  }

  /** The transport is the client's. */
  static start(lines: readonly Line[]): [RecordedAgent, Transport] {
    const [ours, theirs] = memoryPair()
    const agent = new RecordedAgent(lines, ours)
    void agent.#run()
    return [agent, theirs]
  }

  /** Lines of the recording that nobody has said yet. */
  get left(): readonly string[] {
    return this.#lines.map(({ dir, hex }) => `${dir} ${hex?.slice(0, 400)}`)
  }

  /** Resolves once everything was said. */
  async finished(): Promise<void> {
    while (this.#lines.length > 0) await new Promise<void>((resolve) => (this.#wake = resolve))
  }

  async #run(): Promise<void> {
    const own = this.#lines[0]?.dir === 'preamble'
    const [preamble, ready] = own
      ? this.#lines.splice(0, 2)
      : linesOf('handshake', 'client-preamble')
    for (const line of [preamble, ready]) this.#write(fromHex(line?.hex ?? ''))
    if (own) this.said += 2
    const decoder = new FrameDecoder()
    for (;;) {
      const chunk = await this.#transport.read().catch(() => undefined)
      if (chunk === undefined) break
      decoder.push(chunk)
      for (let frame = decoder.next(); frame; frame = decoder.next()) this.#hear(frame)
    }
    void this.#transport.close()
  }

  #hear(frame: Frame): void {
    const strange = strangeness(frame.bytes)
    if (strange !== undefined) this.surprises.push(strange)
    const [line] = this.#lines
    const recorded = line?.dir === 'client' ? frameOf(line) : undefined
    const likeness = recorded === undefined ? 'none' : compare(recorded, frame)
    if (recorded === undefined || likeness === 'none') return this.#aside(frame)
    if (likeness === 'exact') this.exact++
    else this.alike++
    this.#lines.shift()
    this.#ids.set(recorded.id, frame.id)
    // The recorded client sent on without waiting for this; ours waits.
    if (frame.flags === SESSION_START && this.#lines[0]?.dir === 'client') {
      const at = this.#lines.findIndex((each) => isBeginning(each, recorded.id))
      this.#lines.unshift(...this.#lines.splice(at, at === -1 ? 0 : 1))
    }
    while (this.#lines[0]?.dir === 'guest') this.#say(this.#lines.shift())
    if (this.#lines.length === 0) this.#wake()
  }

  #say(line: Line | undefined): void {
    if (line?.hex === undefined) throw new Error('this frame was not recorded whole')
    const bytes = fromHex(line.hex)
    const { id } = frameOf(line)
    writeUint32(bytes, 4, this.#ids.get(id) ?? id)
    this.said++
    this.#write(bytes)
  }

  #aside(frame: Frame): void {
    const { type } = decodeEnvelope(frame.body)
    const aside = ASIDES.get(type)
    if (aside === undefined) {
      this.surprises.push(`${type} ${toHex(frame.body)}`)
      return
    }
    const answer = linesOf(...aside).find(({ dir }) => dir === 'guest')
    const bytes = fromHex(answer?.hex ?? '')
    writeUint32(bytes, 4, frame.id)
    this.#write(bytes)
  }

  #write(bytes: Uint8Array): void {
    this.#transport.write(bytes).catch(() => {})
  }
}

/** The frame that a line holds. */
export function frameOf(line: Line): Frame {
  const decoder = new FrameDecoder()
  decoder.push(fromHex(line.hex ?? ''))
  const frame = decoder.next()
  if (frame === undefined) throw new Error(`${line.group}/${line.case}: not a whole frame`)
  return frame
}

/** True for the word that a program runs, or a connection is there, of that id. */
function isBeginning(line: Line, id: number): boolean {
  if (line.dir !== 'guest' || line.hex === undefined) return false
  const frame = frameOf(line)
  const { type } = decodeEnvelope(frame.body)
  return frame.id === id && (type === 'core.exec.started' || type === 'core.tcp.connected')
}

function compare(recorded: Frame, ours: Frame): 'exact' | 'alike' | 'none' {
  if (recorded.flags !== ours.flags) return 'none'
  if (toHex(recorded.body) === toHex(ours.body)) return 'exact'
  const [theirs, mine] = [recorded, ours].map(({ body }) => decodeEnvelope(body))
  if (theirs === undefined || mine === undefined || theirs.type !== mine.type) return 'none'
  if (!isMessageType(theirs.type)) return 'none'
  const [before, now] = [theirs, mine].map(({ payload }) =>
    JSON.stringify(decodePayload(mine.type as 'core.fs.request', payload), (_, value) =>
      value instanceof Uint8Array ? toHex(value) : value,
    ),
  )
  if (before === now) return 'alike'
  // A read to the end of a file: ours is as long as ours ever are.
  const bounded = now?.replace(`,"len":${READ_BYTES_MAX}`, '')
  return /"Read":/.test(before ?? '') && before === bounded ? 'alike' : 'none'
}
