/** The files of a guest as an SFTP server sees them. */
import {
  type AttributeChanges,
  baseName,
  type DirectoryEntry,
  errnoError,
  FILE_TYPE,
  type FileAttributes,
  type FileStat,
  joinPath,
  type OpenFlags,
  parentPath,
  type SftpDirectory,
  SftpError,
  type SftpFile,
  type SftpFileSystem,
  STATUS,
  type UsersAndGroups,
} from '@sandbox-ssh/sftp'
import {
  type AgentClient,
  type FsResults,
  READ_BYTES_MAX,
  WRITE_BYTES_MAX,
} from './agent/client.ts'
import { AgentError } from './agent/error.ts'
import type { Attributes, FsEntry, FsOps, OpenOptions } from './agent/messages.ts'
import { fileTools, type SyncTool } from './file-tools.ts'
import type { GuestConnection } from './guest-connection.ts'
import { type GuestUser, parseGroups, parsePasswd, readTable } from './guest-user.ts'
import { userFileSystem } from './user-file-system.ts'

/** What the agent takes from the permissions of a new file by itself; for directories it does not. */
const UMASK = 0o022
/** Devices that open at once. */
const PROMPT_DEVICES: ReadonlySet<string> = new Set([
  '/dev/null',
  '/dev/zero',
  '/dev/full',
  '/dev/random',
  '/dev/urandom',
])
/** Entries asked for at once: with the longest names their answer stays far below 4 MiB. */
const ENTRIES_MAX = 128

/**
 * The guest's files for the user `login`. The agent does everything as root; what another user may
 * not do is refused here, and what he makes is given to him.
 * @throws GuestUserError, SandboxError, AgentError `unsupported` for an agent without files
 */
export async function guestFileSystem(
  guest: GuestConnection,
  login: string,
): Promise<SftpFileSystem> {
  const [agent, user] = await Promise.all([guest.agent(), guest.user(login)])
  if (agent.generation < 2) {
    throw new AgentError(
      'unsupported',
      'the agent of this sandbox is too old for SFTP; restart the sandbox to bring it up to date',
    )
  }
  const { sync, ...tools } = await fileTools(agent, (path) => absolutePath(user, path))
  const files: SftpFileSystem = Object.assign(new GuestFileSystem(guest, agent, user, sync), tools)
  return user.owner === undefined ? files : userFileSystem(files, user.owner, user.directory ?? '/')
}

/** The path from the root; relative ones start where the user's sessions do. @throws SftpError */
function absolutePath(user: GuestUser, path: string): string {
  const whole = joinPath(user.directory ?? '/', path === '' ? '.' : path)
  requireText(whole)
  return whole
}

class GuestFileSystem implements SftpFileSystem {
  readonly #guest: GuestConnection
  readonly #agent: AgentClient
  readonly #user: GuestUser
  readonly #owner: GuestUser['owner']
  readonly #sync: SyncTool

  constructor(guest: GuestConnection, agent: AgentClient, user: GuestUser, sync: SyncTool) {
    this.#guest = guest
    this.#agent = agent
    this.#user = user
    this.#owner = user.owner
    this.#sync = sync
  }

