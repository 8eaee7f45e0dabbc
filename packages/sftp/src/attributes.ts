/** File attributes on the wire, and as the `ls -l` line that goes with a name. Draft 02 §5, §7. */
import type { Field, Reader, Writer } from '@sandbox-ssh/protocol'
import { SshError } from '@sandbox-ssh/protocol'
import { type AttributeChanges, FILE_TYPE, type FileAttributes } from './file-system.ts'
import { encodePath } from './path.ts'

/** SSH_FILEXFER_ATTR_ bits. */
export const ATTR = {
  SIZE: 0x1,
  UIDGID: 0x2,
  PERMISSIONS: 0x4,
  ACMODTIME: 0x8,
  EXTENDED: 0x80000000,
} as const

const UINT32_MAX = 0xffffffff

/** A byte count or file position: uint64 on the wire, rounded above 2^53. */
export const position: Field<number> = {
  read: (reader) => reader.uint32() * 2 ** 32 + reader.uint32(),
  write: (writer, value) => writer.uint32(Math.floor(value / 2 ** 32)).uint32(value % 2 ** 32),
}

/** ATTRS. Pairs of which one half is missing are not sent; extended attributes are skipped. */
export const attributes: Field<FileAttributes> = { read: readAttributes, write: writeAttributes }

function readAttributes(reader: Reader): FileAttributes {
  const flags = reader.uint32()
  const result: { -readonly [K in keyof FileAttributes]: FileAttributes[K] } = {}
  if (flags & ATTR.SIZE) result.size = position.read(reader)
  if (flags & ATTR.UIDGID) {
    result.uid = reader.uint32()
    result.gid = reader.uint32()
  }
  if (flags & ATTR.PERMISSIONS) result.mode = reader.uint32()
  if (flags & ATTR.ACMODTIME) {
    result.atime = reader.uint32()
    result.mtime = reader.uint32()
  }
  if (flags & ATTR.EXTENDED) {
    const count = reader.uint32()
    // Each pair takes eight bytes at least, so a count that lies is found before looping over it.
    if (count > reader.remaining / 8) {
      throw new SshError('SSH_PROTOCOL', `malformed message: ${count} extended attributes`)
    }
    for (let i = 0; i < count; i++) {
      reader.string()
      reader.string()
    }
  }
  return result
}

function writeAttributes(writer: Writer, value: FileAttributes | AttributeChanges): void {
  const { size, uid, gid, mode, atime, mtime } = value
  const owner = uid !== undefined && gid !== undefined
  const times = atime !== undefined && mtime !== undefined
  let flags = 0
  if (size !== undefined) flags |= ATTR.SIZE
  if (owner) flags |= ATTR.UIDGID
  if (mode !== undefined) flags |= ATTR.PERMISSIONS
  if (times) flags |= ATTR.ACMODTIME
  writer.uint32(flags)
  if (size !== undefined) position.write(writer, size)
  if (owner) writer.uint32(uid).uint32(gid)
  if (mode !== undefined) writer.uint32(mode)
  if (times) writer.uint32(seconds(atime)).uint32(seconds(mtime))
}

/** Whole seconds within what version 3 can say: 1970 to 2106. */
function seconds(time: number): number {
  return Math.min(UINT32_MAX, Math.max(0, Math.floor(time)))
}

const TYPE_LETTERS: ReadonlyMap<number, string> = new Map([
  [FILE_TYPE.FILE, '-'],
  [FILE_TYPE.DIRECTORY, 'd'],
  [FILE_TYPE.SYMLINK, 'l'],
  [FILE_TYPE.CHARACTER_DEVICE, 'c'],
  [FILE_TYPE.BLOCK_DEVICE, 'b'],
  [FILE_TYPE.FIFO, 'p'],
  [FILE_TYPE.SOCKET, 's'],
])

/** `drwxr-xr-x` and the like, as strmode(3) writes it. */
export function modeString(mode: number): string {
  const type = TYPE_LETTERS.get(mode & FILE_TYPE.MASK) ?? '?'
  return (
    type +
    permissions(mode >> 6, mode & 0o4000, 's') +
    permissions(mode >> 3, mode & 0o2000, 's') +
    permissions(mode, mode & 0o1000, 't')
  )
}

/** `special` is set-uid, set-gid or sticky: a small letter with execution, a capital without. */
function permissions(bits: number, special: number, letter: string): string {
  const execute = bits & 1 ? (special ? letter : 'x') : special ? letter.toUpperCase() : '-'
  return (bits & 4 ? 'r' : '-') + (bits & 2 ? 'w' : '-') + execute
}

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ')
const HALF_A_YEAR = (365 * 24 * 60 * 60) / 2

/** Owner names for a `longName`; ids stand in where they are unknown. */
export interface OwnerNames {
  readonly user?: string | undefined
  readonly group?: string | undefined
}

/**
 * The line `ls -l` would print, as sftp-server words it: clients show it to people, and some parse it.
 * The time is local; a year stands for the hour when it is more than half a year from `nowSeconds`.
 */
export function longName(
  name: string,
  value: FileAttributes,
  nowSeconds: number,
  owner: OwnerNames = {},
): string {
  const links = value.linkCount === undefined ? '?' : String(value.linkCount)
  const user = owner.user ?? String(value.uid ?? '?')
  const group = owner.group ?? String(value.gid ?? '?')
  const size = String(value.size ?? 0)
  return [
    modeString(value.mode ?? 0),
    links.padStart(3),
    user.padEnd(8),
    group.padEnd(8),
    size.padStart(8),
    value.mtime === undefined ? '' : listTime(value.mtime, nowSeconds),
    name,
  ].join(' ')
}

function listTime(mtime: number, nowSeconds: number): string {
  const date = new Date(mtime * 1000)
  const day = `${MONTHS[date.getMonth()] ?? '???'} ${String(date.getDate()).padStart(2)}`
  if (nowSeconds - mtime >= HALF_A_YEAR) return `${day}  ${date.getFullYear()}`
  return `${day} ${twoDigits(date.getHours())}:${twoDigits(date.getMinutes())}`
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0')
}

/** Bytes one entry of a NAME reply takes at most, to stop before a packet grows too long. */
export function entryBytes(name: string, longname: string): number {
  return 4 + encodePath(name).length + 4 + encodePath(longname).length + 32
}
