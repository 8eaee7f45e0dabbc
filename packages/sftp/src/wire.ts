/**
 * The packets of SFTP version 3 and OpenSSH's extensions, as lists of fields. The length field in
 * front of a packet belongs to `packets.ts`; READ, WRITE and DATA have faster twins in `fast.ts`.
 * draft-ietf-secsh-filexfer-02; OpenSSH PROTOCOL §4.
 */
import {
  ascii,
  type Field,
  type Message,
  message,
  Reader,
  rest,
  SshError,
  type Struct,
  string,
  struct,
  uint32,
  uint64,
  Writer,
} from '@sandbox-ssh/protocol'
import { attributes, position } from './attributes.ts'
import type { FileAttributes, FileSystemStat, OpenFlags } from './file-system.ts'
import { EXTENSIONS_MAX, IDS_MAX, PATH_BYTES_MAX } from './limits.ts'
import { decodePath, encodePath } from './path.ts'

/** Packet types, draft 02 §3. */
export const FXP = {
  INIT: 1,
  VERSION: 2,
  OPEN: 3,
  CLOSE: 4,
  READ: 5,
  WRITE: 6,
  LSTAT: 7,
  FSTAT: 8,
  SETSTAT: 9,
  FSETSTAT: 10,
  OPENDIR: 11,
  READDIR: 12,
  REMOVE: 13,
  MKDIR: 14,
  RMDIR: 15,
  REALPATH: 16,
  STAT: 17,
  RENAME: 18,
  READLINK: 19,
  SYMLINK: 20,
  STATUS: 101,
  HANDLE: 102,
  DATA: 103,
  NAME: 104,
  ATTRS: 105,
  EXTENDED: 200,
  EXTENDED_REPLY: 201,
} as const

/** The version we speak. */
export const VERSION = 3

/** A path: bytes without NUL, which no file system can hold and which ends a C string early. */
const path: Field<string> = {
  read(reader) {
    const bytes = reader.string(PATH_BYTES_MAX)
    if (bytes.includes(0)) throw malformed('a path with a NUL byte')
    return decodePath(bytes)
  },
  write: (writer, value) => writer.string(encodePath(value)),
}

/** Text for people: whatever cannot be decoded is replaced. Some servers leave it out at the end. */
const optionalText: Field<string> = {
  read: (reader) => (reader.remaining === 0 ? '' : reader.utf8()),
  write: (writer, value) => writer.string(value),
}

const OPEN_FLAG = { READ: 1, WRITE: 2, APPEND: 4, CREAT: 8, TRUNC: 16, EXCL: 32 } as const

const openFlags: Field<OpenFlags> = {
  read(reader) {
    const bits = reader.uint32()
    return {
      read: (bits & OPEN_FLAG.READ) !== 0,
      write: (bits & OPEN_FLAG.WRITE) !== 0,
      append: (bits & OPEN_FLAG.APPEND) !== 0,
      create: (bits & OPEN_FLAG.CREAT) !== 0,
      truncate: (bits & OPEN_FLAG.TRUNC) !== 0,
      exclusive: (bits & OPEN_FLAG.EXCL) !== 0,
    }
  },
  write(writer, flags) {
    writer.uint32(
      (flags.read ? OPEN_FLAG.READ : 0) |
        (flags.write ? OPEN_FLAG.WRITE : 0) |
        (flags.append ? OPEN_FLAG.APPEND : 0) |
        (flags.create ? OPEN_FLAG.CREAT : 0) |
        (flags.truncate ? OPEN_FLAG.TRUNC : 0) |
        (flags.exclusive ? OPEN_FLAG.EXCL : 0),
    )
  },
}

/** Extension names with their data, to the end of the packet. */
const extensions: Field<ReadonlyMap<string, string>> = {
  read(reader) {
    const pairs = new Map<string, string>()
    while (reader.remaining > 0) {
      if (pairs.size === EXTENSIONS_MAX) throw malformed(`more than ${EXTENSIONS_MAX} extensions`)
      const name = reader.utf8(1024)
      pairs.set(name, reader.utf8())
    }
    return pairs
  },
  write(writer, pairs) {
    for (const [name, data] of pairs) writer.string(name).string(data)
  },
}

/** One entry of a NAME reply. */
export interface NameEntry {
  readonly name: string
  /** As `ls -l` would print it. */
  readonly longname: string
  readonly attributes: FileAttributes
}

