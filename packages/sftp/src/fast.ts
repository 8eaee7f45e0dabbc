/**
 * READ, WRITE and DATA by hand. A frame (length field included) is laid out once, with room for the
 * data where it will be sent from, so that files are read straight into packets and nothing is
 * copied on the way. Each function is tested equal to its declarative twin in `wire.ts`.
 */
import { SshError } from '@sandbox-ssh/protocol'
import type { BufferPool } from './buffers.ts'
import type { Data, Read, Write } from './wire.ts'
import { FXP } from './wire.ts'

/** Length field, type, id, length of the data. */
const DATA_HEADER_BYTES = 4 + 1 + 4 + 4

/** A frame under construction: put up to `body.length` bytes into `body`, then seal it. */
export interface Draft {
  readonly frame: Uint8Array
  readonly body: Uint8Array
}

/** Room for a DATA reply of up to `capacity` bytes. */
export function draftData(capacity: number, buffers: BufferPool): Draft {
  const frame = buffers.take(DATA_HEADER_BYTES + capacity)
  return { frame, body: frame.subarray(DATA_HEADER_BYTES) }
}

/** The finished DATA frame carrying the first `length` bytes of the body. */
export function sealData(draft: Draft, id: number, length: number): Uint8Array {
  const { frame } = draft
  putUint32(frame, 0, 1 + 4 + 4 + length)
  frame[4] = FXP.DATA
  putUint32(frame, 5, id)
  putUint32(frame, 9, length)
  return frame.subarray(0, DATA_HEADER_BYTES + length)
}

/** Room for a WRITE request to `handle` of up to `capacity` bytes. */
export function draftWrite(handle: Uint8Array, capacity: number, buffers: BufferPool): Draft {
  const header = 4 + 1 + 4 + 4 + handle.length + 8 + 4
  const frame = buffers.take(header + capacity)
  frame[4] = FXP.WRITE
  putUint32(frame, 9, handle.length)
  frame.set(handle, 13)
  return { frame, body: frame.subarray(header) }
}

/** The finished WRITE frame carrying the first `length` bytes of the body. */
export function sealWrite(draft: Draft, id: number, position: number, length: number): Uint8Array {
  const { frame, body } = draft
  const header = frame.length - body.length
  putUint32(frame, 0, header - 4 + length)
  putUint32(frame, 5, id)
  putPosition(frame, header - 12, position)
  putUint32(frame, header - 4, length)
  return frame.subarray(0, header + length)
}

/** A finished READ frame. */
export function encodeRead(
  id: number,
  handle: Uint8Array,
  position: number,
  length: number,
): Uint8Array {
  const frame = new Uint8Array(4 + 1 + 4 + 4 + handle.length + 8 + 4)
  putUint32(frame, 0, frame.length - 4)
  frame[4] = FXP.READ
  putUint32(frame, 5, id)
  putUint32(frame, 9, handle.length)
  frame.set(handle, 13)
  putPosition(frame, frame.length - 12, position)
  putUint32(frame, frame.length - 4, length)
  return frame
}

/** Reads a READ packet (without length field). Throws SshError `SSH_PROTOCOL`. */
export function decodeRead(packet: Uint8Array): Read {
  const handleLength = lengthAt(packet, 5, 12)
  const at = 9 + handleLength
  if (packet.length !== at + 12) throw malformed(FXP.READ)
  return {
    id: getUint32(packet, 1),
    handle: packet.subarray(9, at),
    position: getPosition(packet, at),
    length: getUint32(packet, at + 8),
  }
}

/**
 * Reads a WRITE packet (without length field); the data is a view. Throws `SSH_PROTOCOL`. Bytes after
 * the data are ignored, here alone: rclone 1.60 sends its whole buffer after a short read, and as
 * sftp-server puts up with it, there are more of the kind.
 */
export function decodeWrite(packet: Uint8Array): Write {
  const handleLength = lengthAt(packet, 5, 12)
  const at = 9 + handleLength
  const length = lengthAt(packet, at + 8, 0)
  return {
    id: getUint32(packet, 1),
    handle: packet.subarray(9, at),
    position: getPosition(packet, at),
    data: packet.subarray(at + 12, at + 12 + length),
  }
}

/** Reads a DATA packet (without length field); the data is a view. Throws `SSH_PROTOCOL`. */
export function decodeData(packet: Uint8Array): Data {
  const length = lengthAt(packet, 5, 0)
  if (packet.length !== 9 + length) throw malformed(FXP.DATA)
  return { id: getUint32(packet, 1), data: packet.subarray(9) }
}

/** Puts a big-endian uint32 at `at`, which the caller has made room for. */
export function putUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24
  bytes[at + 1] = value >>> 16
  bytes[at + 2] = value >>> 8
  bytes[at + 3] = value
}

/** The big-endian uint32 at `at`, which the caller has checked to be inside. */
export function getUint32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
  )
}

function putPosition(bytes: Uint8Array, at: number, value: number): void {
  putUint32(bytes, at, Math.floor(value / 2 ** 32))
  putUint32(bytes, at + 4, value % 2 ** 32)
}

function getPosition(bytes: Uint8Array, at: number): number {
  return getUint32(bytes, at) * 2 ** 32 + getUint32(bytes, at + 4)
}

/** The length at `at`, checked to leave `after` bytes behind the string it announces. */
function lengthAt(packet: Uint8Array, at: number, after: number): number {
  if (packet.length < at + 4) throw malformed(packet[0] ?? 0)
  const length = getUint32(packet, at)
  if (length > packet.length - at - 4 - after) throw malformed(packet[0] ?? 0)
  return length
}

function malformed(type: number): SshError {
  return new SshError('SSH_PROTOCOL', `malformed message: lengths in packet type ${type}`)
}
