/**
 * The disk, through an object like Node's `fs/promises`: structurally typed, so that nothing of Node
 * is imported and Bun's and Deno's equivalents do as well.
 */
import type {
  AttributeChanges,
  DirectoryEntry,
  FileStat,
  FileSystemStat,
  OpenFlags,
  SftpDirectory,
  SftpFile,
  SftpFileSystem,
  UsersAndGroups,
} from './file-system.ts'
import { isDirectory, isSymlink } from './file-system.ts'
import { decodePath, encodePath, joinPath, parentPath } from './path.ts'
import { resolvePath } from './resolve.ts'
import { asSftpError, errnoError } from './status.ts'

/** What we pass as a path: bytes for a name that is not UTF-8, which Node takes like a Buffer. */
type NodePath = string | Uint8Array
/** What a path parameter may be declared as, which differs from runtime to runtime. */
type NodePathLike = unknown

/** What is used of `fs.Stats`. */
export interface NodeStats {
  readonly size: number
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly nlink: number
  readonly atimeMs: number
  readonly mtimeMs: number
}

/** What is used of `fs.promises.FileHandle`. */
export interface NodeFileHandle {
  read(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesRead: number }>
  write(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesWritten: number }>
  stat(): Promise<NodeStats>
  truncate(length: number): Promise<void>
  chmod(mode: number): Promise<void>
  chown(uid: number, gid: number): Promise<void>
  utimes(atime: number, mtime: number): Promise<void>
  sync(): Promise<void>
  close(): Promise<void>
}

/** What is used of `fs.Dir`. */
export interface NodeDirectory {
  read(): Promise<{ readonly name: unknown } | null>
  close(): Promise<void>
}

/** What is used of the module `node:fs/promises`. */
export interface NodeFs {
  readonly constants: {
    readonly O_RDONLY: number
    readonly O_WRONLY: number
    readonly O_RDWR: number
    readonly O_CREAT: number
    readonly O_EXCL: number
    readonly O_TRUNC: number
    readonly O_APPEND: number
    readonly O_NOCTTY: number
    readonly O_NONBLOCK: number
  }
  open(path: NodePathLike, flags: number, mode: number): Promise<NodeFileHandle>
  /** Given `{ encoding: 'buffer' }`, of which Node's own types know nothing. */
  opendir(path: NodePathLike, options: unknown): Promise<NodeDirectory>
  stat(path: NodePathLike): Promise<NodeStats>
  lstat(path: NodePathLike): Promise<NodeStats>
  truncate(path: NodePathLike, length: number): Promise<void>
  chmod(path: NodePathLike, mode: number): Promise<void>
  chown(path: NodePathLike, uid: number, gid: number): Promise<void>
  lchown(path: NodePathLike, uid: number, gid: number): Promise<void>
  utimes(path: NodePathLike, atime: number, mtime: number): Promise<void>
  lutimes(path: NodePathLike, atime: number, mtime: number): Promise<void>
  mkdir(path: NodePathLike, mode: number): Promise<unknown>
  rmdir(path: NodePathLike): Promise<void>
  unlink(path: NodePathLike): Promise<void>
  rename(oldPath: NodePathLike, newPath: NodePathLike): Promise<void>
  link(existingPath: NodePathLike, newPath: NodePathLike): Promise<void>
  symlink(target: NodePathLike, path: NodePathLike): Promise<void>
  readlink(path: NodePathLike, options: { encoding: 'buffer' }): Promise<Uint8Array>
  realpath(path: NodePathLike, options: { encoding: 'buffer' }): Promise<Uint8Array>
  readFile(path: NodePathLike): Promise<Uint8Array>
  statfs(path: NodePathLike): Promise<NodeFileSystemStat>
}

/** What is used of `fs.StatFs`. */
export interface NodeFileSystemStat {
  readonly bsize: number
  readonly blocks: number
  readonly bfree: number
  readonly bavail: number
  readonly files: number
  readonly ffree: number
}

