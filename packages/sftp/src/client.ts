/** The client: what one wants to do with a server's files. */
import { SshError, type Transport, type WaitOptions } from '@sandbox-ssh/protocol'
import type {
  AttributeChanges,
  FileAttributes,
  FileSystemStat,
  OpenFlags,
  SftpFileSystem,
  UsersAndGroups,
} from './file-system.ts'
import { isDirectory } from './file-system.ts'
import { READ_BYTES_MAX, READDIR_ENTRIES_MAX } from './limits.ts'
import { joinPath, parentPath, printablePath } from './path.ts'
import { type RemoteEntry, type RemoteFile, RemoteFileSystem } from './remote-file-system.ts'
import { listen, Requests, type Talkative, throwIfAborted } from './requests.ts'
import { asSftpError, SftpError, STATUS } from './status.ts'
import { byteSink, byteSource, collect } from './streams.ts'
import { type CopyOptions, type CopyResult, copyTree } from './tree.ts'
import type { Limits } from './wire.ts'

/** Where a session can be opened: an SSH client. */
export interface SftpSource {
  /** With `stderr: 'pipe'`, `readStderr` of the result gives what the server has to say. */
  subsystem(
    name: string,
    options?: WaitOptions & { readonly stderr?: 'pipe' },
  ): Promise<Transport & Talkative>
  /** The server's identification line, for the order of SYMLINK's arguments. */
  readonly serverIdentification?: string
}

/** How to open a session. */
export interface OpenSftpOptions {
  /** Gives up opening. */
  readonly signal?: AbortSignal
  /** The server's identification line, where the source does not tell. */
  readonly serverIdentification?: string
}

/**
 * Opens an SFTP session: the subsystem `sftp` of an SSH client, or directly over a transport.
 * Rejects with SshError: `SSH_REQUEST_REFUSED` if the server has no such subsystem,
 * `SSH_CONNECTION_LOST`, `SSH_PROTOCOL` if what answers is not SFTP version 3, `SSH_ABORTED`.
 *
 * @example
 * import { openSftp } from '@sandbox-ssh/sftp'
 *
 * await using sftp = await openSftp(client)
 * await sftp.write('/greeting', 'hello')
 * console.log(await sftp.readText('/greeting')) // hello
 */
export function openSftp(
  source: SftpSource | Transport,
  options: OpenSftpOptions = {},
): Promise<SftpClient> {
  return SftpClient.open(source, options)
}

/** What of a file to read, and how. */
export interface ReadOptions {
  /** First byte; 0 by default. */
  readonly position?: number
  /** How many bytes; all by default. */
  readonly length?: number
  /** Blocks in flight at most. */
  readonly inFlight?: number
  readonly signal?: AbortSignal
}

/** How to write a file. */
export interface WriteOptions {
  /** Permissions of a file that is made. */
  readonly mode?: number
  /** Add to the end instead of replacing the contents. */
  readonly append?: boolean
  /** Fail if the file is there. */
  readonly exclusive?: boolean
  /** Blocks in flight at most. */
  readonly inFlight?: number
  readonly signal?: AbortSignal
}

/** How to open a stream into a file. */
export interface WritableOptions extends WriteOptions {
  /** Write from here and keep everything else; without it the contents are replaced. */
  readonly position?: number
}

/**
 * An SFTP session. Paths are strings as `decodePath` makes them; relative ones start in the user's
 * home. Everything rejects with SftpError if the server refuses, SshError `SSH_CONNECTION_LOST` once
 * the session is over. Every call has a `signal` among its last argument, the options: firing it
 * rejects with SshError `SSH_ABORTED` (`SSH_TIMEOUT` for `AbortSignal.timeout`). What was asked of the
 * server already may be done all the same; a file that it opens too late is closed.
 *
 * @example
 * await sftp.mkdirs('/var/log')
 * await sftp.write('/var/log/today', 'all quiet')
 * console.log((await sftp.stat('/var/log/today')).size) // 9
 * console.log((await sftp.list('/var/log')).map(({ name }) => name)) // [ 'today' ]
 * await sftp.rename('/var/log/today', '/var/log/yesterday')
 * console.log(await sftp.exists('/var/log/today')) // false
 * await sftp.removeAll('/var')
 */
export class SftpClient {
  readonly #requests: Requests
  readonly #files: RemoteFileSystem

