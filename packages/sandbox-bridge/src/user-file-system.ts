/**
 * Files as one user may use them, over a file system that does everything as root.
 *
 * Each operation is preceded by the kernel's own questions: may he search the directories on the
 * way, may he write here, is it his. What this cannot withstand is a program of the same user inside
 * that swaps a directory for a link between the question and the act: a guest's own sftp-server is
 * better, and is used where there is one.
 */
import {
  type AttributeChanges,
  asSftpError,
  errnoError,
  type FileStat,
  isDirectory,
  isFile,
  joinPath,
  type OpenFlags,
  parentPath,
  resolvePath,
  type SftpFile,
  type SftpFileSystem,
} from '@sandbox-ssh/sftp'
import type { Owner } from './guest-user.ts'

/** Rights as in mode bits. */
const READ = 4
const WRITE = 2
const SEARCH = 1
const STICKY = 0o1000
const SETGID = 0o2000

/** `files` for `user`; relative paths start in `home`. */
export function userFileSystem(files: SftpFileSystem, user: Owner, home: string): SftpFileSystem {
  const rights = new Rights(files, user, home)
  const { hardlink, statvfs, lsetstat, posixRename, usersGroupsById, homeDirectory } = files
  const renaming = async (oldPath: string, newPath: string): Promise<[string, string]> => {
    const [from, to] = await Promise.all([rights.find(oldPath, false), rights.find(newPath, false)])
    await rights.needRename(from, to)
    return [from.path, to.path]
  }
  const setting = async (
    path: string,
    changes: AttributeChanges,
    follow: boolean,
  ): Promise<[string, AttributeChanges]> => {
    const found = await rights.find(path, follow)
    const stat = present(found)
    if (changes.size !== undefined) {
      if (isDirectory(stat)) throw errnoError('EISDIR')
      rights.need(stat, WRITE)
    }
    return [found.path, rights.permittedChanges(stat, changes)]
  }
  return {
    async open(path, flags, mode) {
      const exclusive = flags.create === true && flags.exclusive === true
      const found = await rights.find(path, !exclusive)
      await rights.needOpen(found, flags)
      return userFile(await files.open(found.path, flags, mode), rights)
    },
    async opendir(path) {
      const found = await rights.find(path, true)
      const stat = present(found)
      if (!isDirectory(stat)) throw errnoError('ENOTDIR')
      rights.need(stat, READ)
      return files.opendir(found.path)
    },
    stat: async (path) => present(await rights.find(path, true)),
    lstat: async (path) => present(await rights.find(path, false)),
    setstat: async (path, changes) => files.setstat(...(await setting(path, changes, true))),
    async mkdir(path, mode) {
      const found = await rights.find(path, false)
      if (found.stat === undefined) rights.need(found.parent, WRITE | SEARCH)
      await files.mkdir(found.path, mode)
    },
    async rmdir(path) {
      const found = await rights.find(path, false)
      rights.needRemove(found)
      await files.rmdir(found.path)
    },
    async remove(path) {
      const found = await rights.find(path, false)
      rights.needRemove(found)
      await files.remove(found.path)
    },
    rename: async (oldPath, newPath) => files.rename(...(await renaming(oldPath, newPath))),
    async symlink(target, linkPath) {
      const found = await rights.find(linkPath, false)
      if (found.stat === undefined) rights.need(found.parent, WRITE | SEARCH)
      await files.symlink(target, found.path)
    },
    readlink: async (path) => files.readlink((await rights.find(path, false)).path),
    realpath: async (path) => (await rights.find(path, true)).path,
    ...(lsetstat && {
      lsetstat: async (path, changes) =>
        lsetstat.call(files, ...(await setting(path, changes, false))),
    }),
    ...(posixRename && {
      posixRename: async (oldPath, newPath) =>
        posixRename.call(files, ...(await renaming(oldPath, newPath))),
    }),
    ...(hardlink && {
      async hardlink(existingPath, linkPath) {
        const from = await rights.find(existingPath, false)
        present(from)
        const to = await rights.find(linkPath, false)
        rights.needLink(from, to)
        await hardlink.call(files, from.path, to.path)
      },
    }),
    ...(statvfs && {
      statvfs: async (path) => statvfs.call(files, (await rights.find(path, true)).path),
    }),
    ...(usersGroupsById && { usersGroupsById: usersGroupsById.bind(files) }),
    ...(homeDirectory && { homeDirectory: homeDirectory.bind(files) }),
  }
}

/** A path that was walked: free of links, each directory on it searchable by the user. */
interface Found {
  readonly path: string
  readonly parent: FileStat
  /** Undefined if there is nothing of that name. */
  readonly stat: FileStat | undefined
}

function present({ stat }: Found): FileStat {
  if (stat === undefined) throw errnoError('ENOENT')
  return stat
}

/** What the kernel would allow a user. */
class Rights {
  readonly #files: SftpFileSystem
  readonly #user: Owner
  readonly #home: string

