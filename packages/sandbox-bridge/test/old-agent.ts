// An agent of an older generation: a real guest that says so, and that dies of what such an agent
// does not know, as the real ones do.

import { memoryPair, type Transport } from '@sandbox-ssh/protocol'
import { decodeEnvelope } from '../src/agent/envelope.ts'
import { FrameDecoder, readUint32, writeUint32 } from '../src/agent/frame.ts'
import { isMessageType, messages } from '../src/agent/messages.ts'
import { guestAgent } from '../src/guest/agent.ts'

/** The older of the two relays gave one word, and more ids to each of fewer clients. */
export type RelayKind = 'current' | 'legacy'

/** Of the guest behind it, whose ranges are those of today. */
const STEP = 33_554_431
const LEGACY_STEP = 268_435_455

/** One agent, any number of clients. */
export class OldAgent {
  /** What it would have died of. */
  readonly deaths: string[] = []
  /** Types that were asked for. */
  readonly asked = new Set<string>()
  readonly #agent = guestAgent({ features: [], env: { PATH: process.env['PATH'] } })
  readonly #generation: number
  readonly #kind: RelayKind

  constructor(generation: number, kind: RelayKind = 'current') {
    this.#generation = generation
    this.#kind = kind
  }

  /** A connection of its relay. */
  dial(): Transport {
    const [ours, guest] = memoryPair()
    const [outer, client] = memoryPair()
    void this.#agent.serve(guest)
    const ids = new Ids()
    void this.#outward(ours, outer, ids)
    void this.#inward(outer, ours, ids)
    return client
  }

  async #outward(guest: Transport, client: Transport, ids: Ids): Promise<void> {
    const decoder = new FrameDecoder()
    let isGreeted = false
    for (;;) {
      const chunk = await guest.read().catch(() => undefined)
      if (chunk === undefined) break
      decoder.push(chunk)
      if (ids.first === undefined) {
        const preamble = decoder.takeRaw(8)
        if (preamble === undefined) continue
        ids.first = readUint32(preamble, 0)
        if (this.#kind === 'legacy') await client.write(new Uint8Array(4))
        else await client.write(preamble)
      }
      for (let frame = decoder.next(); frame; frame = decoder.next()) {
        const bytes = frame.bytes.slice()
        if (isGreeted) writeUint32(bytes, 4, ids.outward(frame.id))
        else bytes[12] = this.#generation
        isGreeted = true
        await client.write(bytes).catch(() => {})
      }
    }
    client.close().catch(() => {})
  }

  async #inward(client: Transport, guest: Transport, ids: Ids): Promise<void> {
    const decoder = new FrameDecoder()
    for (;;) {
      const chunk = await client.read().catch(() => undefined)
      if (chunk === undefined) break
      decoder.push(chunk)
      for (let frame = decoder.next(); frame; frame = decoder.next()) {
        const bytes = frame.bytes.slice()
        const { type, generation } = decodeEnvelope(frame.body)
        this.#judge(type, generation, frame.id, ids.first ?? 0)
        if (this.#kind === 'legacy') {
          writeUint32(bytes, 4, ids.inward(frame.id))
          bytes[12] = 7
        }
        if (this.deaths.length > 0) {
          client.abort()
          break
        }
        await guest.write(bytes).catch(() => {})
      }
    }
    guest.close().catch(() => {})
  }

  #judge(type: string, stamp: number, id: number, first: number): void {
    this.asked.add(type)
    if (!isMessageType(type) || messages[type].generation > this.#generation) {
      this.deaths.push(`${type} at generation ${this.#generation}`)
    }
    if (stamp !== (this.#kind === 'legacy' ? 1 : 7)) this.deaths.push(`stamp ${stamp}`)
    const [low, high] = this.#kind === 'legacy' ? [1, LEGACY_STEP] : [first, first + STEP - 1]
    if (id < low || id >= high) this.deaths.push(`id ${id}`)
  }
}

/** A legacy client's ids as those of a range that is smaller. */
class Ids {
  first: number | undefined
  readonly #inner = new Map<number, number>()
  readonly #outer = new Map<number, number>()

  inward(id: number): number {
    const known = this.#inner.get(id)
    if (known !== undefined) return known
    const inner = (this.first ?? 1) + this.#inner.size
    this.#inner.set(id, inner)
    this.#outer.set(inner, id)
    return inner
  }

  outward(id: number): number {
    return this.#outer.get(id) ?? id
  }
}
