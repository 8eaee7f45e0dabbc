/** OpenSSH's extensions, server side. OpenSSH PROTOCOL §4. */
import type { SftpFile, SftpFileSystem } from './file-system.ts'
import type { FileHandle } from './handles.ts'
import { DATA_BYTES_MAX, PACKET_BYTES_MAX } from './limits.ts'
import { type Context, change, changesOf, type Operation, type Task } from './operations.ts'
import * as reply from './replies.ts'
import { SftpError, STATUS } from './status.ts'
import * as wire from './wire.ts'

/** One extension: an operation named in VERSION, whose packet is the data of an EXTENDED. */
export interface Extension extends Omit<Operation, 'prepare'> {
  /** The version number announced. */
  readonly version: string
  /** Whether this file system can. */
  readonly available: (fileSystem: SftpFileSystem) => boolean
  readonly prepare: (context: Context, id: number, data: Uint8Array) => Task
}

/** Extensions by the name on the wire, in the order they are announced. */
export const serverExtensions: ReadonlyMap<string, Extension> = new Map<string, Extension>([
  [
    'posix-rename@openssh.com',
    {
      name: 'posix-rename',
      version: '1',
      writes: true,
      available: (fileSystem) => fileSystem.posixRename !== undefined,
      prepare: posixRename,
    },
  ],
  [
    'statvfs@openssh.com',
    { name: 'statvfs', version: '2', writes: false, available: hasStatvfs, prepare: statvfs },
  ],
  [
    'fstatvfs@openssh.com',
    { name: 'fstatvfs', version: '2', writes: false, available: hasStatvfs, prepare: fstatvfs },
  ],
  [
    'hardlink@openssh.com',
    {
      name: 'hardlink',
      version: '1',
      writes: true,
      available: (fileSystem) => fileSystem.hardlink !== undefined,
      prepare: hardlink,
    },
  ],
  [
    'fsync@openssh.com',
    { name: 'fsync', version: '1', writes: true, available: always, prepare: fsync },
  ],
  [
    'lsetstat@openssh.com',
    {
      name: 'lsetstat',
      version: '1',
      writes: true,
      available: (fileSystem) => fileSystem.lsetstat !== undefined,
      prepare: lsetstat,
    },
  ],
  [
    'limits@openssh.com',
    { name: 'limits', version: '1', writes: false, available: always, prepare: limits },
  ],
  [
    'expand-path@openssh.com',
    { name: 'expand-path', version: '1', writes: false, available: hasHome, prepare: expandPath },
  ],
  [
    'copy-data',
    { name: 'copy-data', version: '1', writes: true, available: always, prepare: copyData },
  ],
  [
    'home-directory',
    {
      name: 'home-directory',
      version: '1',
      writes: false,
      available: (fileSystem) => fileSystem.homeDirectory !== undefined,
      prepare: homeDirectory,
    },
  ],
  [
    'users-groups-by-id@openssh.com',
    {
      name: 'users-groups-by-id',
      version: '1',
      writes: false,
      available: (fileSystem) => fileSystem.usersGroupsById !== undefined,
      prepare: usersGroupsById,
    },
  ],
])

function always(): boolean {
  return true
}

function hasStatvfs(fileSystem: SftpFileSystem): boolean {
  return fileSystem.statvfs !== undefined
}

function hasHome(fileSystem: SftpFileSystem): boolean {
  return fileSystem.homeDirectory !== undefined || fileSystem.expandPath !== undefined
}

function posixRename({ fileSystem }: Context, id: number, data: Uint8Array): Task {
  const { oldPath, newPath } = wire.twoPaths.decode(data)
  return change(id, [oldPath, newPath], () => must(fileSystem.posixRename?.(oldPath, newPath)))
}

function hardlink({ fileSystem }: Context, id: number, data: Uint8Array): Task {
  const { oldPath, newPath } = wire.twoPaths.decode(data)
  return change(id, [oldPath, newPath], () => must(fileSystem.hardlink?.(oldPath, newPath)))
}

function lsetstat({ fileSystem }: Context, id: number, data: Uint8Array): Task {
  const { path, attributes } = wire.pathAttributes.decode(data)
  return change(id, [path], () => must(fileSystem.lsetstat?.(path, changesOf(attributes))))
}

function statvfs({ fileSystem }: Context, id: number, data: Uint8Array): Task {
  const { path } = wire.onePath.decode(data)
  return {
    claim: { kind: 'look' },
    async run() {
      const found = await must(fileSystem.statvfs?.(path))
      return reply.extendedReply(id, wire.fileSystemStat.encode(found))
    },
  }
}

