/** A file system that shows one directory of another as its root, as chroot(2) does for processes. */
import type { SftpFileSystem } from './file-system.ts'
import { isDirectory } from './file-system.ts'
import { joinPath } from './path.ts'
import { outerPath, resolvePath } from './resolve.ts'
import { errnoError } from './status.ts'

/**
 * `files` as seen from inside `root`. Paths, `..` and symbolic links, absolute ones too, lead nowhere
 * else: every link is followed by us, one component at a time, and the file system below only sees
 * paths free of links.
 *
 * What this cannot withstand is somebody else with access to the same tree, who swaps a directory
 * for a link between our look and our act; against that the system's own chroot or a sandbox helps.
 *
 * @example
 * import { confinedFileSystem, memoryFileSystem, openSftp, sftpServer } from '@sandbox-ssh/sftp'
 *
 * const disk = memoryFileSystem()
 * await disk.mkdir('/users', 0o755)
 * await disk.mkdir('/users/ada', 0o755)
 * const files = confinedFileSystem(disk, '/users/ada')
 * const sftp = await openSftp(await pair({ subsystems: { sftp: sftpServer(files) } }))
 * await sftp.write('/../../note', 'stays inside')
 * console.log(await sftp.realpath('/../..')) // /
 * console.log((await disk.stat('/users/ada/note')).size) // 12
 */
export function confinedFileSystem(files: SftpFileSystem, root: string): SftpFileSystem {
  const confinement = new Confinement(files, root)
  const follow = (path: string): Promise<string> => confinement.outer(path, true)
  const keep = (path: string): Promise<string> => confinement.outer(path, false)
  const keepNotRoot = async (path: string): Promise<string> => {
    const inner = await confinement.inner(path, false)
    if (inner === '/') throw errnoError('EBUSY')
    return confinement.outer(inner, false)
  }
  const { lsetstat, posixRename, hardlink, statvfs, copyData, usersGroupsById } = bound(files)
  return {
    async open(path, flags, mode) {
      const exclusive = flags.create === true && flags.exclusive === true
      return files.open(await (exclusive ? keep(path) : follow(path)), flags, mode)
    },
    opendir: async (path) => files.opendir(await follow(path)),
    stat: async (path) => files.stat(await follow(path)),
    lstat: async (path) => files.lstat(await keep(path)),
    setstat: async (path, changes) => files.setstat(await follow(path), changes),
    mkdir: async (path, mode) => files.mkdir(await keep(path), mode),
    rmdir: async (path) => files.rmdir(await keepNotRoot(path)),
    remove: async (path) => files.remove(await keep(path)),
    rename: async (from, to) => files.rename(await keepNotRoot(from), await keepNotRoot(to)),
    symlink: async (target, linkPath) => files.symlink(target, await keep(linkPath)),
    readlink: async (path) => files.readlink(await keep(path)),
    realpath: (path) => confinement.inner(path, true),
    ...(lsetstat && {
      lsetstat: async (path, changes) => lsetstat(await keep(path), changes),
    }),
    ...(posixRename && {
      posixRename: async (from, to) => posixRename(await keepNotRoot(from), await keepNotRoot(to)),
    }),
    ...(hardlink && {
      hardlink: async (from, to) => hardlink(await keep(from), await keep(to)),
    }),
    ...(statvfs && { statvfs: async (path) => statvfs(await follow(path)) }),
    ...(copyData && { copyData }),
    ...(usersGroupsById && { usersGroupsById }),
    // Whoever sees only this tree has his home at the top of it; there are no others.
    async homeDirectory(username) {
      if (username !== '') throw errnoError('ENOENT', 'No such user')
      return '/'
    },
  }
}

/** The optional members, free of `this`. */
function bound(
  files: SftpFileSystem,
): Pick<
  SftpFileSystem,
  'lsetstat' | 'posixRename' | 'hardlink' | 'statvfs' | 'copyData' | 'usersGroupsById'
> {
  return {
    ...(files.lsetstat && { lsetstat: files.lsetstat.bind(files) }),
    ...(files.posixRename && { posixRename: files.posixRename.bind(files) }),
    ...(files.hardlink && { hardlink: files.hardlink.bind(files) }),
    ...(files.statvfs && { statvfs: files.statvfs.bind(files) }),
    ...(files.copyData && { copyData: files.copyData.bind(files) }),
    ...(files.usersGroupsById && { usersGroupsById: files.usersGroupsById.bind(files) }),
  }
}

class Confinement {
  readonly #files: SftpFileSystem
  readonly #wanted: string
  #root: Promise<string> | undefined

  constructor(files: SftpFileSystem, root: string) {
    this.#files = files
    this.#wanted = root
  }

  /** The path seen from inside, free of links. */
  async inner(path: string, followLast: boolean): Promise<string> {
    const root = await this.#realRoot()
    return resolvePath(this.#files, joinPath('/', path), { followLast, root })
  }

  /** The same for the file system below. */
  async outer(path: string, followLast: boolean): Promise<string> {
    return outerPath(await this.#realRoot(), await this.inner(path, followLast))
  }

  #realRoot(): Promise<string> {
    this.#root ??= this.#findRoot()
    return this.#root
  }

  async #findRoot(): Promise<string> {
    const root = await this.#files.realpath(this.#wanted)
    if (!isDirectory(await this.#files.stat(root))) throw errnoError('ENOTDIR')
    return root
  }
}
