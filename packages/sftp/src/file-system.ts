/**
 * The seam to the files below: a disk, memory, a guest's agent. A server offers whatever implements
 * it; trees are copied between any two of them.
 *
 * Rules for implementers:
 * - Paths are strings as `path.ts` explains (`encodePath` gives the bytes); `/` separates. A relative
 *   path starts at the file system's own start directory, usually somebody's home. No path ever
 *   holds a NUL byte.
 * - Failures reject with `SftpError`; `errnoError('EEXIST')` makes one. Node's errors, with an errno
 *   name in `code`, are understood too. Anything else counts as a fault of the file system: the peer
 *   hears only "Failure".
 * - Calls may overlap freely; a server starts one only when everything it must come after is done.
 * - What a file system cannot do at all it leaves undefined, and servers then neither announce nor
 *   accept it.
 */

/** File type bits of `mode`, `S_IFMT` and friends of stat(2). */
export const FILE_TYPE = {
  MASK: 0o170000,
  SOCKET: 0o140000,
  SYMLINK: 0o120000,
  FILE: 0o100000,
  BLOCK_DEVICE: 0o060000,
  DIRECTORY: 0o040000,
  CHARACTER_DEVICE: 0o020000,
  FIFO: 0o010000,
} as const

/**
 * What is known about a file. Over the wire each part may be missing; version 3 carries size, owner,
 * mode and times in whole seconds only.
 */
export interface FileAttributes {
  /** Bytes. */
  readonly size?: number | undefined
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  /** The whole `st_mode`: permissions and type bits. */
  readonly mode?: number | undefined
  /** Last access, in seconds since 1970, possibly with a fraction. */
  readonly atime?: number | undefined
  /** Last change of the contents, in seconds since 1970, possibly with a fraction. */
  readonly mtime?: number | undefined
  /** Number of hard links; only for `ls -l` lines. */
  readonly linkCount?: number | undefined
}

/** Attributes as a file system reports them: complete but for the link count. */
export interface FileStat extends FileAttributes {
  readonly size: number
  readonly uid: number
  readonly gid: number
  readonly mode: number
  readonly atime: number
  readonly mtime: number
}

/**
 * What to change, in this order: size, mode, times, owner. Absent parts stay as they are. `uid` and
 * `gid` come together, as do `atime` and `mtime`; of `mode` only the bits 07777 count.
 */
export interface AttributeChanges {
  readonly size?: number | undefined
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  readonly mode?: number | undefined
  readonly atime?: number | undefined
  readonly mtime?: number | undefined
}

/** How to open a file, as the flags of open(2) would. */
export interface OpenFlags {
  readonly read?: boolean
  readonly write?: boolean
  /** Every write goes to the end, whatever its position says. */
  readonly append?: boolean
  /** Make the file if it is not there. */
  readonly create?: boolean
  /** Empty the file if it is there. */
  readonly truncate?: boolean
  /** With `create`: fail with EEXIST if it is there, even as a dangling symbolic link. */
  readonly exclusive?: boolean
}

/** An open file. After `close` nothing else is called. */
export interface SftpFile {
  /**
   * Reads from `position` into `into` and says how many bytes it got: at least one unless the end
   * was reached, then 0. Fewer than asked for is fine at any time.
   */
  read(into: Uint8Array, position: number): Promise<number>
  /** Writes all of `data`, which must not change until the promise settles. */
  write(data: Uint8Array, position: number): Promise<void>
  stat(): Promise<FileStat>
  setstat(changes: AttributeChanges): Promise<void>
  /** As fsync(2): resolves when data and attributes are on stable storage. */
  sync?(): Promise<void>
  /** As fstatvfs(3). Without it, servers ask `statvfs` about the path that was opened. */
  statvfs?(): Promise<FileSystemStat>
  /** Gives the handle back even if it rejects; a late write error may surface here. */
  close(): Promise<void>
}

/** One name in a directory. */
export interface DirectoryEntry {
  readonly name: string
  /** As lstat gives them; empty where that failed. */
  readonly attributes: FileAttributes
}

/** A directory being listed. */
export interface SftpDirectory {
  /**
   * Some more entries, at most `maxEntries`, in any order; undefined when there are no more. An
   * empty list is allowed and means "ask again". `.` and `..` may be present: servers add them where
   * they are not.
   */
  read(maxEntries: number): Promise<readonly DirectoryEntry[] | undefined>
  close(): Promise<void>
}