  /** What calls after `close` reject with. */
  protected readonly closedMessage: string = 'the SFTP session was closed'

  constructor(requests: Requests, serverIdentification: string | undefined) {
    this.#requests = requests
    this.#files = new RemoteFileSystem(requests, serverIdentification)
  }

  /** As `openSftp`, for the class it is called on: clients with more to them open the same way. */
  static async open<Opened extends SftpClient>(
    this: new (
      requests: Requests,
      serverIdentification: string | undefined,
    ) => Opened,
    source: SftpSource | Transport,
    options: OpenSftpOptions = {},
  ): Promise<Opened> {
    if (!('subsystem' in source)) {
      // A transport of the caller's is his own, whatever else it has.
      return new this(await Requests.open(source, options.signal), options.serverIdentification)
    }
    const channel = await subsystem(source, options.signal)
    const requests = await Requests.open(channel, options.signal, listen(channel))
    const identification = options.serverIdentification ?? source.serverIdentification
    return new this(requests, identification)
  }

  /**
   * The server's files as a file system, to copy from and to, or to serve on. Optional operations the
   * server does not offer reject with `OP_UNSUPPORTED`.
   */
  get fileSystem(): SftpFileSystem {
    return this.#files
  }

  /** Extensions the server offers, with its version of each. */
  get extensions(): ReadonlyMap<string, string> {
    return this.#requests.extensions
  }

  // Contents.

  /** A file's contents. Rejects with `SSH_LIMIT` past 1 GiB, unless `length` allows more. */
  async read(path: string, options: ReadOptions = {}): Promise<Uint8Array> {
    const max = options.length ?? READ_BYTES_MAX
    const chunks: Uint8Array[] = []
    let bytes = 0
    const source = await this.#source(path, options)
    try {
      for (let chunk = await source.next(); chunk !== undefined; chunk = await source.next()) {
        chunks.push(chunk)
        bytes += chunk.length
        if (bytes > max) {
          throw new SshError('SSH_LIMIT', `${printablePath(path)} has more than ${max} bytes`)
        }
      }
    } finally {
      await source.close()
    }
    return collect(chunks, bytes)
  }

  /** A file's contents as UTF-8 text. */
  async readText(path: string, options: ReadOptions = {}): Promise<string> {
    return new TextDecoder().decode(await this.read(path, options))
  }

  /** Replaces a file's contents, making the file if it is not there. Text is written as UTF-8. */
  async write(path: string, data: Uint8Array | string, options: WriteOptions = {}): Promise<void> {
    const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data
    const sink = await this.#sink(path, options)
    try {
      await sink.write(bytes)
    } catch (error) {
      sink.abort()
      throw error
    }
    await sink.close()
  }

