/**
 * Finding the beginning again on a console. A virtual machine that is reset in the middle of a
 * frame leaves the carrier open, so that the frame never ends; and what was under way to it is met
 * by the next guest, to whom it is no frame at all.
 */
import { decodeEnvelope } from './envelope.ts'
import { type Frame, FrameDecoder } from './frame.ts'
import type { MessageType } from './messages.ts'

/** A pause that no sender makes between two parts of a frame; data cannot imitate it. */
const PAUSE_MS = 250

/** Looks for a peer's first words where the rest of a frame was expected. */
export class RestartSign {
  readonly #type: MessageType
  readonly #now: () => number
  #last: number

  /** `type` is what a peer says first, in one piece and with id 0. */
  constructor(type: MessageType, now: () => number = () => performance.now()) {
    this.#type = type
    this.#now = now
    this.#last = now()
  }

  /** True if the peer has begun anew with this chunk, which the decoder has not been given yet. */
  isGivenBy(chunk: Uint8Array, decoder: FrameDecoder): boolean {
    const now = this.#now()
    const pause = now - this.#last
    this.#last = now
    if (decoder.idle || pause < PAUSE_MS) return false
    const first = new FrameDecoder()
    first.push(chunk)
    try {
      const frame = first.next()
      return frame?.id === 0 && typeOf(frame) === this.#type
    } catch {
      return false
    }
  }
}

/** The wire type of a frame; undefined if it has none. */
export function typeOf(frame: Frame): string | undefined {
  try {
    return decodeEnvelope(frame.body).type
  } catch {
    return undefined
  }
}
