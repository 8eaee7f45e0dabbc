// Replays recorded requests against our guest and compares what it says with what the real agent
// said, frame by frame. What varies by run is masked on both sides; nothing else is.

import { memoryPair, type Transport } from '@sandbox-ssh/protocol'
import { encodeFrame, type Frame, FrameDecoder, readUint32 } from '../../src/agent/frame.ts'
import { decodeItem, encodeItem } from '../../src/agent/payload.ts'
import type { GuestAgent } from '../../src/guest/agent.ts'
import { fromHex, type Line } from '../recorded.ts'

/** One thing the guest said; stream chunks that follow each other are joined. */
export interface Word {
  readonly id: number
  readonly flags: number
  readonly type: string
  readonly payload: unknown
}

/** Rewrites a decoded payload on its way in or out. */
export type Rewrite = (value: unknown, type: string) => unknown

const STREAMS = new Set(['core.exec.stdout', 'core.exec.stderr', 'core.fs.data', 'core.tcp.data'])

/** A relay client that knows nothing of the protocol but frames. */
export class RawClient {
  readonly words: Word[] = []
  readonly #transport: Transport
  readonly #decoder = new FrameDecoder()
  readonly #waiting = new Set<() => void>()
  idMin = 0
  idMax = 0
  ended = false

  private constructor(transport: Transport) {
    this.#transport = transport
  }

  static async connect(guest: GuestAgent): Promise<RawClient> {
    const [ours, theirs] = memoryPair()
    void guest.serve(theirs)
    return RawClient.over(ours)
  }

  static async over(transport: Transport): Promise<RawClient> {
    const client = new RawClient(transport)
    void client.#pump()
    await client.until(() => client.idMax !== 0 || client.ended)
    await client.until(() => client.words.length > 0 || client.ended)
    client.words.length = 0
    return client
  }

  async send(bytes: Uint8Array): Promise<void> {
    await this.#transport.write(bytes)
  }

  leave(): void {
    this.#transport.abort()
  }

  /** Waits for a condition on what has come, looking again whenever something comes. */
  async until(condition: () => boolean, ms = 5000): Promise<boolean> {
    const deadline = Date.now() + ms
    while (!condition()) {
      const left = deadline - Date.now()
      if (left <= 0) return false
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#waiting.add(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
    return true
  }

  /** Takes the words said so far. */
  take(): Word[] {
    return joinStreams(this.words.splice(0))
  }

  async #pump(): Promise<void> {
    for (;;) {
      const chunk = await this.#transport.read().catch(() => undefined)
      if (chunk === undefined) break
      this.#decoder.push(chunk)
      if (this.idMax === 0) {
        const preamble = this.#decoder.takeRaw(8)
        if (preamble === undefined) continue
        this.idMin = readUint32(preamble, 0)
        this.idMax = readUint32(preamble, 4)
      }
      for (let frame = this.#decoder.next(); frame; frame = this.#decoder.next()) {
        this.words.push(wordOf(frame))
      }
      this.#wake()
    }
    this.ended = true
    this.#wake()
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) {
      this.#waiting.delete(wake)
      wake()
    }
  }
}

/** Decodes a frame without the message table. */
export function wordOf(frame: Frame): Word {
  const { t: type, p } = plain(decodeItem(frame.body)) as { t: string; p: Uint8Array }
  return { id: frame.id, flags: frame.flags, type, payload: plain(decodeItem(p)) }
}

/** Sends the client's lines of a case, in order with the answers, and returns both transcripts. */
export async function replay(
  client: RawClient,
  lines: readonly Line[],
  inward: Rewrite,
): Promise<{ expected: Word[]; actual: Word[] }> {
  const expected: Word[] = []
  for (const line of lines) {
    if (line.hex === undefined) {
      // Too long to be recorded whole: it is waited for, and compared by the caller if at all.
      const type = line.type ?? ''
      if (line.dir === 'guest') expected.push({ id: -1, flags: 0, type, payload: undefined })
      continue
    }
    const frame = frameOf(fromHex(line.hex))
    if (line.dir === 'guest') {
      if (frame.id !== 0) expected.push(wordOf(frame))
      continue
    }
    if (line.dir !== 'client') continue
    await arrived(client, expected)
    await client.send(rewritten(frame, inward))
  }
  await arrived(client, expected)
  return { expected: joinStreams(expected), actual: client.take() }
}

function frameOf(bytes: Uint8Array): Frame {
  const decoder = new FrameDecoder()
  decoder.push(bytes)
  const frame = decoder.next()
  if (frame === undefined) throw new Error('not a whole frame')
  return frame
}

/** Waits until as much was said as the agent had said by then. */
async function arrived(client: RawClient, expected: readonly Word[]): Promise<void> {
  const wanted = measure(expected)
  // Whatever the size of a stream, it is over when the message behind it is here.
  const last = expected.at(-1)
  const bytes = last !== undefined && STREAMS.has(last.type) ? wanted.bytes : 0
  await client.until(() => {
    const got = measure(client.words)
    return client.ended || (got.messages >= wanted.messages && got.bytes >= bytes)
  })
}

function measure(words: readonly Word[]): { messages: number; bytes: number } {
  let messages = 0
  let bytes = 0
  for (const { type, payload } of words) {
    if (STREAMS.has(type)) bytes += dataOf(payload).length
    else messages++
  }
  return { messages, bytes }
}

function dataOf(payload: unknown): Uint8Array {
  return (payload as { data: Uint8Array } | undefined)?.data ?? new Uint8Array(0)
}

/** Joins what follows each other on one stream; where a stream is cut means nothing. */
function joinStreams(words: readonly Word[]): Word[] {
  const result: Word[] = []
  for (const word of words) {
    const last = result.at(-1)
    if (
      last !== undefined &&
      STREAMS.has(word.type) &&
      last.type === word.type &&
      last.id === word.id
    ) {
      const data = Buffer.concat([dataOf(last.payload), dataOf(word.payload)])
      result[result.length - 1] = { ...word, payload: { data: new Uint8Array(data) } }
    } else {
      result.push(word)
    }
  }
  return result
}

function rewritten(frame: Frame, rewrite: Rewrite): Uint8Array {
  const { v, t, p } = plain(decodeItem(frame.body)) as { v: number; t: string; p: Uint8Array }
  let payload: Uint8Array
  try {
    payload = encodeItem(rewrite(plain(decodeItem(p)), t))
  } catch {
    // Broken on purpose.
    payload = p
  }
  const body = encodeItem(
    new Map<string, unknown>([
      ['v', v],
      ['t', t],
      ['p', payload],
    ]),
  )
  return encodeFrame(frame.id, frame.flags, body)
}

/** Maps as objects, for looking at and comparing. */
export function plain(value: unknown): unknown {
  if (value instanceof Map) {
    return Object.fromEntries([...value].map(([key, each]) => [key, plain(each)]))
  }
  return Array.isArray(value) ? value.map(plain) : value
}

/** Applies `change` to every string inside. */
export function mapStrings(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((each) => mapStrings(each, change))
  if (value instanceof Uint8Array || value === null || typeof value !== 'object') return value
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [key, mapStrings(each, change)]),
  )
}