const nameEntries: Field<readonly NameEntry[]> = {
  read(reader) {
    const count = reader.uint32()
    if (count > reader.remaining / 12) throw malformed(`${count} names in a short packet`)
    const entries: NameEntry[] = []
    for (let i = 0; i < count; i++) {
      entries.push({
        name: path.read(reader),
        longname: decodePath(reader.string()),
        attributes: attributes.read(reader),
      })
    }
    return entries
  },
  write(writer, entries) {
    writer.uint32(entries.length)
    for (const entry of entries) {
      writer.string(encodePath(entry.name)).string(encodePath(entry.longname))
      attributes.write(writer, entry.attributes)
    }
  },
}

/** SSH_FXP_INIT, draft 02 §4. */
export interface Init {
  readonly version: number
  readonly extensions: ReadonlyMap<string, string>
}
export const init: Message<Init> = message(FXP.INIT, 'INIT', { version: uint32, extensions })
/** SSH_FXP_VERSION, draft 02 §4. */
export const version: Message<Init> = message(FXP.VERSION, 'VERSION', {
  version: uint32,
  extensions,
})

/** SSH_FXP_OPEN, draft 02 §6.3. */
export interface Open {
  readonly id: number
  readonly path: string
  readonly flags: OpenFlags
  readonly attributes: FileAttributes
}
export const open: Message<Open> = message(FXP.OPEN, 'OPEN', {
  id: uint32,
  path,
  flags: openFlags,
  attributes,
})

/** A request about a handle and nothing else. */
export interface HandleRequest {
  readonly id: number
  readonly handle: Uint8Array
}
/** SSH_FXP_CLOSE, draft 02 §6.3. */
export const close: Message<HandleRequest> = handleRequest(FXP.CLOSE, 'CLOSE')
/** SSH_FXP_FSTAT, draft 02 §6.8. */
export const fstat: Message<HandleRequest> = handleRequest(FXP.FSTAT, 'FSTAT')
/** SSH_FXP_READDIR, draft 02 §6.7. */
export const readdir: Message<HandleRequest> = handleRequest(FXP.READDIR, 'READDIR')

/** SSH_FXP_READ, draft 02 §6.4. */
export interface Read {
  readonly id: number
  readonly handle: Uint8Array
  readonly position: number
  readonly length: number
}
export const read: Message<Read> = message(FXP.READ, 'READ', {
  id: uint32,
  handle: string,
  position,
  length: uint32,
})

/** SSH_FXP_WRITE, draft 02 §6.4. */
export interface Write {
  readonly id: number
  readonly handle: Uint8Array
  readonly position: number
  readonly data: Uint8Array
}
export const write: Message<Write> = message(FXP.WRITE, 'WRITE', {
  id: uint32,
  handle: string,
  position,
  data: string,
})

/** A request about a path and nothing else. */
export interface PathRequest {
  readonly id: number
  readonly path: string
}
/** SSH_FXP_LSTAT, draft 02 §6.8. */
export const lstat: Message<PathRequest> = pathRequest(FXP.LSTAT, 'LSTAT')
/** SSH_FXP_STAT, draft 02 §6.8. */
export const stat: Message<PathRequest> = pathRequest(FXP.STAT, 'STAT')
/** SSH_FXP_OPENDIR, draft 02 §6.7. */
export const opendir: Message<PathRequest> = pathRequest(FXP.OPENDIR, 'OPENDIR')
/** SSH_FXP_REMOVE, draft 02 §6.5. */
export const remove: Message<PathRequest> = pathRequest(FXP.REMOVE, 'REMOVE')
/** SSH_FXP_RMDIR, draft 02 §6.6. */
export const rmdir: Message<PathRequest> = pathRequest(FXP.RMDIR, 'RMDIR')
/** SSH_FXP_REALPATH, draft 02 §6.11. */
export const realpath: Message<PathRequest> = pathRequest(FXP.REALPATH, 'REALPATH')
/** SSH_FXP_READLINK, draft 02 §6.10. */
export const readlink: Message<PathRequest> = pathRequest(FXP.READLINK, 'READLINK')