/** Where paths start. */
export interface NodeFileSystemOptions {
  /** Where relative paths start: an absolute path; the process's own directory by default. */
  readonly directory?: string
  /** Where `~` leads; by default as `directory`. */
  readonly home?: string
}

/**
 * The disk as this process may use it.
 *
 * @example
 * import * as fs from 'node:fs/promises'
 * import { tmpdir } from 'node:os'
 * import { joinPath, nodeFileSystem, openSftp, sftpServer } from '@sandbox-ssh/sftp'
 *
 * const client = await pair({ subsystems: { sftp: sftpServer(nodeFileSystem(fs)) } })
 * const sftp = await openSftp(client)
 * const path = joinPath(tmpdir(), `example-${process.pid}`)
 * await sftp.write(path, 'on the disk')
 * console.log(await fs.readFile(path, 'utf8')) // on the disk
 * await sftp.remove(path)
 */
export function nodeFileSystem(fs: NodeFs, options: NodeFileSystemOptions = {}): SftpFileSystem {
  return new NodeFileSystem(fs, options)
}

class NodeFileSystem implements SftpFileSystem {
  readonly #fs: NodeFs
  readonly #directory: string | undefined
  readonly #home: string | undefined

  constructor(fs: NodeFs, { directory, home }: NodeFileSystemOptions) {
    if (directory !== undefined && !directory.startsWith('/')) {
      throw new TypeError('directory must be an absolute path')
    }
    this.#fs = fs
    this.#directory = directory
    this.#home = home ?? directory
  }

  async open(path: string, flags: OpenFlags, mode = 0o666): Promise<SftpFile> {
    const handle = await this.#fs.open(this.#at(path), this.#bits(flags), mode)
    return new NodeFile(handle)
  }

  async opendir(path: string): Promise<SftpDirectory> {
    const directory = await this.#fs.opendir(this.#at(path), { encoding: 'buffer' })
    let ended = false
    const next = async (): Promise<DirectoryEntry | undefined> => {
      const entry = await directory.read()
      if (entry === null) {
        ended = true
        return undefined
      }
      const name =
        typeof entry.name === 'string' ? entry.name : decodePath(entry.name as Uint8Array)
      return { name, attributes: {} }
    }
    return {
      read: async (maxEntries) => {
        if (ended) return undefined
        const names: string[] = []
        while (names.length < maxEntries) {
          const entry = await next()
          if (entry === undefined) break
          names.push(entry.name)
        }
        return Promise.all(
          names.map(async (name) => {
            // A file may go away between its name and its attributes.
            const attributes = await this.lstat(joinPath(path, name)).catch(() => ({}))
            return { name, attributes }
          }),
        )
      },
      close: () => directory.close(),
    }
  }

