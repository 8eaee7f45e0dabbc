/** A file system in memory, for tests, examples and things that never touch a disk. */
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
import { FILE_TYPE } from './file-system.ts'
import { SYMLINKS_MAX } from './limits.ts'
import { errnoError } from './status.ts'

/** Whose files they are, and how many bytes they may have. */
export interface MemoryFileSystemOptions {
  /** Owner of what is made; 0 unless said otherwise. */
  readonly uid?: number
  readonly gid?: number
  /** Permissions that new files and directories do not get; 022 unless said otherwise. */
  readonly umask?: number
  /** Where relative paths and `~` start; made if it is not `/`. */
  readonly home?: string
  /** Names of users and groups. */
  readonly users?: ReadonlyMap<number, string>
  readonly groups?: ReadonlyMap<number, string>
  /** Most bytes of all files together, 1 GiB unless said otherwise; then ENOSPC. */
  readonly capacityBytes?: number
}

/** Longest name, as on most file systems. */
const NAME_BYTES_MAX = 255
const BLOCK_BYTES = 4096
/** Contents are kept in pages, so that a file that grows is not copied each time. */
const PAGE_BYTES = 64 * 1024

interface Common {
  readonly id: number
  mode: number
  uid: number
  gid: number
  atime: number
  mtime: number
  links: number
}
interface FileNode extends Common {
  readonly type: 'file'
  /** By number. Bytes that are missing, and those beyond the size, are zeros. */
  readonly pages: Map<number, Uint8Array>
  size: number
}
interface DirectoryNode extends Common {
  readonly type: 'directory'
  readonly entries: Map<string, Node>
  /** Undefined for the root. */
  parent: DirectoryNode | undefined
}
interface LinkNode extends Common {
  readonly type: 'link'
  readonly target: string
}
type Node = FileNode | DirectoryNode | LinkNode

/** Where a path led: the directory, the name in it, and what has that name, if anything. */
interface Found {
  readonly parent: DirectoryNode
  /** Undefined where a path names a directory without naming its entry: `/`, `..`. */
  readonly name: string | undefined
  readonly node: Node | undefined
}

/**
 * An empty tree. It belongs to one user, so permissions are kept and shown but not enforced.
 * Everything OpenSSH's extensions ask for is there.
 *
 * @example
 * import { memoryPair } from '@sandbox-ssh/protocol'
 * import { memoryFileSystem, openSftp, serveSftp } from '@sandbox-ssh/sftp'
 *
 * const [near, far] = memoryPair()
 * const serving = serveSftp(far, memoryFileSystem())
 * const sftp = await openSftp(near)
 * await sftp.write('/note', 'in memory')
 * console.log(await sftp.readText('/note')) // in memory
 * await sftp.close()
 * await serving
 */
export function memoryFileSystem(options: MemoryFileSystemOptions = {}): SftpFileSystem {
  return new MemoryFileSystem(options)
}

class MemoryFileSystem implements SftpFileSystem {
  readonly #options: MemoryFileSystemOptions
  readonly #umask: number
  readonly #capacity: number
  readonly #root: DirectoryNode
  readonly #home: DirectoryNode
  #used = 0
  #nextId = 2

  constructor(options: MemoryFileSystemOptions) {
    this.#options = options
    this.#umask = options.umask ?? 0o022
    this.#capacity = options.capacityBytes ?? 2 ** 30
    this.#root = this.#newDirectory(0o777 & ~this.#umask, undefined)
    let home = this.#root
    for (const name of (options.home ?? '/').split('/').filter((part) => part !== '')) {
      const made = this.#newDirectory(0o777 & ~this.#umask, home)
      home.entries.set(name, made)
      home.links++
      home = made
    }
    this.#home = home
  }

  async open(path: string, flags: OpenFlags, mode = 0o666): Promise<SftpFile> {
    const exclusive = flags.create === true && flags.exclusive === true
    const found = this.#find(path, !exclusive)
    let { node } = found
    if (node !== undefined && exclusive) throw errnoError('EEXIST')
    if (node === undefined) {
      if (!flags.create || path.endsWith('/')) throw errnoError('ENOENT')
      node = {
        ...this.#common(FILE_TYPE.FILE | (mode & 0o7777 & ~this.#umask)),
        type: 'file',
        pages: new Map(),
        size: 0,
      }
      this.#put(found, node)
    }
    if (node.type === 'link') throw errnoError('ELOOP')
    if (node.type === 'directory') throw errnoError('EISDIR')
    if (flags.truncate) this.#resize(node, 0)
    return this.#file(node, flags)
  }