function fstatvfs({ fileSystem, handles }: Context, id: number, data: Uint8Array): Task {
  const target = handles.get(wire.oneHandle.decode(data).handle)
  return {
    claim: { kind: 'handle', files: [target.path], changes: false },
    async run() {
      const direct = target.kind === 'file' ? target.file.statvfs?.() : undefined
      const found = await must(direct ?? fileSystem.statvfs?.(target.path))
      return reply.extendedReply(id, wire.fileSystemStat.encode(found))
    },
  }
}

function fsync({ handles }: Context, id: number, data: Uint8Array): Task {
  const { file, path } = handles.file(wire.oneHandle.decode(data).handle)
  return {
    claim: { kind: 'handle', files: [path], changes: false },
    async run() {
      await must(file.sync?.())
      return reply.okReply(id)
    },
  }
}

function limits({ handlesMax }: Context, id: number, data: Uint8Array): Task {
  wire.nothing.decode(data)
  const found = wire.limits.encode({
    packetBytesMax: PACKET_BYTES_MAX,
    readBytesMax: DATA_BYTES_MAX,
    writeBytesMax: DATA_BYTES_MAX,
    handlesMax,
  })
  return { claim: { kind: 'look' }, run: async () => reply.extendedReply(id, found) }
}

function expandPath({ fileSystem }: Context, id: number, data: Uint8Array): Task {
  const { path } = wire.onePath.decode(data)
  return {
    claim: { kind: 'look' },
    run: async () => reply.pathReply(id, await expand(fileSystem, path)),
  }
}

/** Where `~`, `~user` and relative paths lead. */
async function expand(fileSystem: SftpFileSystem, path: string): Promise<string> {
  if (fileSystem.expandPath !== undefined) return fileSystem.expandPath(path)
  if (!path.startsWith('~')) return fileSystem.realpath(path || '.')
  const slash = path.indexOf('/')
  const username = path.slice(1, slash < 0 ? undefined : slash)
  const home = await must(fileSystem.homeDirectory?.(username))
  return fileSystem.realpath(slash < 0 ? home : home + path.slice(slash))
}

function homeDirectory({ fileSystem }: Context, id: number, data: Uint8Array): Task {
  const { username } = wire.homeDirectory.decode(data)
  return {
    claim: { kind: 'look' },
    run: async () => reply.pathReply(id, await must(fileSystem.homeDirectory?.(username))),
  }
}

function usersGroupsById({ fileSystem }: Context, id: number, data: Uint8Array): Task {
  const { uids, gids } = wire.usersGroupsById.decode(data)
  return {
    claim: { kind: 'look' },
    async run() {
      const found = await must(fileSystem.usersGroupsById?.(uids, gids))
      return reply.extendedReply(id, wire.usersAndGroups.encode(found))
    },
  }
}

function copyData({ fileSystem, handles }: Context, id: number, data: Uint8Array): Task {
  const request = wire.copyData.decode(data)
  const source = handles.file(request.source)
  const destination = handles.file(request.destination)
  // sftp-server refuses this too: a file copied onto itself may never end.
  if (source === destination || source.path === destination.path) {
    throw new SftpError(STATUS.FAILURE, 'Source and destination are the same file')
  }
  return {
    claim: { kind: 'handle', files: [source.path, destination.path], changes: true },
    async run() {
      if (fileSystem.copyData !== undefined) {
        await fileSystem.copyData(
          source.file,
          request.sourcePosition,
          request.length,
          destination.file,
          request.destinationPosition,
        )
      } else await copyByHand(source.file, destination, request)
      return reply.okReply(id)
    },
  }
}

/** Copies through memory, a packet's worth at a time. */
async function copyByHand(
  source: SftpFile,
  destination: FileHandle,
  { sourcePosition, length, destinationPosition }: wire.CopyData,
): Promise<void> {
  const buffer = new Uint8Array(DATA_BYTES_MAX)
  let copied = 0
  while (length === 0 || copied < length) {
    const wanted = length === 0 ? buffer.length : Math.min(buffer.length, length - copied)
    const got = await source.read(buffer.subarray(0, wanted), sourcePosition + copied)
    if (got === 0) {
      if (length === 0) return
      throw new SftpError(STATUS.EOF)
    }
    await destination.file.write(buffer.subarray(0, got), destinationPosition + copied)
    copied += got
  }
}

/** The result of an optional member that `available` has promised. */
async function must<T>(result: Promise<T> | undefined): Promise<T> {
  if (result === undefined) throw new SftpError(STATUS.OP_UNSUPPORTED)
  return result
}
