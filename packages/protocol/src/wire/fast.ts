/**
 * The data plane, written and read in place: what the declarative twins in `connection.ts` do, ten
 * times faster for 32 KiB of data, because nothing is copied on the way. Tested equal to them.
 */
import { SshError } from '../errors.ts'
import { MSG } from './numbers.ts'

/** Bytes of CHANNEL_DATA before the data. */
export const CHANNEL_DATA_HEADER_BYTES: number = 9
/** Bytes of CHANNEL_EXTENDED_DATA before the data. */
export const CHANNEL_EXTENDED_DATA_HEADER_BYTES: number = 13

/** Writes CHANNEL_DATA, or CHANNEL_EXTENDED_DATA if `extended` is not 0, at `at` of `target`. */
export function writeChannelData(
  target: Uint8Array,
  at: number,
  recipientChannel: number,
  extended: number,
  data: Uint8Array,
): void {
  if (extended === 0) {
    target[at] = MSG.CHANNEL_DATA
    putUint32(target, at + 1, recipientChannel)
    putUint32(target, at + 5, data.length)
    target.set(data, at + 9)
  } else {
    target[at] = MSG.CHANNEL_EXTENDED_DATA
    putUint32(target, at + 1, recipientChannel)
    putUint32(target, at + 5, extended)
    putUint32(target, at + 9, data.length)
    target.set(data, at + 13)
  }
}

/** Writes a big-endian uint32. */
export function putUint32(target: Uint8Array, at: number, value: number): void {
  target[at] = value >>> 24
  target[at + 1] = value >>> 16
  target[at + 2] = value >>> 8
  target[at + 3] = value
}

/** Reads a big-endian uint32; the caller has checked that four bytes are there. */
export function getUint32(source: Uint8Array, at: number): number {
  return (
    ((source[at]! << 24) | (source[at + 1]! << 16) | (source[at + 2]! << 8) | source[at + 3]!) >>> 0
  )
}

/** The recipient of any channel message, which is its first field. Throws `SSH_PROTOCOL`. */
export function recipientOf(payload: Uint8Array): number {
  if (payload.length < 5) throw new SshError('SSH_PROTOCOL', 'malformed message: no channel number')
  return getUint32(payload, 1)
}

/** The data of CHANNEL_DATA (`header` 9) or CHANNEL_EXTENDED_DATA (13), as a view. */
export function dataOf(payload: Uint8Array, header: number): Uint8Array {
  if (payload.length < header || getUint32(payload, header - 4) !== payload.length - header) {
    throw new SshError('SSH_PROTOCOL', 'malformed message: channel data of the wrong length')
  }
  return payload.subarray(header)
}
