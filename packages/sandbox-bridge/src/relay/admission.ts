/** Which frames of a client may reach an agent that a wrong one kills. */
import { decodeEnvelope, decodePayload } from '../agent/envelope.ts'
import { FRAME_LENGTH_MAX, type Frame, SHUTDOWN } from '../agent/frame.ts'
import { GENERATION, isMessageType, type MessageType, messages } from '../agent/messages.ts'

/**
 * The longest frame that goes to an agent: it reads up to 64 KiB at once into a buffer that holds
 * one frame of 4 MiB, and exits when a next one behind it overflows that.
 */
export const RELAYED_FRAME_BYTES_MAX: number = FRAME_LENGTH_MAX - 64 * 1024

/** First generation that answers a bad message with `core.error` instead of exiting. */
const TOLERANT_GENERATION = 5

/** What to do with a frame: pass it on, pass over it, or drop its client for the reason given. */
export type Verdict =
  | { readonly kind: 'pass'; readonly type: string }
  | { readonly kind: 'skip' }
  | { readonly kind: 'drop'; readonly why: string }

/** Judges a frame of a client with the ids `idMin` up to `idMax` (exclusive). */
export function judge(
  frame: Frame,
  ids: { readonly idMin: number; readonly idMax: number },
  generation: number,
): Verdict {
  if (frame.bytes.length > RELAYED_FRAME_BYTES_MAX) return drop('a frame that is too long')
  const isShutdown = frame.id === 0 && (frame.flags & SHUTDOWN) !== 0
  if (!isShutdown && (frame.id < ids.idMin || frame.id >= ids.idMax)) {
    return drop(`id ${frame.id}, which is not its own`)
  }
  let envelope: ReturnType<typeof decodeEnvelope>
  try {
    envelope = decodeEnvelope(frame.body)
  } catch {
    return drop('a frame without an envelope')
  }
  const { type } = envelope
  if (!isMessageType(type)) {
    // An agent newer than we are may have types that we cannot know.
    return generation > GENERATION ? { kind: 'pass', type } : drop('a message of an unknown type')
  }
  const spec = messages[type]
  if (spec.generation > generation) return drop(`${type}, which this agent does not know`)
  if (spec.from === 'relay') return drop(`${type}, which is the relay's to say`)
  if (spec.from === 'guest') return { kind: 'skip' }
  if (isShutdown && type !== 'core.shutdown') return drop('id 0')
  const tolerant = envelope.generation >= TOLERANT_GENERATION && generation >= TOLERANT_GENERATION
  if (tolerant || isSound(frame, type, envelope.payload)) return { kind: 'pass', type }
  return drop(`a broken ${type}`)
}

function isSound(frame: Frame, type: MessageType, payload: Uint8Array): boolean {
  if (frame.flags !== messages[type].flags) return false
  try {
    decodePayload(type, payload)
    return true
  } catch {
    return false
  }
}

function drop(why: string): Verdict {
  return { kind: 'drop', why }
}
