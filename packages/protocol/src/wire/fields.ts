/** The field types of RFC 4251 §5, each a pair of reader and writer, to list in `message()`. */
import type { Reader } from './reader.ts'
import type { Writer } from './writer.ts'

/** How one field is read and written. */
export interface Field<T> {
  readonly read: (reader: Reader) => T
  readonly write: (writer: Writer, value: T) => void
}

/** One byte. */
export const uint8: Field<number> = { read: (r) => r.uint8(), write: (w, v) => w.uint8(v) }
/** One byte; 0 is false. */
export const boolean: Field<boolean> = { read: (r) => r.boolean(), write: (w, v) => w.boolean(v) }
/** Big-endian. */
export const uint32: Field<number> = { read: (r) => r.uint32(), write: (w, v) => w.uint32(v) }
/** Big-endian, as a bigint. */
export const uint64: Field<bigint> = { read: (r) => r.uint64(), write: (w, v) => w.uint64(v) }
/** Arbitrary bytes with a length; read as a view. */
export const string: Field<Uint8Array> = { read: (r) => r.string(), write: (w, v) => w.string(v) }
/** Human text. */
export const utf8: Field<string> = { read: (r) => r.utf8(), write: (w, v) => w.string(v) }
/** Human text at the end of a message, which some peers leave out where it would be empty. */
export const lastUtf8: Field<string> = {
  read: (r) => (r.remaining === 0 ? '' : r.utf8()),
  write: (w, v) => w.string(v),
}
/** A registered name. */
export const ascii: Field<string> = { read: (r) => r.ascii(), write: (w, v) => w.string(v) }
export const nameList: Field<readonly string[]> = {
  read: (r) => r.nameList(),
  write: (w, v) => w.nameList(v),
}
/** Magnitude, big-endian, without leading zeros. */
export const mpint: Field<Uint8Array> = { read: (r) => r.mpint(), write: (w, v) => w.mpint(v) }
/** All that follows, without a length. */
export const rest: Field<Uint8Array> = { read: (r) => r.rest(), write: (w, v) => w.bytes(v) }
/**
 * A fixed number of bytes.
 *
 * @example
 * import { fixed, struct } from '@sandbox-ssh/protocol'
 *
 * const cookie = struct<{ readonly cookie: Uint8Array }>({ cookie: fixed(16) })
 * console.log(cookie.encode({ cookie: new Uint8Array(16) }).length) // 16
 */
export function fixed(length: number): Field<Uint8Array> {
  return { read: (r) => r.bytes(length), write: (w, v) => w.bytes(v) }
}
