/**
 * Compression, RFC 4253 §6.2. `none` is in `modern`; `zlib@openssh.com` comes from the entry
 * `@sandbox-ssh/protocol/compression`, so that who does not use it does not carry it. Compressing
 * next to secrets can leak them by length, which is why it starts only after authentication, and why
 * it is nobody's default.
 *
 * @example
 * import type { Algorithms } from '@sandbox-ssh/protocol'
 * import { zlibOpenssh } from '@sandbox-ssh/protocol/compression'
 *
 * const algorithms = (modern: Algorithms): Algorithms => ({
 *   ...modern,
 *   compression: [zlibOpenssh, ...modern.compression],
 * })
 * const client = await pair({ algorithms }, { algorithms })
 * console.log(client.negotiated.compressionOut) // zlib@openssh.com
 */
import { Deflate, Inflate } from 'pako'
import { SshError } from '../errors.ts'
import { PACKET_BYTES_MAX } from '../limits.ts'
import type { CompressionSpec } from './spec.ts'

const Z_PARTIAL_FLUSH = 1
const Z_SYNC_FLUSH = 2
/** Pieces that inflate hands out, and so the most that a bomb makes us hold past the bound. */
const PIECE_BYTES = 64 * 1024

/** `zlib@openssh.com`: RFC 1950 streams, one per direction and set of keys, after authentication. */
export const zlibOpenssh: CompressionSpec = {
  name: 'zlib@openssh.com',
  compressor() {
    let pieces: Uint8Array[] = []
    const stream = new Deflate({ level: 6, chunkSize: PIECE_BYTES })
    stream.onData = (piece) => {
      pieces.push(piece as Uint8Array)
    }
    return (payload) => {
      pieces = []
      stream.push(payload, Z_PARTIAL_FLUSH)
      return joined(pieces)
    }
  },
  decompressor() {
    let pieces: Uint8Array[] = []
    let length = 0
    const stream = new Inflate({ chunkSize: PIECE_BYTES })
    stream.onData = (piece) => {
      length += piece.length
      // Thrown through inflate's loop, which is what stops a bomb.
      if (length > PACKET_BYTES_MAX) {
        throw new SshError('SSH_LIMIT', `a packet inflates to over ${PACKET_BYTES_MAX} bytes`)
      }
      pieces.push(piece as Uint8Array)
    }
    return (payload) => {
      pieces = []
      length = 0
      stream.push(payload, Z_SYNC_FLUSH)
      if (stream.err !== 0 || stream.ended) {
        throw new SshError('SSH_PROTOCOL', 'a packet whose compressed data is broken')
      }
      return joined(pieces)
    }
  },
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const [only] = pieces
  if (only !== undefined && pieces.length === 1) return only
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}