  async opendir(path: string): Promise<SftpDirectory> {
    const node = this.#directory(path)
    const names = [...node.entries.keys()]
    return {
      async read(maxEntries) {
        if (names.length === 0) return undefined
        const entries: DirectoryEntry[] = []
        for (const name of names.splice(0, maxEntries)) {
          const entry = node.entries.get(name)
          if (entry !== undefined) entries.push({ name, attributes: statOf(entry) })
        }
        return entries
      },
      async close() {
        names.length = 0
      },
    }
  }

  async stat(path: string): Promise<FileStat> {
    return statOf(this.#existing(path, true))
  }

  async lstat(path: string): Promise<FileStat> {
    return statOf(this.#existing(path, false))
  }

  async setstat(path: string, changes: AttributeChanges): Promise<void> {
    this.#change(this.#existing(path, true), changes)
  }

  async lsetstat(path: string, changes: AttributeChanges): Promise<void> {
    const node = this.#existing(path, false)
    // As Linux: a symbolic link has no permissions of its own to change.
    if (node.type === 'link' && changes.mode !== undefined) throw errnoError('EOPNOTSUPP')
    this.#change(node, changes)
  }

  async mkdir(path: string, mode = 0o777): Promise<void> {
    const found = this.#find(path, false)
    if (found.node !== undefined) throw errnoError('EEXIST')
    this.#put(found, this.#newDirectory(mode & 0o7777 & ~this.#umask, found.parent))
    found.parent.links++
  }

  async rmdir(path: string): Promise<void> {
    const found = this.#find(path, false)
    if (found.node === undefined) throw errnoError('ENOENT')
    if (found.node.type !== 'directory') throw errnoError('ENOTDIR')
    if (found.name === undefined) throw errnoError('EBUSY')
    if (found.node.entries.size > 0) throw errnoError('ENOTEMPTY')
    this.#detach(found)
  }

  async remove(path: string): Promise<void> {
    const found = this.#find(path, false)
    if (found.node === undefined) throw errnoError('ENOENT')
    if (found.node.type === 'directory') throw errnoError('EISDIR')
    this.#detach(found)
  }

  async rename(oldPath: string, newPath: string): Promise<void> {
    if (this.#find(newPath, false).node !== undefined) throw errnoError('EEXIST')
    await this.posixRename(oldPath, newPath)
  }

  async posixRename(oldPath: string, newPath: string): Promise<void> {
    const from = this.#find(oldPath, false)
    const to = this.#find(newPath, false)
    const { node } = from
    if (node === undefined) throw errnoError('ENOENT')
    if (from.name === undefined || to.name === undefined) throw errnoError('EBUSY')
    if (to.node === node) return
    if (node.type === 'directory') {
      // A directory moved below itself would be a ring out of everybody's reach.
      for (let up: DirectoryNode | undefined = to.parent; up !== undefined; up = up.parent) {
        if (up === node) throw errnoError('EINVAL')
      }
    } else if (newPath.endsWith('/')) throw errnoError('ENOTDIR')
    if (to.node !== undefined) {
      if (node.type === 'directory' && to.node.type !== 'directory') throw errnoError('ENOTDIR')
      if (node.type !== 'directory' && to.node.type === 'directory') throw errnoError('EISDIR')
      if (to.node.type === 'directory' && to.node.entries.size > 0) throw errnoError('ENOTEMPTY')
    }
    checkName(to.name)
    if (to.node !== undefined) this.#detach(to)
    this.#detach(from, true)
    this.#put(to, node)
    if (node.type === 'directory') {
      node.parent = to.parent
      to.parent.links++
    }
  }

  async symlink(target: string, linkPath: string): Promise<void> {
    const found = this.#find(linkPath, false)
    if (target === '') throw errnoError('ENOENT')
    if (found.node !== undefined) throw errnoError('EEXIST')
    this.#put(found, { ...this.#common(FILE_TYPE.SYMLINK | 0o777), type: 'link', target })
  }

  async readlink(path: string): Promise<string> {
    const node = this.#existing(path, false)
    if (node.type !== 'link') throw errnoError('EINVAL')
    return node.target
  }

  async realpath(path: string): Promise<string> {
    const { parent, name, node } = this.#find(path, true)
    if (name === undefined) return pathOf(parent)
    if (node?.type === 'directory') return pathOf(node)
    const directory = pathOf(parent)
    return directory === '/' ? `/${name}` : `${directory}/${name}`
  }

  async hardlink(existingPath: string, linkPath: string): Promise<void> {
    const node = this.#existing(existingPath, false)
    if (node.type === 'directory') throw errnoError('EPERM')
    const found = this.#find(linkPath, false)
    if (found.node !== undefined) throw errnoError('EEXIST')
    this.#put(found, node)
    node.links++
  }

  async statvfs(path: string): Promise<FileSystemStat> {
    this.#existing(path, true)
    const blocks = Math.floor(this.#capacity / BLOCK_BYTES)
    const free = Math.floor((this.#capacity - this.#used) / BLOCK_BYTES)
    return {
      blockSize: BLOCK_BYTES,
      fragmentSize: BLOCK_BYTES,
      blocks,
      blocksFree: free,
      blocksAvailable: free,
      files: 2 ** 20,
      filesFree: 2 ** 20 - this.#nextId,
      filesAvailable: 2 ** 20 - this.#nextId,
      fileSystemId: 0n,
      flags: 0,
      nameBytesMax: NAME_BYTES_MAX,
    }
  }

  async usersGroupsById(uids: readonly number[], gids: readonly number[]): Promise<UsersAndGroups> {
    return {
      users: uids.map((uid) => this.#options.users?.get(uid)),
      groups: gids.map((gid) => this.#options.groups?.get(gid)),
    }
  }

  async homeDirectory(username: string): Promise<string> {
    const own = this.#options.users?.get(this.#options.uid ?? 0)
    if (username !== '' && username !== own) throw errnoError('ENOENT', 'No such user')
    return pathOf(this.#home)
  }

  #file(node: FileNode, flags: OpenFlags): SftpFile {
    let open = true
    const check = (allowed: boolean | undefined): void => {
      if (!open || !allowed) throw errnoError('EBADF')
    }
    return {
      read: async (into, position) => {
        check(flags.read)
        const end = Math.min(node.size, position + into.length)
        if (position >= end) return 0
        readPages(node, into.subarray(0, end - position), position)
        return end - position
      },
      write: async (data, position) => {
        check(flags.write || flags.append)
        const at = flags.append ? node.size : position
        if (at + data.length > node.size) this.#resize(node, at + data.length)
        writePages(node, data, at)
        node.mtime = now()
      },
      stat: async () => {
        check(true)
        return statOf(node)
      },
      setstat: async (changes) => {
        check(true)
        this.#change(node, changes)
      },
      sync: async () => check(true),
      close: async () => {
        check(true)
        open = false
      },
    }
  }

  #change(node: Node, changes: AttributeChanges): void {
    const { size, mode, uid, gid, atime, mtime } = changes
    if (size !== undefined) {
      if (node.type === 'directory') throw errnoError('EISDIR')
      if (node.type === 'link') throw errnoError('EINVAL')
      this.#resize(node, size)
      node.mtime = now()
    }
    if (mode !== undefined) node.mode = (node.mode & FILE_TYPE.MASK) | (mode & 0o7777)
    if (atime !== undefined && mtime !== undefined) {
      node.atime = atime
      node.mtime = mtime
    }
    if (uid !== undefined && gid !== undefined) {
      node.uid = uid
      node.gid = gid
    }
  }

  #resize(node: FileNode, size: number): void {
    if (size > this.#capacity || this.#used - node.size + size > this.#capacity) {
      throw errnoError('ENOSPC')
    }
    if (size < node.size) {
      const last = Math.floor(size / PAGE_BYTES)
      for (const number of [...node.pages.keys()]) {
        if (number > last) node.pages.delete(number)
      }
      node.pages.get(last)?.fill(0, size % PAGE_BYTES)
    }
    if (node.links > 0) this.#used += size - node.size
    node.size = size
  }

  #common(mode: number): Common {
    const time = now()
    const { uid = 0, gid = 0 } = this.#options
    return { id: this.#nextId++, mode, uid, gid, atime: time, mtime: time, links: 1 }
  }

  #newDirectory(permissions: number, parent: DirectoryNode | undefined): DirectoryNode {
    return {
      ...this.#common(FILE_TYPE.DIRECTORY | permissions),
      type: 'directory',
      entries: new Map(),
      links: 2,
      parent,
    }
  }

  #put({ parent, name }: Found, node: Node): void {
    if (name === undefined) throw errnoError('EEXIST')
    checkName(name)
    parent.entries.set(name, node)
    parent.mtime = now()
  }

  #detach({ parent, name, node }: Found, moving = false): void {
    if (name === undefined || node === undefined) throw errnoError('EBUSY')
    parent.entries.delete(name)
    parent.mtime = now()
    if (node.type === 'directory') parent.links--
    if (moving) return
    node.links--
    // What an open handle still reaches stays alive with it, but no longer counts.
    if (node.type === 'file' && node.links === 0) this.#used -= node.size
  }

  #existing(path: string, followLast: boolean): Node {
    const { parent, name, node } = this.#find(path, followLast)
    if (name === undefined) return parent
    if (node === undefined) throw errnoError('ENOENT')
    return node
  }

  #directory(path: string): DirectoryNode {
    const node = this.#existing(path, true)
    if (node.type !== 'directory') throw errnoError('ENOTDIR')
    return node
  }

  /** Walks a path, following links on the way, and at its end if asked to. */
  #find(path: string, followLast: boolean): Found {
    if (path === '') throw errnoError('ENOENT')
    const follow = followLast || path.endsWith('/') || path.endsWith('/.')
    let directory = path.startsWith('/') ? this.#root : this.#home
    let found: Found = { parent: directory, name: undefined, node: directory }
    const todo = components(path)
    let links = 0
    for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
      if (found.node === undefined) throw errnoError('ENOENT')
      if (found.node.type !== 'directory') throw errnoError('ENOTDIR')
      directory = found.node
      if (part === '..') {
        const up = directory.parent ?? directory
        found = { parent: up, name: undefined, node: up }
        continue
      }
      const node = directory.entries.get(part)
      const last = todo.length === 0
      if (node?.type === 'link' && (!last || follow)) {
        links++
        if (links > SYMLINKS_MAX) throw errnoError('ELOOP')
        const start = node.target.startsWith('/') ? this.#root : directory
        found = { parent: start, name: undefined, node: start }
        todo.push(...components(node.target))
        continue
      }
      found = { parent: directory, name: part, node }
    }
    if (path.endsWith('/') && found.node !== undefined && found.node.type !== 'directory') {
      throw errnoError('ENOTDIR')
    }
    return found
  }
}