/** Size and room of a file system, as statvfs(3) gives them. */
export interface FileSystemStat {
  /** Preferred block size, bytes. */
  readonly blockSize: number
  /** Unit of the three block counts, bytes. */
  readonly fragmentSize: number
  readonly blocks: number
  readonly blocksFree: number
  /** Free to ordinary users. */
  readonly blocksAvailable: number
  readonly files: number
  readonly filesFree: number
  readonly filesAvailable: number
  readonly fileSystemId: bigint
  /** 1: read-only, 2: set-user-id bits do nothing. */
  readonly flags: number
  readonly nameBytesMax: number
}

/** Names of users and groups, in the order of the ids asked for; undefined where unknown. */
export interface UsersAndGroups {
  readonly users: readonly (string | undefined)[]
  readonly groups: readonly (string | undefined)[]
}

/**
 * A tree of files.
 *
 * @example
 * import { memoryFileSystem, type SftpFileSystem } from '@sandbox-ssh/sftp'
 *
 * const files: SftpFileSystem = memoryFileSystem()
 * await files.mkdir('/etc')
 * const file = await files.open('/etc/hosts', { read: true, write: true, create: true })
 * await file.write(new TextEncoder().encode('127.0.0.1 localhost'), 0)
 * await file.setstat({ mode: 0o600 })
 * await file.sync?.()
 * const room = (await file.statvfs?.()) ?? (await files.statvfs?.('/etc'))
 * console.log((room?.blocksAvailable ?? 0) > 0) // true
 * console.log((await file.stat()).size, await file.read(new Uint8Array(100), 10)) // 19 9
 * await file.close()
 *
 * await files.symlink('hosts', '/etc/link')
 * console.log(await files.readlink('/etc/link')) // hosts
 * console.log(await files.realpath('/etc/link')) // /etc/hosts
 * console.log((await files.stat('/etc/link')).size, (await files.lstat('/etc/link')).size) // 19 5
 * await files.rename('/etc/link', '/etc/other')
 * await files.setstat('/etc/hosts', { mtime: 0 })
 *
 * const directory = await files.opendir('/etc')
 * const names: string[] = []
 * for (let some = await directory.read(10); some !== undefined; some = await directory.read(10)) {
 *   names.push(...some.map(({ name }) => name).filter((name) => !name.startsWith('.')))
 * }
 * await directory.close()
 * console.log(names.sort()) // [ 'hosts', 'other' ]
 *
 * for (const name of names) await files.remove(`/etc/${name}`)
 * await files.rmdir('/etc')
 * await files.close?.()
 */
