/** The server's answers, framed for the wire. */
import type { FileAttributes } from './file-system.ts'
import { frame } from './packets.ts'
import { STATUS, statusText } from './status.ts'
import * as wire from './wire.ts'

/** STATUS, with the generic text unless there is a better one. */
export function statusReply(
  id: number,
  status: number,
  message: string = statusText(status),
): Uint8Array {
  return frame(wire.status.encode({ id, status, message, language: '' }))
}

/** STATUS OK. */
export function okReply(id: number): Uint8Array {
  return statusReply(id, STATUS.OK)
}

/** HANDLE. */
export function handleReply(id: number, handle: Uint8Array): Uint8Array {
  return frame(wire.handle.encode({ id, handle }))
}

/** ATTRS. */
export function attrsReply(id: number, attributes: FileAttributes): Uint8Array {
  return frame(wire.attrs.encode({ id, attributes }))
}

/** NAME. */
export function nameReply(id: number, entries: readonly wire.NameEntry[]): Uint8Array {
  return frame(wire.name.encode({ id, entries }))
}

/** The answer to REALPATH and READLINK: a name about which nothing else is said. */
export function pathReply(id: number, path: string): Uint8Array {
  return nameReply(id, [{ name: path, longname: path, attributes: {} }])
}

/** EXTENDED_REPLY. */
export function extendedReply(id: number, data: Uint8Array): Uint8Array {
  return frame(wire.extendedReply.encode({ id, data }))
}