function readPages({ pages }: FileNode, into: Uint8Array, position: number): void {
  for (let done = 0; done < into.length; ) {
    const offset = (position + done) % PAGE_BYTES
    const part = into.subarray(done, done + PAGE_BYTES - offset)
    const page = pages.get(Math.floor((position + done) / PAGE_BYTES))
    const present = page?.subarray(offset, offset + part.length) ?? new Uint8Array(0)
    part.set(present)
    part.fill(0, present.length)
    done += part.length
  }
}

function writePages({ pages }: FileNode, data: Uint8Array, position: number): void {
  for (let done = 0; done < data.length; ) {
    const number = Math.floor((position + done) / PAGE_BYTES)
    const offset = (position + done) % PAGE_BYTES
    const part = data.subarray(done, done + PAGE_BYTES - offset)
    const needed = offset + part.length
    let page = pages.get(number)
    if (page === undefined || page.length < needed) {
      // Small files take little; a page that grows soon is whole.
      const grown = new Uint8Array(Math.min(PAGE_BYTES, Math.max(needed, 4 * (page?.length ?? 0))))
      if (page !== undefined) grown.set(page)
      page = grown
      pages.set(number, page)
    }
    page.set(part, offset)
    done += part.length
  }
}

/** The parts of a path, last one first. */
function components(path: string): string[] {
  return path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .reverse()
}

function checkName(name: string): void {
  if (name.length > NAME_BYTES_MAX) throw errnoError('ENAMETOOLONG')
}

function pathOf(directory: DirectoryNode): string {
  const parts: string[] = []
  for (let node = directory, up = node.parent; up !== undefined; node = up, up = node.parent) {
    for (const [name, entry] of up.entries) {
      if (entry === node) parts.push(name)
    }
  }
  return `/${parts.reverse().join('/')}`
}

function statOf(node: Node): FileStat {
  const { mode, uid, gid, atime, mtime, links } = node
  const size =
    node.type === 'file' ? node.size : node.type === 'link' ? node.target.length : BLOCK_BYTES
  return { size, uid, gid, mode, atime, mtime, linkCount: links }
}

function now(): number {
  return Date.now() / 1000
}
