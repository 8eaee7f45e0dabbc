// An agent that says what a test tells it to: for generations, relays and answers of which no
// program is at hand. What it is sent it decodes strictly, with flags, so a wrong frame fails.

import { memoryPair, type Transport } from '@sandbox-ssh/protocol'
import { decodeEnvelope, decodePayload, encodeMessage } from '../../src/agent/envelope.ts'
import { FrameDecoder, writeUint32 } from '../../src/agent/frame.ts'
import {
  isMessageType,
  type Message,
  type MessageType,
  messages,
  type Payloads,
  type Ready,
} from '../../src/agent/messages.ts'

/** What the agent is, and what it answers. */
export interface Script {
  readonly generation?: number
  readonly ready?: Partial<Ready>
  /** First and last-but-one id; the second slot of a relay if absent. */
  readonly ids?: readonly [number, number]
  /** Speak as relays did before 0.5, with this offset. */
  readonly legacyOffset?: number
  /** Called for each message, in order. */
  readonly on?: (message: Message, agent: ScriptedAgent) => void
}

/** The agent's end of a connection. */
export class ScriptedAgent {
  /** All messages so far. */
  readonly received: Message[] = []
  /** Generations stamped on them. */
  readonly stamps = new Set<number>()
  /** What was wrong with a frame, for the test to look at. */
  failure: unknown
  readonly #transport: Transport
  readonly #script: Script
  readonly #waiting = new Set<() => void>()

  private constructor(transport: Transport, script: Script) {
    this.#transport = transport
    this.#script = script
  }

  /** Starts one; the transport is the client's. */
  static start(script: Script = {}): [ScriptedAgent, Transport] {
    const [ours, theirs] = memoryPair({ capacityBytes: 64 * 1024 * 1024 })
    const agent = new ScriptedAgent(ours, script)
    void agent.#run()
    return [agent, theirs]
  }

  say<T extends MessageType>(id: number, type: T, payload: Payloads[T]): void {
    this.raw(encodeMessage(id, type, payload, this.#script.generation ?? 7))
  }

  raw(bytes: Uint8Array): void {
    this.#transport.write(bytes).catch(() => {})
  }

  end(): void {
    void this.#transport.close()
  }

  /** Resolves with the first message that fits, past or to come. */
  async next<T extends MessageType>(
    type: T,
    fits: (message: Extract<Message, { type: T }>) => boolean = () => true,
  ): Promise<Extract<Message, { type: T }>> {
    for (;;) {
      for (const message of this.received) {
        // `type` is compared, which narrows the union to what is asked for.
        const found = message as Extract<Message, { type: T }>
        if (message.type === type && fits(found)) return found
      }
      if (this.failure !== undefined) throw this.failure
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
  }

  /** How many messages of a type came. */
  count(type: MessageType): number {
    return this.received.filter((message) => message.type === type).length
  }

  async #run(): Promise<void> {
    try {
      this.raw(prologue(this.#script))
      const decoder = new FrameDecoder()
      for (;;) {
        const chunk = await this.#transport.read()
        if (chunk === undefined) break
        decoder.push(chunk)
        for (let frame = decoder.next(); frame; frame = decoder.next()) {
          const { type, payload, generation } = decodeEnvelope(frame.body)
          if (!isMessageType(type)) throw new Error(`unknown type ${type}: the agent would die`)
          if (frame.flags !== messages[type].flags) throw new Error(`flags of ${type}`)
          if (frame.bytes.length > 1024 * 1024) throw new Error('frame over 1 MiB')
          this.stamps.add(generation)
          const message = { id: frame.id, type, payload: decodePayload(type, payload) } as Message
          this.received.push(message)
          this.#script.on?.(message, this)
          this.#wake()
        }
      }
    } catch (error) {
      this.failure = error
    }
    this.end()
    this.#wake()
  }

  #wake(): void {
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
  }
}

function prologue(script: Script): Uint8Array {
  const { generation = 7, ids = [33_554_432, 67_108_862], legacyOffset } = script
  const ready = encodeMessage(
    0,
    'core.ready',
    { boot_time_ns: 1, init_time_ns: 2, ready_time_ns: 3, ...script.ready },
    generation,
  )
  const words = new Uint8Array(legacyOffset === undefined ? 8 : 4)
  writeUint32(words, 0, legacyOffset ?? ids[0])
  if (legacyOffset === undefined) writeUint32(words, 4, ids[1])
  return new Uint8Array(Buffer.concat([words, ready]))
}
