/** The key sequence that leaves an interactive session, as microsandbox writes and matches it. */

/** Ctrl-]. */
export const DEFAULT_DETACH_KEYS = 'ctrl-]'

/** Longest sequence; nobody types more. */
const KEYS_MAX = 64

/** What is written is no sequence of keys. */
export class DetachKeysError extends RangeError {}

/**
 * Reads a sequence: parts separated by commas, each `ctrl-X` (X a letter or one of `@[\]^_`) or
 * one single-byte character; blanks around parts are ignored.
 * @throws RangeError `invalid config: invalid detach key: …`
 *
 * @example
 * import { DEFAULT_DETACH_KEYS, parseDetachKeys } from '@sandbox-ssh/sandbox-bridge'
 *
 * console.log(parseDetachKeys('ctrl-p,q'), DEFAULT_DETACH_KEYS) // Uint8Array(2) [ 16, 113 ] ctrl-]
 */
export function parseDetachKeys(text: string): Uint8Array {
  const parts = text.split(',').map((part) => part.trim())
  if (parts.length > KEYS_MAX) throw new DetachKeysError('invalid config: too many detach keys')
  return Uint8Array.from(parts, parsePart)
}

/** What a piece of input holds with regard to the sequence. */
export interface DetachMatch {
  /** What goes to the remote side. */
  readonly forward: Uint8Array
  /** True if the sequence was completed; what follows it in the piece is dropped. */
  readonly detached: boolean
}

/**
 * Looks for the sequence in input, byte by byte across pieces. Bytes of a match that may still
 * fail are forwarded as typed, or the remote side would lag a key behind; bytes before the
 * sequence are forwarded too.
 */
export class DetachMatcher {
  readonly #keys: Uint8Array
  #matched = 0

  constructor(keys: Uint8Array) {
    if (keys.length === 0) throw new RangeError('keys: a sequence has at least one byte')
    this.#keys = keys
  }

  /** Takes the next piece of input; `forward` is a view of it. */
  push(piece: Uint8Array): DetachMatch {
    for (const [index, byte] of piece.entries()) {
      if (byte === this.#keys[this.#matched]) this.#matched++
      else this.#matched = byte === this.#keys[0] ? 1 : 0
      if (this.#matched === this.#keys.length) {
        const start = Math.max(0, index + 1 - this.#keys.length)
        this.#matched = 0
        return { forward: piece.subarray(0, start), detached: true }
      }
    }
    return { forward: piece, detached: false }
  }
}

function parsePart(part: string): number {
  const control = /^ctrl-(.+)$/s.exec(part)?.[1]
  if (control !== undefined) {
    if (/^[a-z]$/i.test(control)) return control.toUpperCase().charCodeAt(0) - 0x40
    if (/^[@[\\\]^_]$/.test(control)) return control.charCodeAt(0) - 0x40
  } else if (part.length === 1 && part.charCodeAt(0) < 0x80) {
    return part.charCodeAt(0)
  }
  throw new DetachKeysError(`invalid config: invalid detach key: ${part}`)
}