  constructor(files: SftpFileSystem, user: Owner, home: string) {
    this.#files = files
    this.#user = user
    this.#home = home
  }

  /** Walks to a file. Rejects with EACCES at a directory the user may not search. */
  async find(path: string, followLast: boolean): Promise<Found> {
    const known = new Map<string, FileStat>()
    const look = async (each: string): Promise<FileStat> => {
      if (each !== '/') {
        const parent = await directory(parentPath(each))
        if (!isDirectory(parent)) throw errnoError('ENOTDIR')
        this.need(parent, SEARCH)
      }
      const stat = await this.#files.lstat(each)
      known.set(each, stat)
      return stat
    }
    const directory = async (each: string): Promise<FileStat> => known.get(each) ?? look(each)
    const whole = joinPath(this.#home, path === '' ? '.' : path)
    const walk = { lstat: look, readlink: (each: string) => this.#files.readlink(each) }
    const real = await resolvePath(walk, whole, { followLast })
    const parent = await directory(parentPath(real))
    this.need(parent, SEARCH)
    try {
      return { path: real, parent, stat: await directory(real) }
    } catch (error) {
      if (!isMissing(error)) throw error
      return { path: real, parent, stat: undefined }
    }
  }

  /** @throws SftpError EACCES */
  need(stat: FileStat, rights: number): void {
    if (!this.#has(stat, rights)) throw errnoError('EACCES')
  }

  async needOpen({ stat, parent }: Found, flags: OpenFlags): Promise<void> {
    if (stat === undefined) {
      if (flags.create !== true) throw errnoError('ENOENT')
      this.need(parent, WRITE | SEARCH)
      return
    }
    const writes = flags.write === true || flags.append === true || flags.truncate === true
    if (writes && isDirectory(stat)) throw errnoError('EISDIR')
    if (writes) this.need(stat, WRITE)
    if (flags.read === true || !writes) this.need(stat, READ)
  }

  needRemove(found: Found): void {
    const stat = present(found)
    this.need(found.parent, WRITE | SEARCH)
    if (this.#isKept(found.parent, stat)) throw errnoError('EPERM')
  }

  async needRename(from: Found, to: Found): Promise<void> {
    this.needRemove(from)
    this.need(to.parent, WRITE | SEARCH)
    if (to.stat !== undefined && this.#isKept(to.parent, to.stat)) throw errnoError('EPERM')
    // A directory that moves has its `..` rewritten.
    const moves = parentPath(from.path) !== parentPath(to.path)
    if (moves && isDirectory(present(from))) this.need(present(from), WRITE)
  }

  /** As with `fs.protected_hardlinks`, which every distribution sets. */
  needLink(from: Found, to: Found): void {
    const stat = present(from)
    if (to.stat !== undefined) throw errnoError('EEXIST')
    this.need(to.parent, WRITE | SEARCH)
    const mine = stat.uid === this.#user.uid
    const plain = isFile(stat) && (stat.mode & 0o6000) === 0
    if (!mine && !(plain && this.#has(stat, READ | WRITE))) throw errnoError('EPERM')
  }

  /** What of the changes he may make, all of which are the owner's; size is checked elsewhere. */
  permittedChanges(stat: FileStat, changes: AttributeChanges): AttributeChanges {
    const { mode, uid, gid, mtime } = changes
    const { uid: self, groups } = this.#user
    const owns = stat.uid === self
    if ((mode !== undefined || mtime !== undefined) && !owns) throw errnoError('EPERM')
    if (uid !== undefined && gid !== undefined) {
      const same = uid === stat.uid && gid === stat.gid
      if (!same && !(owns && uid === self && groups.has(gid))) throw errnoError('EPERM')
    }
    if (mode === undefined || (mode & SETGID) === 0 || groups.has(gid ?? stat.gid)) return changes
    return { ...changes, mode: mode & ~SETGID }
  }

  #has(stat: FileStat, rights: number): boolean {
    const { uid, groups } = this.#user
    const shift = stat.uid === uid ? 6 : groups.has(stat.gid) ? 3 : 0
    return ((stat.mode >> shift) & rights) === rights
  }

  /** In a sticky directory only its owner and a file's own may take the file away. */
  #isKept(parent: FileStat, stat: FileStat): boolean {
    const { uid } = this.#user
    return (parent.mode & STICKY) !== 0 && parent.uid !== uid && stat.uid !== uid
  }
}

/** An open file, whose attributes are its owner's to change. */
function userFile(file: SftpFile, rights: Rights): SftpFile {
  return {
    read: (into, position) => file.read(into, position),
    write: (data, position) => file.write(data, position),
    stat: () => file.stat(),
    setstat: async (changes) => file.setstat(rights.permittedChanges(await file.stat(), changes)),
    close: () => file.close(),
    ...(file.sync && { sync: file.sync.bind(file) }),
    ...(file.statvfs && { statvfs: file.statvfs.bind(file) }),
  }
}

function isMissing(error: unknown): boolean {
  return asSftpError(error)?.errno === 'ENOENT'
}