/** A path with attributes for it. */
export interface PathAttributes {
  readonly id: number
  readonly path: string
  readonly attributes: FileAttributes
}
/** SSH_FXP_SETSTAT, draft 02 §6.9. */
export const setstat: Message<PathAttributes> = message(FXP.SETSTAT, 'SETSTAT', {
  id: uint32,
  path,
  attributes,
})
/** SSH_FXP_MKDIR, draft 02 §6.6. */
export const mkdir: Message<PathAttributes> = message(FXP.MKDIR, 'MKDIR', {
  id: uint32,
  path,
  attributes,
})

/** SSH_FXP_FSETSTAT, draft 02 §6.9. */
export interface HandleAttributes {
  readonly id: number
  readonly handle: Uint8Array
  readonly attributes: FileAttributes
}
export const fsetstat: Message<HandleAttributes> = message(FXP.FSETSTAT, 'FSETSTAT', {
  id: uint32,
  handle: string,
  attributes,
})

/** SSH_FXP_RENAME, draft 02 §6.5. */
export interface Rename {
  readonly id: number
  readonly oldPath: string
  readonly newPath: string
}
export const rename: Message<Rename> = message(FXP.RENAME, 'RENAME', {
  id: uint32,
  oldPath: path,
  newPath: path,
})

/**
 * SSH_FXP_SYMLINK. Draft 02 §6.10 puts the link's path first, OpenSSH the target, and most clients
 * with it; hence names that promise nothing. See `symlinkOrder` in `symlink-order.ts`.
 */
export interface Symlink {
  readonly id: number
  readonly first: string
  readonly second: string
}
export const symlink: Message<Symlink> = message(FXP.SYMLINK, 'SYMLINK', {
  id: uint32,
  first: path,
  second: path,
})

/** SSH_FXP_STATUS, draft 02 §7. */
export interface Status {
  readonly id: number
  readonly status: number
  readonly message: string
  readonly language: string
}
export const status: Message<Status> = message(FXP.STATUS, 'STATUS', {
  id: uint32,
  status: uint32,
  message: optionalText,
  language: optionalText,
})

/** SSH_FXP_HANDLE, draft 02 §7. */
export const handle: Message<HandleRequest> = handleRequest(FXP.HANDLE, 'HANDLE')

/** SSH_FXP_DATA, draft 02 §7. */
export interface Data {
  readonly id: number
  readonly data: Uint8Array
}
export const data: Message<Data> = message(FXP.DATA, 'DATA', { id: uint32, data: string })

/** SSH_FXP_NAME, draft 02 §7. */
export interface Name {
  readonly id: number
  readonly entries: readonly NameEntry[]
}
export const name: Message<Name> = message(FXP.NAME, 'NAME', { id: uint32, entries: nameEntries })

/** SSH_FXP_ATTRS, draft 02 §7. */
export interface Attrs {
  readonly id: number
  readonly attributes: FileAttributes
}
export const attrs: Message<Attrs> = message(FXP.ATTRS, 'ATTRS', { id: uint32, attributes })

/** SSH_FXP_EXTENDED, draft 02 §8. */
export interface Extended {
  readonly id: number
  readonly request: string
  readonly data: Uint8Array
}
export const extended: Message<Extended> = message(FXP.EXTENDED, 'EXTENDED', {
  id: uint32,
  request: ascii,
  data: rest,
})

/** SSH_FXP_EXTENDED_REPLY, draft 02 §8. */
export const extendedReply: Message<Data> = message(FXP.EXTENDED_REPLY, 'EXTENDED_REPLY', {
  id: uint32,
  data: rest,
})

/** Any codec: to encode, one must know which. */
export interface AnyPacket {
  readonly number: number
  readonly messageName: string
  readonly encode: (value: never) => Uint8Array
  readonly decode: (bytes: Uint8Array) => object
}

/** All packets, for properties, fuzzing and tracing. */
export const packets: readonly AnyPacket[] = [
  init,
  version,
  open,
  close,
  read,
  write,
  lstat,
  fstat,
  setstat,
  fsetstat,
  opendir,
  readdir,
  remove,
  mkdir,
  rmdir,
  realpath,
  stat,
  rename,
  readlink,
  symlink,
  status,
  handle,
  data,
  name,
  attrs,
  extended,
  extendedReply,
]

// Bodies of extended requests and replies.

/** `limits@openssh.com`, OpenSSH PROTOCOL §4.8. */
export const nothing: Struct<Record<never, never>> = struct({})