  async open(path: string, flags: OpenFlags, mode?: number): Promise<SftpFile> {
    const target = this.#absolute(path)
    const existing = await this.#statIfThere(target, true)
    if (existing !== undefined) await this.#requirePrompt(target, existing)
    const give = this.#guest.takeHandle()
    try {
      const handle = await this.#openHandle(target, flags, mode, existing)
      const sync = this.#sync
      const writes = flags.write === true || flags.append === true
      const file = new GuestFile(this.#agent, handle, writes, give)
      return sync === undefined ? file : Object.assign(file, { sync: () => sync(target) })
    } catch (error) {
      give()
      throw error
    }
  }

  async opendir(path: string): Promise<SftpDirectory> {
    const target = this.#absolute(path)
    const give = this.#guest.takeHandle()
    try {
      const handle = await this.#fs('OpenDir', { path: target })
      return new GuestDirectory(this.#agent, handle, give)
    } catch (error) {
      give()
      throw error
    }
  }

  async stat(path: string): Promise<FileStat> {
    return statOf(await this.#fs('Stat', { path: this.#absolute(path), follow_symlink: true }))
  }

  async lstat(path: string): Promise<FileStat> {
    return statOf(await this.#fs('Stat', { path: this.#absolute(path), follow_symlink: false }))
  }

  setstat(path: string, changes: AttributeChanges): Promise<void> {
    return this.#setstat(path, changes, true)
  }

  lsetstat(path: string, changes: AttributeChanges): Promise<void> {
    return this.#setstat(path, changes, false)
  }

  async mkdir(path: string, mode = 0o777): Promise<void> {
    const target = this.#absolute(path)
    // The agent's own makes parents too, and takes an existing directory for a success.
    const [taken, parent] = await Promise.all([
      this.#statIfThere(target, false),
      this.#fs('Stat', { path: parentPath(target), follow_symlink: true }),
    ])
    if (taken !== undefined) throw errnoError('EEXIST')
    if (parent.kind !== 'dir') throw errnoError('ENOTDIR')
    await this.#fs('Mkdir', { path: target, mode: mode & 0o7777 & ~UMASK })
    await this.#give(target)
  }

  async rmdir(path: string): Promise<void> {
    await this.#fs('RemoveDir', { path: this.#absolute(path), recursive: false })
  }

  async remove(path: string): Promise<void> {
    await this.#fs('Remove', { path: this.#absolute(path) })
  }

  async rename(oldPath: string, newPath: string): Promise<void> {
    const [src, dst] = [this.#absolute(oldPath), this.#absolute(newPath)]
    if ((await this.#statIfThere(dst, false)) !== undefined) throw errnoError('EEXIST')
    await this.#fs('Rename', { src, dst })
  }

  async posixRename(oldPath: string, newPath: string): Promise<void> {
    await this.#fs('Rename', { src: this.#absolute(oldPath), dst: this.#absolute(newPath) })
  }

  async symlink(target: string, linkPath: string): Promise<void> {
    requireText(target)
    const link = this.#absolute(linkPath)
    await this.#fs('Symlink', { target, link_path: link })
    await this.#give(link)
  }

  readlink(path: string): Promise<string> {
    return this.#fs('ReadLink', { path: this.#absolute(path) })
  }

  realpath(path: string): Promise<string> {
    return this.#fs('RealPath', { path: this.#absolute(path) })
  }

  async usersGroupsById(uids: readonly number[], gids: readonly number[]): Promise<UsersAndGroups> {
    const table = async (path: string): Promise<string> => {
      try {
        return await readTable(this.#agent, path)
      } catch (error) {
        throw fileError(error)
      }
    }
    const [passwd, group] = await Promise.all([table('/etc/passwd'), table('/etc/group')])
    const users = parsePasswd(passwd)
    const groups = parseGroups(group)
    return {
      users: uids.map((uid) => users.find((user) => user.uid === uid)?.name),
      groups: gids.map((gid) => groups.find((each) => each.gid === gid)?.name),
    }
  }

  async homeDirectory(username: string): Promise<string> {
    const own = username === '' || username === this.#user.name
    if (own && this.#user.home !== undefined) return this.#user.home
    try {
      const users = parsePasswd(await readTable(this.#agent, '/etc/passwd'))
      const found = users.find(({ name }) => name === username)
      if (found !== undefined) return found.home
    } catch (error) {
      throw fileError(error)
    }
    throw errnoError('ENOENT', 'No such user')
  }

  #absolute(path: string): string {
    return absolutePath(this.#user, path)
  }

  async #setstat(path: string, changes: AttributeChanges, follow: boolean): Promise<void> {
    const target = this.#absolute(path)
    const attrs = attributesOf(changes)
    // With nothing to change the agent does not even look whether the file is there.
    if (Object.keys(attrs).length === 0) {
      await this.#fs('Stat', { path: target, follow_symlink: follow })
      return
    }
    if (attrs.size !== undefined) {
      // The agent opens what it truncates; the kernel would truncate nothing but files.
      const { kind } = await this.#fs('Stat', { path: target, follow_symlink: true })
      if (kind === 'other') throw errnoError('EINVAL')
    }
    await this.#fs('SetStat', { path: target, follow_symlink: follow, attrs })
  }

  /**
   * Opening waits for the other side of a FIFO, or for the carrier of a serial line, and everything
   * in the sandbox with it. @throws SftpError
   */
  async #requirePrompt(path: string, { mode }: FsEntry): Promise<void> {
    const type = mode & FILE_TYPE.MASK
    if (type === FILE_TYPE.FIFO) {
      throw new SftpError(STATUS.FAILURE, 'Is a named pipe, which cannot be opened here')
    }
    // An agent that acknowledges input waits for nothing.
    if (type !== FILE_TYPE.CHARACTER_DEVICE || this.#agent.has('input-ack')) return
    if (PROMPT_DEVICES.has(await this.#fs('RealPath', { path }))) return
    throw new SftpError(STATUS.FAILURE, 'Is a device, which cannot be opened here')
  }

  async #openHandle(
    path: string,
    flags: OpenFlags,
    mode: number | undefined,
    existing: FsEntry | undefined,
  ): Promise<number> {
    const { create = false, exclusive = false, truncate = false, append = false } = flags
    const write = flags.write === true || append
    const read = flags.read === true || !write
    const made = create && existing === undefined
    // Made or emptied without the right to write to it: open(2) can, the agent cannot.
    if (!write && create && (exclusive || made)) {
      await this.#close(await this.#open(path, { write: true, create_new: true, mode }))
      await this.#give(path)
      return this.#open(path, { read })
    }
    if (!write) {
      const handle = await this.#open(path, { read })
      if (truncate) await this.#fs('SetStat', { path, follow_symlink: true, attrs: { size: 0 } })
      return handle
    }
    const handle = await this.#open(path, {
      read,
      write: !append || read,
      append,
      create,
      // Both at once are refused by the agent.
      truncate: truncate && !append,
      create_new: create && exclusive,
      mode,
    })
    try {
      if (truncate && append) await this.#fs('FSetStat', { handle, attrs: { size: 0 } })
      if (made) await this.#giveHandle(handle)
      return handle
    } catch (error) {
      await this.#close(handle).catch(() => {})
      throw error
    }
  }

  #open(path: string, options: Partial<OpenOptions>): Promise<number> {
    const mode = options.mode === undefined ? {} : { mode: options.mode & 0o7777 }
    const all = { read: false, write: false, append: false, create: false, truncate: false }
    return this.#fs('OpenFile', {
      path,
      options: { ...all, create_new: false, ...options, ...mode },
    })
  }

  async #close(handle: number): Promise<void> {
    await this.#fs('CloseHandle', { handle })
  }

  /** Gives a file or link that was just made to the login's user. */
  async #give(path: string): Promise<void> {
    if (this.#owner === undefined) return
    const { gid } = await this.#fs('Stat', { path, follow_symlink: false })
    const attrs = ownerOf(this.#owner, gid)
    await this.#fs('SetStat', { path, follow_symlink: false, attrs })
  }

  async #giveHandle(handle: number): Promise<void> {
    if (this.#owner === undefined) return
    const { gid } = await this.#fs('FStat', { handle })
    await this.#fs('FSetStat', { handle, attrs: ownerOf(this.#owner, gid) })
  }

  async #statIfThere(path: string, follow: boolean): Promise<FsEntry | undefined> {
    try {
      return await this.#agent.fs('Stat', { path, follow_symlink: follow })
    } catch (error) {
      // Only "not there" is an answer; a loop or a closed directory is told by what comes next.
      if (error instanceof AgentError && error.kind === 'fs') return undefined
      throw fileError(error)
    }
  }

  async #fs<K extends keyof FsResults>(op: K, fields: FsOps[K]): Promise<FsResults[K]> {
    try {
      return await this.#agent.fs(op, fields)
    } catch (error) {
      throw fileError(error)
    }
  }
}

class GuestFile implements SftpFile {
  readonly #agent: AgentClient
  readonly #handle: number
  readonly #writes: boolean
  readonly #give: () => void

  /** `give` gives the handle back to the budget. */
  constructor(agent: AgentClient, handle: number, writes: boolean, give: () => void) {
    this.#agent = agent
    this.#handle = handle
    this.#writes = writes
    this.#give = give
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    const length = Math.min(into.length, READ_BYTES_MAX)
    const chunk = await answer(this.#agent.fsRead(this.#handle, position, length))
    into.set(chunk)
    return chunk.length
  }

  async write(data: Uint8Array, position: number): Promise<void> {
    const writes: Promise<void>[] = []
    for (let at = 0; at < data.length; at += WRITE_BYTES_MAX) {
      const piece = data.subarray(at, at + WRITE_BYTES_MAX)
      writes.push(this.#agent.fsWrite(this.#handle, position + at, piece))
    }
    await answer(Promise.all(writes))
  }

  async stat(): Promise<FileStat> {
    return statOf(await answer(this.#agent.fs('FStat', { handle: this.#handle })))
  }

  async setstat(changes: AttributeChanges): Promise<void> {
    const attrs = attributesOf(changes)
    if (Object.keys(attrs).length === 0) return
    await answer(this.#agent.fs('FSetStat', { handle: this.#handle, attrs }))
  }

  async close(): Promise<void> {
    this.#give()
    const closed = answer(this.#agent.fs('CloseHandle', { handle: this.#handle }))
    // Only what was written may turn out to be lost; clients with many small files wait for each.
    if (this.#writes) await closed
    else closed.catch(() => {})
  }
}

class GuestDirectory implements SftpDirectory {
  readonly #agent: AgentClient
  readonly #handle: number
  readonly #give: () => void

  /** `give` gives the handle back to the budget. */
  constructor(agent: AgentClient, handle: number, give: () => void) {
    this.#agent = agent
    this.#handle = handle
    this.#give = give
  }

  async read(maxEntries: number): Promise<readonly DirectoryEntry[] | undefined> {
    const limit = Math.max(1, Math.min(maxEntries, ENTRIES_MAX))
    const entries = await answer(this.#agent.fs('ReadDir', { handle: this.#handle, limit }))
    if (entries.length === 0) return undefined
    return entries.map((entry) => ({ name: baseName(entry.path), attributes: entryOf(entry) }))
  }

  async close(): Promise<void> {
    this.#give()
    await answer(this.#agent.fs('CloseHandle', { handle: this.#handle }))
  }
}

/** Waits for the agent, with its errors as SFTP's. */
async function answer<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw fileError(error)
  }
}

/** An error of the agent as SFTP tells it: by number where there is one. */
export function fileError(error: unknown): unknown {
  if (!(error instanceof AgentError)) return error
  const { kind, errno, message } = error
  switch (kind) {
    case 'fs': {
      const known = errno === undefined ? errnoOfText(message) : errno
      if (known === undefined) return new SftpError(STATUS.FAILURE, message, { cause: error })
      const named = errnoError(known, undefined, error)
      // An error our table does not know has at least the agent's words.
      return named.errno === undefined ? errnoError(known, message, error) : named
    }
    case 'unsupported':
      return new SftpError(STATUS.OP_UNSUPPORTED, message, { cause: error })
    case 'closed':
      return new SftpError(STATUS.CONNECTION_LOST, message, { cause: error })
    default:
      return new SftpError(STATUS.FAILURE, message, { cause: error })
  }
}

/** What the agent says in words alone, where the kernel would have given a number. */
function errnoOfText(message: string): string | undefined {
  if (/is not open for|invalid handle/.test(message)) return 'EBADF'
  if (/is a directory/.test(message)) return 'EISDIR'
  if (/too many open/.test(message)) return 'EMFILE'
  if (/unexpected NUL/.test(message)) return 'EINVAL'
  return undefined
}

/** The agent's paths are text; its CBOR would silently replace what is not, and hit another file. */
function requireText(path: string): void {
  if (/\p{Surrogate}/u.test(path)) {
    throw errnoError('EINVAL', 'Names that are not UTF-8 cannot be used in this sandbox')
  }
}

function statOf(entry: FsEntry): FileStat {
  const { size, uid, gid, mode } = entry
  const mtime = entry.mtime ?? entry.modified ?? 0
  return { size, uid, gid, mode, atime: entry.atime ?? mtime, mtime }
}

/** As `statOf`, empty where the agent could not look: its mode is then 0. */
function entryOf(entry: FsEntry): FileAttributes {
  return entry.mode === 0 && entry.kind === 'other' ? {} : statOf(entry)
}

function attributesOf(changes: AttributeChanges): Attributes {
  const { size, uid, gid, mode, atime, mtime } = changes
  return {
    ...(size === undefined ? {} : { size }),
    ...(mode === undefined ? {} : { mode: mode & 0o7777 }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(atime === undefined ? {} : { atime: Math.floor(atime) }),
    ...(mtime === undefined ? {} : { mtime: Math.floor(mtime) }),
  }
}

/** A group other than root's was inherited from a set-gid directory, and stays. */
function ownerOf(owner: { readonly uid: number; readonly gid: number }, gid: number): Attributes {
  return { uid: owner.uid, gid: gid === 0 ? owner.gid : gid }
}
