/** The relay's prologue: what a client hears before it says anything. */
import type { Transport } from '@sandbox-ssh/protocol'
import { decodeEnvelope, decodePayload } from './envelope.ts'
import { AgentError } from './error.ts'
import { FRAME_LENGTH_MAX, type FrameDecoder, HEADER_BYTES, readUint32 } from './frame.ts'
import { GENERATION, type Ready } from './messages.ts'
import { PayloadError } from './payload.ts'

/** The range of ids the relay gave us, and the wire's generation. */
export interface Prologue {
  readonly idMin: number
  readonly idMax: number
  /** Stamped on frames: 1 towards a legacy relay. */
  readonly stamp: number
}

/** What the relay told us on connecting. */
export interface Hello {
  readonly prologue: Prologue
  readonly ready: Ready
  readonly generation: number
}

/**
 * Reads the relay's first words: the id range and the guest's `core.ready`, in the current form
 * (two words) or that of relays before 0.5 (one word).
 * @throws AgentError `protocol`, `closed`
 */
export async function handshake(transport: Transport, decoder: FrameDecoder): Promise<Hello> {
  const preamble = await takeRaw(transport, decoder, 8)
  refuseText(preamble)
  const first = readUint32(preamble, 0)
  const second = readUint32(preamble, 4)
  const legacy =
    second >= HEADER_BYTES && second <= FRAME_LENGTH_MAX && (first === 0 || first >= second)
  if (legacy) {
    // Before 0.5: one offset, and the second word is already the ready frame's length.
    const header = await takeRaw(transport, decoder, second)
    const idMax = Math.min(first + LEGACY_STEP, 0xffff_ffff)
    return hello({ idMin: first + 1, idMax, stamp: 1 }, header.subarray(HEADER_BYTES))
  }
  const idMin = Math.max(first, 1)
  if (idMin >= second) {
    throw new AgentError('protocol', `the relay gave an empty id range, ${first} to ${second}`)
  }
  for (;;) {
    const frame = decoder.next()
    if (frame !== undefined) {
      return hello({ idMin, idMax: second, stamp: GENERATION }, frame.body)
    }
    decoder.push(await nextChunk(transport))
  }
}

function hello(prologue: Prologue, body: Uint8Array): Hello {
  try {
    const envelope = decodeEnvelope(body)
    if (envelope.type !== 'core.ready') {
      throw new AgentError('protocol', `the relay began with ${printable(envelope.type)}`)
    }
    const ready = decodePayload('core.ready', envelope.payload)
    if (envelope.generation < 1) throw new AgentError('protocol', 'the agent has no generation')
    return { prologue, ready, generation: envelope.generation }
  } catch (error) {
    if (!(error instanceof PayloadError)) throw error
    throw new AgentError('protocol', `the relay's ready frame is broken: ${error.message}`)
  }
}

/**
 * Words for people come where a command has something to say before it starts, a login shell's
 * greeting for one. No range of ids looks like them.
 * @throws AgentError `protocol`
 */
function refuseText(preamble: Uint8Array): void {
  if (preamble.some((byte) => (byte < 0x20 && byte !== 0x0a && byte !== 0x0d) || byte > 0x7e))
    return
  const text = printable(new TextDecoder('latin1').decode(preamble))
  const message = `what answers does not speak the agent protocol: it began with ${text}`
  throw new AgentError('protocol', message)
}

/** Ids per client of a legacy relay, which has 16 slots. */
const LEGACY_STEP = 268_435_455

async function takeRaw(
  transport: Transport,
  decoder: FrameDecoder,
  count: number,
): Promise<Uint8Array> {
  let heard: Uint8Array | undefined
  for (;;) {
    const bytes = decoder.takeRaw(count)
    if (bytes !== undefined) return bytes
    const chunk = await nextChunk(transport, heard)
    heard ??= chunk
    decoder.push(chunk)
  }
}

/** `heard` is what came so far of the first words, should those have been all. */
async function nextChunk(transport: Transport, heard?: Uint8Array): Promise<Uint8Array> {
  const chunk = await transport.read()
  if (chunk !== undefined) return chunk
  if (heard !== undefined) refuseText(heard)
  // The relay accepts its 129th client and closes it; a sandbox going down looks the same.
  throw new AgentError(
    'closed',
    'the agent relay closed the connection before its handshake; the sandbox may be stopping, or ' +
      'its 128 client connections are all in use',
  )
}

/** A peer's word in an error message: short and without control characters. */
function printable(text: string): string {
  return JSON.stringify(text.slice(0, 64))
}