/** `posix-rename@openssh.com` and `hardlink@openssh.com`, OpenSSH PROTOCOL §4.3, §4.5. */
export const twoPaths: Struct<{ readonly oldPath: string; readonly newPath: string }> = struct({
  oldPath: path,
  newPath: path,
})

/** `statvfs@openssh.com` and `expand-path@openssh.com`, OpenSSH PROTOCOL §4.4, §4.9. */
export const onePath: Struct<{ readonly path: string }> = struct({ path })

/** `fstatvfs@openssh.com` and `fsync@openssh.com`, OpenSSH PROTOCOL §4.4, §4.6. */
export const oneHandle: Struct<{ readonly handle: Uint8Array }> = struct({ handle: string })

/** `lsetstat@openssh.com`, OpenSSH PROTOCOL §4.7. */
export const pathAttributes: Struct<{
  readonly path: string
  readonly attributes: FileAttributes
}> = struct({ path, attributes })

/** `copy-data`, OpenSSH PROTOCOL §4.10. A length of 0 means to the end. */
export interface CopyData {
  readonly source: Uint8Array
  readonly sourcePosition: number
  readonly length: number
  readonly destination: Uint8Array
  readonly destinationPosition: number
}
export const copyData: Struct<CopyData> = struct({
  source: string,
  sourcePosition: position,
  length: position,
  destination: string,
  destinationPosition: position,
})

/** `home-directory`, OpenSSH PROTOCOL §4.11. */
export const homeDirectory: Struct<{ readonly username: string }> = struct({ username: path })

/** Reply of `limits@openssh.com`, OpenSSH PROTOCOL §4.8. Zero: not said, or without limit. */
export interface Limits {
  readonly packetBytesMax: number
  readonly readBytesMax: number
  readonly writeBytesMax: number
  readonly handlesMax: number
}
export const limits: Struct<Limits> = struct({
  packetBytesMax: position,
  readBytesMax: position,
  writeBytesMax: position,
  handlesMax: position,
})

/** Reply of `statvfs@openssh.com` and `fstatvfs@openssh.com`, OpenSSH PROTOCOL §4.4. */
export const fileSystemStat: Struct<FileSystemStat> = struct({
  blockSize: position,
  fragmentSize: position,
  blocks: position,
  blocksFree: position,
  blocksAvailable: position,
  files: position,
  filesFree: position,
  filesAvailable: position,
  fileSystemId: uint64,
  flags: position,
  nameBytesMax: position,
})

const ids: Field<readonly number[]> = {
  read(reader) {
    const bytes = reader.string(IDS_MAX * 4)
    if (bytes.length % 4 !== 0) throw malformed('ids that are not whole')
    const inner = new Reader(bytes)
    return Array.from({ length: bytes.length / 4 }, () => inner.uint32())
  },
  write(writer, values) {
    writer.uint32(values.length * 4)
    for (const value of values) writer.uint32(value)
  },
}

/** `users-groups-by-id@openssh.com`, OpenSSH PROTOCOL §4.12. */
export const usersGroupsById: Struct<{
  readonly uids: readonly number[]
  readonly gids: readonly number[]
}> = struct({ uids: ids, gids: ids })

/** Names one after the other; an empty one means that the id is unknown. */
const names: Field<readonly (string | undefined)[]> = {
  read(reader) {
    const inner = new Reader(reader.string())
    const values: (string | undefined)[] = []
    while (inner.remaining > 0) {
      const value = decodePath(inner.string())
      values.push(value === '' ? undefined : value)
    }
    return values
  },
  write(writer, values) {
    const inner = new Writer()
    for (const value of values) inner.string(encodePath(value ?? ''))
    writer.string(inner.finish())
  },
}

/** Reply of `users-groups-by-id@openssh.com`, OpenSSH PROTOCOL §4.12. */
export const usersAndGroups: Struct<{
  readonly users: readonly (string | undefined)[]
  readonly groups: readonly (string | undefined)[]
}> = struct({ users: names, groups: names })

function handleRequest(number: number, messageName: string): Message<HandleRequest> {
  return message(number, messageName, { id: uint32, handle: string })
}

function pathRequest(number: number, messageName: string): Message<PathRequest> {
  return message(number, messageName, { id: uint32, path })
}

function malformed(what: string): SshError {
  return new SshError('SSH_PROTOCOL', `malformed message: ${what}`)
}