  /** A file's contents as a stream, read ahead as far as the way to the server is long. */
  async readable(path: string, options: ReadOptions = {}): Promise<ReadableStream<Uint8Array>> {
    const source = await this.#source(path, options)
    return new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          try {
            const chunk = await source.next()
            if (chunk !== undefined) return controller.enqueue(chunk)
          } catch (error) {
            await source.close()
            throw error
          }
          await source.close()
          controller.close()
        },
        cancel: () => source.close(),
      },
      { highWaterMark: 0 },
    )
  }

  /** A stream into a file. Closing it reports errors of writes still under way. */
  async writable(path: string, options: WritableOptions = {}): Promise<WritableStream<Uint8Array>> {
    const sink = await this.#sink(path, options)
    return new WritableStream<Uint8Array>({
      write: (chunk) => sink.write(chunk),
      close: () => sink.close(),
      abort: () => sink.abort(),
    })
  }

  /**
   * Opens a file for reads and writes at any position. Close it, or use `await using`.
   *
   * @example
   * await using file = await sftp.open('/log', { read: true, write: true, create: true }, 0o600)
   * await file.write(new TextEncoder().encode('first line'), 0)
   * await sftp.fsync(file)
   * const five = new Uint8Array(5)
   * console.log(await file.read(five, 0), new TextDecoder().decode(five)) // 5 first
   * await file.setstat({ mode: 0o644 })
   * await file.truncate(5)
   * console.log((await file.stat()).size, (await file.attributes()).size) // 5 5
   * console.log((await file.statvfs()).blockSize > 0) // true
   * await file.sync()
   */
  open(
    path: string,
    flags: OpenFlags = { read: true },
    mode?: number,
    { signal }: WaitOptions = {},
  ): Promise<RemoteFile> {
    return this.#files.open(path, flags, mode, signal)
  }

  async #source(path: string, options: ReadOptions): Promise<ReturnType<typeof byteSource>> {
    const file = await this.#files.open(path, { read: true }, undefined, options.signal)
    return byteSource(file, options)
  }

  async #sink(path: string, options: WritableOptions): Promise<ReturnType<typeof byteSink>> {
    const { position, mode, append = false, exclusive = false, signal } = options
    const truncate = position === undefined && !append
    const flags = { write: true, create: true, truncate, append, exclusive }
    const file = await this.#files.open(path, flags, mode, signal)
    return byteSink(file, { ...options, position: position ?? 0, ordered: append })
  }

  // Attributes.

  /** A file's attributes, those of what a link leads to. */
  stat(path: string, { signal }: WaitOptions = {}): Promise<FileAttributes> {
    return this.#files.under(signal).attributes(path, true)
  }

  /** A file's attributes, a link's own. */
  lstat(path: string, { signal }: WaitOptions = {}): Promise<FileAttributes> {
    return this.#files.under(signal).attributes(path, false)
  }

  /** Whether there is something of this name, a dangling link included. */
  async exists(path: string, options: WaitOptions = {}): Promise<boolean> {
    try {
      await this.lstat(path, options)
      return true
    } catch (error) {
      if (asSftpError(error)?.status === STATUS.NO_SUCH_FILE) return false
      throw error
    }
  }

  /** Changes size, mode, times or owner. */
  setstat(path: string, changes: AttributeChanges, { signal }: WaitOptions = {}): Promise<void> {
    return this.#files.under(signal).setstat(path, changes)
  }

  /**
   * As `setstat`, for a link itself.
   *
   * @example
   * await sftp.symlink('motd', '/etc/link')
   * await sftp.lsetstat('/etc/link', { mtime: 1, atime: 1 })
   * console.log((await sftp.lstat('/etc/link')).mtime, await sftp.readlink('/etc/link')) // 1 motd
   */
  lsetstat(path: string, changes: AttributeChanges, { signal }: WaitOptions = {}): Promise<void> {
    return this.#files.under(signal).lsetstat(path, changes)
  }

  // Directories.

  /** The entries of a directory, `.` and `..` left out, as the server sends them. */
  async *readdir(
    path: string,
    { signal }: WaitOptions = {},
  ): AsyncGenerator<RemoteEntry, void, undefined> {
    const directory = await this.#files.under(signal).opendir(path)
    try {
      for (let some = await directory.read(); some !== undefined; some = await directory.read()) {
        yield* some
      }
    } finally {
      await directory.close().catch(() => {})
    }
  }

  /** The entries of a directory in an array, sorted by name. */
  async list(path: string, options: WaitOptions = {}): Promise<RemoteEntry[]> {
    const found: RemoteEntry[] = []
    for await (const entry of this.readdir(path, options)) found.push(entry)
    return found.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  }

  /** Makes a directory; fails if something has that name. */
  mkdir(path: string, mode?: number, { signal }: WaitOptions = {}): Promise<void> {
    return this.#files.under(signal).mkdir(path, mode)
  }

  /** Makes a directory and those above it; content if it is there already. */
  async mkdirs(path: string, mode?: number, options: WaitOptions = {}): Promise<void> {
    try {
      await this.mkdir(path, mode, options)
    } catch (error) {
      if (!(error instanceof SftpError)) throw error
      const there = await this.stat(path, options).catch(() => undefined)
      if (there !== undefined && isDirectory(there)) return
      const parent = parentPath(path)
      if (there !== undefined || parent === path || parent === '.') throw error
      if (error.status !== STATUS.NO_SUCH_FILE) throw error
      await this.mkdirs(parent, undefined, options)
      await this.mkdir(path, mode, options)
    }
  }

  /** Removes an empty directory. */
  rmdir(path: string, { signal }: WaitOptions = {}): Promise<void> {
    return this.#files.under(signal).rmdir(path)
  }

  /** Removes anything but a directory. */
  remove(path: string, { signal }: WaitOptions = {}): Promise<void> {
    return this.#files.under(signal).remove(path)
  }

  /** Removes a file, or a directory with everything in it. Links are removed, never followed. */
  async removeAll(path: string, options: WaitOptions = {}): Promise<void> {
    await this.#removeAny(path, await this.lstat(path, options), options)
  }

  async #removeAny(path: string, attributes: FileAttributes, options: WaitOptions): Promise<void> {
    if (!isDirectory(attributes)) return this.remove(path, options)
    let batch: Promise<void>[] = []
    for await (const entry of this.readdir(path, options)) {
      if (entry.name.includes('/')) {
        throw new SshError('SSH_PROTOCOL', `an impossible name: ${printablePath(entry.name)}`)
      }
      const inner = joinPath(path, entry.name)
      // One directory after the other bounds what is in flight; files of one go together.
      if (isDirectory(entry.attributes)) await this.#removeAny(inner, entry.attributes, options)
      else batch.push(this.#removeUnknown(inner, entry.attributes, options))
      if (batch.length >= READDIR_ENTRIES_MAX) {
        await allOf(batch)
        batch = []
      }
    }
    await allOf(batch)
    await this.rmdir(path, options)
  }

  /** Entries may come without attributes; then one has to ask. */
  async #removeUnknown(
    path: string,
    attributes: FileAttributes,
    options: WaitOptions,
  ): Promise<void> {
    const known = attributes.mode === undefined ? await this.lstat(path, options) : attributes
    await this.#removeAny(path, known, options)
  }

  // Names.

  /**
   * Renames. What has the new name is replaced where the server offers `posix-rename@openssh.com`,
   * and is an error where it does not, or with `overwrite: false`.
   */
  rename(
    oldPath: string,
    newPath: string,
    { overwrite = true, signal }: WaitOptions & { readonly overwrite?: boolean } = {},
  ): Promise<void> {
    const files = this.#files.under(signal)
    return overwrite && files.supports('posix-rename@openssh.com')
      ? files.posixRename(oldPath, newPath)
      : files.rename(oldPath, newPath)
  }

  /** Makes `linkPath` a symbolic link holding `target`. */
  symlink(target: string, linkPath: string, { signal }: WaitOptions = {}): Promise<void> {
    return this.#files.under(signal).symlink(target, linkPath)
  }

  /**
   * Makes `linkPath` another name of the file `existingPath`.
   *
   * @example
   * await sftp.hardlink('/etc/motd', '/etc/second-name')
   * await sftp.remove('/etc/motd')
   * console.log((await sftp.readText('/etc/second-name')).trim()) // all quiet
   * await sftp.mkdir('/empty')
   * await sftp.rmdir('/empty')
   */
  hardlink(existingPath: string, linkPath: string, { signal }: WaitOptions = {}): Promise<void> {
    return this.#files.under(signal).hardlink(existingPath, linkPath)
  }

  /** What a symbolic link holds. */
  readlink(path: string, { signal }: WaitOptions = {}): Promise<string> {
    return this.#files.under(signal).readlink(path)
  }

  /** The absolute path without links; `.` gives the directory where relative paths start. */
  realpath(path: string, { signal }: WaitOptions = {}): Promise<string> {
    return this.#files.under(signal).realpath(path)
  }

  /** Where `~`, `~user` and relative paths lead. */
  expandPath(path: string, { signal }: WaitOptions = {}): Promise<string> {
    return this.#files.under(signal).expandPath(path)
  }

  /**
   * A user's home; one's own without a name.
   *
   * @example
   * console.log(await sftp.homeDirectory(), await sftp.expandPath('~')) // / /
   * const { users, groups } = await sftp.usersGroupsById([4711], [4711])
   * console.log(users.length, groups.length) // 1 1
   */
  homeDirectory(username = '', { signal }: WaitOptions = {}): Promise<string> {
    return this.#files.under(signal).homeDirectory(username)
  }

  // The server.

  /**
   * Size and room of the file system that holds a path.
   *
   * @example
   * const { blocksAvailable, fragmentSize } = await sftp.statvfs('/home')
   * const { packetBytesMax } = await sftp.limits()
   * console.log(blocksAvailable * fragmentSize > 0, packetBytesMax > 0) // true true
   */
  statvfs(path: string, { signal }: WaitOptions = {}): Promise<FileSystemStat> {
    return this.#files.under(signal).statvfs(path)
  }

  /** Forces an open file to stable storage. */
  fsync(file: RemoteFile, { signal }: WaitOptions = {}): Promise<void> {
    return file.sync(signal)
  }

  /**
   * Copies a file at the server, the bytes staying there. The target is made or replaced.
   *
   * @example
   * await sftp.copyData('/etc/motd', '/etc/copy')
   * console.log((await sftp.stat('/etc/copy')).size) // 10
   */
  async copyData(
    from: string,
    to: string,
    { mode, signal }: WaitOptions & { readonly mode?: number | undefined } = {},
  ): Promise<void> {
    const files = this.#files.under(signal)
    const source = await files.open(from, { read: true })
    try {
      const flags = { write: true, create: true, truncate: true }
      const target = await files.open(to, flags, mode)
      try {
        await files.copyData(source, 0, 0, target, 0)
      } catch (error) {
        await target.close().catch(() => {})
        throw error
      }
      await target.close()
    } finally {
      await source.close().catch(() => {})
    }
  }

  /** Names for numeric ids. */
  usersGroupsById(
    uids: readonly number[],
    gids: readonly number[],
    { signal }: WaitOptions = {},
  ): Promise<UsersAndGroups> {
    return this.#files.under(signal).usersGroupsById(uids, gids)
  }

  /** The server's limits; zeros where it sets none. */
  limits({ signal }: WaitOptions = {}): Promise<Limits> {
    return this.#files.under(signal).limits()
  }

  // Files and trees.

  /**
   * Copies a file or tree from the server into `local`: a disk (`nodeFileSystem`), memory, or another
   * server's `fileSystem`.
   *
   * @example
   * import { memoryFileSystem } from '@sandbox-ssh/sftp'
   *
   * const here = memoryFileSystem()
   * const { files } = await sftp.get('/etc', here, '/etc', { recursive: true, preserve: true })
   * console.log(files) // 1
   */
  get(
    remotePath: string,
    local: SftpFileSystem,
    localPath: string,
    options: CopyOptions = {},
  ): Promise<CopyResult> {
    return copyTree(this.#files, remotePath, local, localPath, options)
  }

  /**
   * Copies a file or tree from `local` to the server.
   *
   * @example
   * import { memoryFileSystem } from '@sandbox-ssh/sftp'
   *
   * const here = memoryFileSystem()
   * await here.mkdir('/site')
   * const page = await here.open('/site/index.html', { write: true, create: true })
   * await page.write(new TextEncoder().encode('<p>hello'), 0)
   * await page.close()
   * const { files } = await sftp.put(here, '/site', '/home/ada/site', { recursive: true })
   * console.log(files, await sftp.readText('/home/ada/site/index.html')) // 1 <p>hello
   */
  put(
    local: SftpFileSystem,
    localPath: string,
    remotePath: string,
    options: CopyOptions = {},
  ): Promise<CopyResult> {
    return copyTree(local, localPath, this.#files, remotePath, options)
  }

  /** Ends the session; resolves when the server has ended it too. */
  close(): Promise<void> {
    return this.#requests.close(this.closedMessage)
  }

  /**
   * Ends the session at once; what is waiting rejects with `reason`.
   *
   * @example
   * const waiting = sftp.readText('/etc/motd').catch((error) => error.code)
   * sftp.abort()
   * console.log(await waiting) // SSH_ABORTED
   */
  abort(reason: unknown = new SshError('SSH_ABORTED', 'the SFTP session was aborted')): void {
    this.#requests.abort(reason)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** The subsystem's channel. The signal ends the opening, and means nothing to what was opened. */
async function subsystem(
  source: SftpSource,
  signal: AbortSignal | undefined,
): Promise<Transport & Talkative> {
  if (signal === undefined) return source.subsystem('sftp', { stderr: 'pipe' })
  throwIfAborted(signal)
  const opening = new AbortController()
  const stop = (): void => opening.abort(signal.reason)
  signal.addEventListener('abort', stop, { once: true })
  try {
    return await source.subsystem('sftp', { stderr: 'pipe', signal: opening.signal })
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** Waits for all, even if one fails, so that none is left running; then fails with the first. */
async function allOf(promises: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(promises)) {
    if (result.status === 'rejected') throw result.reason
  }
}