export interface SftpFileSystem {
  /**
   * Opens a file. `mode` holds the permissions of a file that is made (default 0666 less the umask).
   * Opening must not wait for a FIFO's other side.
   */
  open(path: string, flags: OpenFlags, mode?: number): Promise<SftpFile>
  opendir(path: string): Promise<SftpDirectory>
  /** Follows symbolic links. */
  stat(path: string): Promise<FileStat>
  /** Does not follow a symbolic link at the end. */
  lstat(path: string): Promise<FileStat>
  /** Follows symbolic links. */
  setstat(path: string, changes: AttributeChanges): Promise<void>
  /** Does not follow a symbolic link at the end (`lsetstat@openssh.com`). */
  lsetstat?(path: string, changes: AttributeChanges): Promise<void>
  /** Makes one directory; EEXIST if anything has that name. `mode` defaults to 0777 less the umask. */
  mkdir(path: string, mode?: number): Promise<void>
  /** Removes an empty directory. */
  rmdir(path: string): Promise<void>
  /** Removes anything but a directory. */
  remove(path: string): Promise<void>
  /** Renames; EEXIST if the new name is taken. */
  rename(oldPath: string, newPath: string): Promise<void>
  /**
   * Renames, replacing what has the new name in one step, as rename(2).
   *
   * @example
   * import { memoryFileSystem } from '@sandbox-ssh/sftp'
   *
   * const files = memoryFileSystem()
   * await files.mkdir('/new')
   * await files.mkdir('/old')
   * await files.posixRename?.('/new', '/old')
   * await files.symlink('old', '/link')
   * await files.lsetstat?.('/link', { mtime: 7, atime: 7 })
   * console.log((await files.lstat('/link')).mtime) // 7
   *
   * // What OpenSSH's other extensions come to. All of it may be missing.
   * await files.hardlink?.('/link', '/other')
   * console.log(((await files.statvfs?.('/'))?.blockSize ?? 0) > 0) // true
   * console.log(await files.homeDirectory?.('')) // …
   * console.log(await files.usersGroupsById?.([0], [])) // …
   */
  posixRename?(oldPath: string, newPath: string): Promise<void>
  /** Makes `linkPath` a symbolic link holding `target`, which is kept as it is. */
  symlink(target: string, linkPath: string): Promise<void>
  /** What a symbolic link holds. */
  readlink(path: string): Promise<string>
  /**
   * The absolute path without links, `.` and `..`. A last component that does not exist is kept, as
   * sftp-server does, so that clients can name a file they are about to make.
   */
  realpath(path: string): Promise<string>
  /** Makes `linkPath` another name of the file `existingPath`. */
  hardlink?(existingPath: string, linkPath: string): Promise<void>
  statvfs?(path: string): Promise<FileSystemStat>
  /**
   * Copies `length` bytes (0: to the end) between two files this file system opened, without the
   * bytes travelling. Without it, servers read and write themselves.
   */
  copyData?(
    source: SftpFile,
    sourcePosition: number,
    length: number,
    destination: SftpFile,
    destinationPosition: number,
  ): Promise<void>
  /** Names for numeric ids. */
  usersGroupsById?(uids: readonly number[], gids: readonly number[]): Promise<UsersAndGroups>
  /** The home of a user, or of the session's own user for an empty name. */
  homeDirectory?(username: string): Promise<string>
  /**
   * Where `~`, `~user` and relative paths lead; by default made of `homeDirectory` and `realpath`.
   *
   * @example
   * import { memoryFileSystem, openSftp, type SftpFileSystem, sftpServer } from '@sandbox-ssh/sftp'
   *
   * // One that copies by itself, and whose users have homes of their own.
   * const files: SftpFileSystem = Object.assign(memoryFileSystem(), {
   *   expandPath: async (path: string) => path.replace(/^~/, '/home/ada'),
   *   copyData: async (source, from, length, target, to) => {
   *     const data = new Uint8Array(length === 0 ? (await source.stat()).size - from : length)
   *     const got = await source.read(data, from)
   *     await target.write(data.subarray(0, got), to)
   *   },
   * } satisfies Partial<SftpFileSystem>)
   * console.log(await files.expandPath?.('~/notes'), files.copyData !== undefined) // /home/ada/notes true
   *
   * // What a client then gets to do.
   * const sftp = await openSftp(await pair({ subsystems: { sftp: sftpServer(files) } }))
   * await sftp.write('/note', 'copied in one step')
   * await sftp.copyData('/note', '/copy')
   * console.log(await sftp.readText('/copy'), await sftp.expandPath('~')) // copied in one step /home/ada
   */
  expandPath?(path: string): Promise<string>
  /** The session is over and all handles are closed. */
  close?(): Promise<void>
}

/**
 * Whether the attributes are a directory's.
 *
 * @example
 * import { FILE_TYPE, isDirectory, isFile } from '@sandbox-ssh/sftp'
 *
 * const attributes = await sftp.stat('/etc')
 * console.log(isDirectory(attributes), isFile(attributes)) // true false
 * console.log(((attributes.mode ?? 0) & FILE_TYPE.MASK) === FILE_TYPE.DIRECTORY) // true
 */
export function isDirectory(attributes: FileAttributes): boolean {
  return typeOf(attributes) === FILE_TYPE.DIRECTORY
}

/**
 * Whether the attributes are a regular file's.
 *
 * @example
 * import { isFile } from '@sandbox-ssh/sftp'
 *
 * const entries = await sftp.list('/etc')
 * const files = entries.filter(({ attributes }) => isFile(attributes))
 * console.log(files.map(({ name }) => name)) // [ 'motd' ]
 */
export function isFile(attributes: FileAttributes): boolean {
  return typeOf(attributes) === FILE_TYPE.FILE
}

/**
 * Whether the attributes are a symbolic link's own.
 *
 * @example
 * import { isSymlink } from '@sandbox-ssh/sftp'
 *
 * await sftp.symlink('/etc/motd', '/latest')
 * console.log(isSymlink(await sftp.lstat('/latest'))) // true
 * console.log(isSymlink(await sftp.stat('/latest'))) // false
 */
export function isSymlink(attributes: FileAttributes): boolean {
  return typeOf(attributes) === FILE_TYPE.SYMLINK
}

function typeOf(attributes: FileAttributes): number {
  return (attributes.mode ?? 0) & FILE_TYPE.MASK
}