  async stat(path: string): Promise<FileStat> {
    return toFileStat(await this.#fs.stat(this.#at(path)))
  }

  async lstat(path: string): Promise<FileStat> {
    return toFileStat(await this.#fs.lstat(this.#at(path)))
  }

  async setstat(path: string, changes: AttributeChanges): Promise<void> {
    const at = this.#at(path)
    await applyChanges(changes, {
      size: (size) => this.#fs.truncate(at, size),
      mode: (mode) => this.#fs.chmod(at, mode),
      times: (atime, mtime) => this.#fs.utimes(at, atime, mtime),
      owner: (uid, gid) => this.#fs.chown(at, uid, gid),
    })
  }

  async lsetstat(path: string, changes: AttributeChanges): Promise<void> {
    const at = this.#at(path)
    const onlyIfNoLink = async (act: () => Promise<void>): Promise<void> => {
      // Linux has neither size nor permissions of a link to change.
      if (isSymlink(await this.lstat(path))) throw errnoError('EOPNOTSUPP')
      await act()
    }
    await applyChanges(changes, {
      size: (size) => onlyIfNoLink(() => this.#fs.truncate(at, size)),
      mode: (mode) => onlyIfNoLink(() => this.#fs.chmod(at, mode)),
      times: (atime, mtime) => this.#fs.lutimes(at, atime, mtime),
      owner: (uid, gid) => this.#fs.lchown(at, uid, gid),
    })
  }

  async mkdir(path: string, mode = 0o777): Promise<void> {
    await this.#fs.mkdir(this.#at(path), mode)
  }

  async rmdir(path: string): Promise<void> {
    await this.#fs.rmdir(this.#at(path))
  }

  async remove(path: string): Promise<void> {
    await this.#fs.unlink(this.#at(path))
  }

  async rename(oldPath: string, newPath: string): Promise<void> {
    const from = this.#at(oldPath)
    const to = this.#at(newPath)
    if (!isDirectory(await this.lstat(oldPath))) {
      // link(2) is the one call that takes a name only if it is free.
      const linked = await this.#fs.link(from, to).then(
        () => true,
        (error: unknown) => {
          if (!cannotLink(error)) throw error
          return false
        },
      )
      if (linked) return this.#fs.unlink(from)
    }
    const taken = await this.lstat(newPath).then(
      () => true,
      (error: unknown) => {
        if (asSftpError(error)?.errno !== 'ENOENT') throw error
        return false
      },
    )
    if (taken) throw errnoError('EEXIST')
    await this.#fs.rename(from, to)
  }

  async posixRename(oldPath: string, newPath: string): Promise<void> {
    await this.#fs.rename(this.#at(oldPath), this.#at(newPath))
  }

  async symlink(target: string, linkPath: string): Promise<void> {
    await this.#fs.symlink(native(target), this.#at(linkPath))
  }

  async readlink(path: string): Promise<string> {
    return decodePath(await this.#fs.readlink(this.#at(path), { encoding: 'buffer' }))
  }

  async realpath(path: string): Promise<string> {
    try {
      return await this.#realpath(path)
    } catch (error) {
      if (asSftpError(error)?.errno !== 'ENOENT') throw error
    }
    // Only the last component, or what a link there leads to, may be missing. A path that is not
    // absolute starts where the process is.
    const start = path.startsWith('/') ? '/' : await this.#realpath('.')
    const resolved = await resolvePath(this, joinPath(start, path), { followLast: true })
    await this.#realpath(parentPath(resolved))
    return resolved
  }

  async hardlink(existingPath: string, linkPath: string): Promise<void> {
    await this.#fs.link(this.#at(existingPath), this.#at(linkPath))
  }

  async statvfs(path: string): Promise<FileSystemStat> {
    const found = await this.#fs.statfs(this.#at(path))
    return {
      blockSize: found.bsize,
      fragmentSize: found.bsize,
      blocks: found.blocks,
      blocksFree: found.bfree,
      blocksAvailable: found.bavail,
      files: found.files,
      filesFree: found.ffree,
      filesAvailable: found.ffree,
      // Node's statfs tells none of these.
      fileSystemId: 0n,
      flags: 0,
      nameBytesMax: 255,
    }
  }

  async usersGroupsById(uids: readonly number[], gids: readonly number[]): Promise<UsersAndGroups> {
    const users = await this.#database('/etc/passwd')
    const groups = await this.#database('/etc/group')
    return {
      users: uids.map((uid) => users.find(({ id }) => id === uid)?.name),
      groups: gids.map((gid) => groups.find(({ id }) => id === gid)?.name),
    }
  }

  async homeDirectory(username: string): Promise<string> {
    if (username === '') return this.#home ?? (await this.#realpath('.'))
    const user = (await this.#database('/etc/passwd')).find(({ name }) => name === username)
    if (user === undefined) throw errnoError('ENOENT', 'No such user')
    return user.home
  }

  async #realpath(path: string): Promise<string> {
    return decodePath(await this.#fs.realpath(this.#at(path), { encoding: 'buffer' }))
  }

  /** Lines of passwd(5) or group(5); none where there is no such file. */
  async #database(path: string): Promise<{ name: string; id: number; home: string }[]> {
    const bytes = await this.#fs.readFile(path).catch(() => new Uint8Array(0))
    return decodePath(bytes)
      .split('\n')
      .map((line) => line.split(':'))
      .flatMap(([name, , id, , , home]) =>
        name && id && /^\d+$/.test(id) ? [{ name, id: Number(id), home: home ?? '/' }] : [],
      )
  }

  #at(path: string): NodePath {
    if (path === '') throw errnoError('ENOENT')
    return native(this.#directory === undefined ? path : joinPath(this.#directory, path))
  }

  #bits(flags: OpenFlags): number {
    const { constants } = this.#fs
    const writes = flags.write || flags.append
    // Non-blocking, or opening a FIFO would wait for its other side; files do not mind.
    let bits = constants.O_NOCTTY | constants.O_NONBLOCK
    if (writes) bits |= flags.read ? constants.O_RDWR : constants.O_WRONLY
    if (flags.append) bits |= constants.O_APPEND
    if (flags.create) bits |= constants.O_CREAT
    if (flags.create && flags.exclusive) bits |= constants.O_EXCL
    if (flags.truncate) bits |= constants.O_TRUNC
    return bits
  }
}

class NodeFile implements SftpFile {
  readonly #handle: NodeFileHandle

  constructor(handle: NodeFileHandle) {
    this.#handle = handle
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    return (await this.#handle.read(into, 0, into.length, position)).bytesRead
  }

  async write(data: Uint8Array, position: number): Promise<void> {
    for (let written = 0; written < data.length; ) {
      const { bytesWritten } = await this.#handle.write(
        data,
        written,
        data.length - written,
        position + written,
      )
      if (bytesWritten === 0) throw errnoError('EIO')
      written += bytesWritten
    }
  }

  async stat(): Promise<FileStat> {
    return toFileStat(await this.#handle.stat())
  }

  setstat(changes: AttributeChanges): Promise<void> {
    return applyChanges(changes, {
      size: (size) => this.#handle.truncate(size),
      mode: (mode) => this.#handle.chmod(mode),
      times: (atime, mtime) => this.#handle.utimes(atime, mtime),
      owner: (uid, gid) => this.#handle.chown(uid, gid),
    })
  }

  sync(): Promise<void> {
    return this.#handle.sync()
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}

interface Changer {
  readonly size: (size: number) => Promise<void>
  readonly mode: (mode: number) => Promise<void>
  readonly times: (atime: number, mtime: number) => Promise<void>
  readonly owner: (uid: number, gid: number) => Promise<void>
}

/**
 * Makes all the changes it can and then fails with the last error, as sftp-server does: times are
 * kept even where the owner may not be changed.
 */
async function applyChanges(changes: AttributeChanges, changer: Changer): Promise<void> {
  const { size, mode, atime, mtime, uid, gid } = changes
  const steps: (() => Promise<void>)[] = []
  if (size !== undefined) steps.push(() => changer.size(size))
  if (mode !== undefined) steps.push(() => changer.mode(mode & 0o7777))
  if (atime !== undefined && mtime !== undefined) steps.push(() => changer.times(atime, mtime))
  if (uid !== undefined && gid !== undefined) steps.push(() => changer.owner(uid, gid))
  let failure: { readonly error: unknown } | undefined
  for (const step of steps) {
    try {
      await step()
    } catch (error) {
      failure = { error }
    }
  }
  if (failure !== undefined) throw failure.error
}

function toFileStat(stats: NodeStats): FileStat {
  const { size, mode, uid, gid, nlink, atimeMs, mtimeMs } = stats
  return { size, mode, uid, gid, atime: atimeMs / 1000, mtime: mtimeMs / 1000, linkCount: nlink }
}

/** File systems without hard links say so in one of these ways. */
function cannotLink(error: unknown): boolean {
  const errno = asSftpError(error)?.errno
  return errno === 'EPERM' || errno === 'EOPNOTSUPP' || errno === 'ENOSYS' || errno === 'EMLINK'
}

/** Text where it is text, for the sake of runtimes that take nothing else; bytes where it is not. */
function native(path: string): NodePath {
  return /[\udc80-\udcff]/.test(path) ? encodePath(path) : path
}
