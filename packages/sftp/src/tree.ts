/**
 * Copying files and trees between any two file systems: a server and the disk, either way, or a
 * server and memory. Names come from the source, who may be hostile: none leads out of the target.
 */
import { SshError } from '@sandbox-ssh/protocol'
import type {
  AttributeChanges,
  DirectoryEntry,
  FileAttributes,
  SftpDirectory,
  SftpFile,
  SftpFileSystem,
} from './file-system.ts'
import { isDirectory, isFile, isSymlink } from './file-system.ts'
import {
  IN_FLIGHT_BYTES_MAX,
  READDIR_ENTRIES_MAX,
  TREE_DEPTH_MAX,
  TREE_FILES_AT_ONCE,
} from './limits.ts'
import { isEntryName, joinPath, printablePath } from './path.ts'
import { RemoteFile, RemoteFileSystem } from './remote-file-system.ts'
import { throwIfAborted } from './requests.ts'
import { asSftpError, errnoError, SftpError, STATUS } from './status.ts'
import { Budget, transfer } from './transfer.ts'

/** How far a copy has got. */
export interface CopyProgress {
  /** The source file this is about. */
  readonly path: string
  /** Bytes of it in place, those of an earlier attempt included. */
  readonly bytes: number
  /** Its size, as far as the source told. */
  readonly size: number | undefined
  /** Bytes moved in all files so far, in this run. */
  readonly totalBytes: number
  /** Files finished so far. */
  readonly files: number
  /** True when this file is done. */
  readonly done: boolean
}

/** How files and trees are copied. */
export interface CopyOptions {
  /** Copy directories with all that is in them; without it, a directory is an error. */
  readonly recursive?: boolean
  /** Keep modes and times. Without it, new files get the source's permissions less the umask. */
  readonly preserve?: boolean
  /** Go on where the target file ends, if it is shorter than the source; skip it if it is as long. */
  readonly resume?: boolean
  /** Links met inside a tree: copied as what they lead to (the default), as links, or left out. */
  readonly links?: 'follow' | 'copy' | 'skip'
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: CopyProgress) => void
  /**
   * Told what could not be copied; the rest of the tree goes on. Without it the first failure ends
   * everything. An abort or a lost connection always does.
   */
  readonly onError?: (path: string, error: unknown) => void
  /** Blocks in flight for each file at most. */
  readonly inFlight?: number
}

/** What was copied. */
export interface CopyResult {
  readonly files: number
  readonly directories: number
  /** Bytes moved in this run. */
  readonly bytes: number
}

/**
 * Copies `from` to `to`, both exact: nothing is appended if `to` is a directory. A directory that is
 * there already is filled up. Rejects with SftpError for files and directories that cannot be opened
 * or made, TransferError for what broke on the way, SshError `SSH_ABORTED`.
 *
 * @example
 * import { copyTree, memoryFileSystem } from '@sandbox-ssh/sftp'
 *
 * const backup = memoryFileSystem()
 * const progress: string[] = []
 * const { files, bytes } = await copyTree(sftp.fileSystem, '/etc', backup, '/etc', {
 *   recursive: true,
 *   onProgress: ({ path }) => progress.push(path),
 * })
 * console.log(files, bytes) // 1 10
 */
export async function copyTree(
  source: SftpFileSystem,
  from: string,
  target: SftpFileSystem,
  to: string,
  options: CopyOptions = {},
): Promise<CopyResult> {
  const { signal } = options
  return new Copy(under(source, signal), under(target, signal), options).run(from, to)
}

/** What waits for a server ends with the signal; files of this machine answer by themselves. */
function under(files: SftpFileSystem, signal: AbortSignal | undefined): SftpFileSystem {
  return files instanceof RemoteFileSystem ? files.under(signal) : files
}

class Copy {
  readonly #source: SftpFileSystem
  readonly #target: SftpFileSystem
  readonly #options: CopyOptions
  readonly #slots = new Slots(TREE_FILES_AT_ONCE)
  readonly #budget = new Budget(IN_FLIGHT_BYTES_MAX)
  /** Source files on their way to being closed. */
  readonly #closing = new Set<Promise<void>>()
  #files = 0
  #directories = 0
  #bytes = 0

  constructor(source: SftpFileSystem, target: SftpFileSystem, options: CopyOptions) {
    this.#source = source
    this.#target = target
    this.#options = options
  }

  async run(from: string, to: string): Promise<CopyResult> {
    throwIfAborted(this.#options.signal)
    await this.#any(from, to, await this.#source.stat(from), 0)
    await Promise.all(this.#closing)
    return { files: this.#files, directories: this.#directories, bytes: this.#bytes }
  }

  async #any(from: string, to: string, attributes: FileAttributes, depth: number): Promise<void> {
    if (isDirectory(attributes)) {
      if (!this.#options.recursive)
        throw errnoError('EISDIR', `${printablePath(from)}: is a directory`)
      return this.#directory(from, to, attributes, depth)
    }
    // Servers that tell no type are taken at their word that there is something to read.
    if (attributes.mode !== undefined && attributes.mode > 0o7777 && !isFile(attributes)) {
      throw new SftpError(STATUS.FAILURE, `${printablePath(from)}: not a regular file`)
    }
    return this.#slots.use(() => this.#file(from, to, attributes))
  }

  async #directory(
    from: string,
    to: string,
    attributes: FileAttributes,
    depth: number,
  ): Promise<void> {
    if (depth >= TREE_DEPTH_MAX) {
      throw errnoError('ELOOP', `${printablePath(from)}: more than ${TREE_DEPTH_MAX} levels deep`)
    }
    await this.#makeDirectory(to, attributes)
    this.#directories++
    const seen = new Set<string>()
    let failure: { readonly error: unknown } | undefined
    const children: Promise<void>[] = []
    for await (const entry of entries(this.#source, from)) {
      if (failure !== undefined) break
      checkEntry(from, entry.name, seen)
      const child = this.#entry(joinPath(from, entry.name), joinPath(to, entry.name), entry, depth)
      children.push(
        child.catch((error: unknown) => {
          failure ??= { error }
        }),
      )
      // Bounds what waits; how many run at once is the slots' business.
      if (children.length >= READDIR_ENTRIES_MAX) await Promise.all(children.splice(0))
    }
    await Promise.all(children)
    if (failure !== undefined) throw failure.error
    if (this.#options.preserve) await this.#keep(to, attributes)
  }

  async #entry(from: string, to: string, entry: DirectoryEntry, depth: number): Promise<void> {
    const { signal, links = 'follow', onError } = this.#options
    try {
      throwIfAborted(signal)
      let { attributes } = entry
      if (attributes.mode === undefined) attributes = await this.#source.lstat(from)
      if (isSymlink(attributes)) {
        if (links === 'skip') return
        if (links === 'copy') return await this.#link(from, to)
        attributes = await this.#source.stat(from)
      }
      await this.#any(from, to, attributes, depth + 1)
    } catch (error) {
      if (onError === undefined || isFatal(error)) throw error
      onError(from, error)
    }
  }

  async #link(from: string, to: string): Promise<void> {
    const target = await this.#source.readlink(from)
    try {
      await this.#target.symlink(target, to)
    } catch (error) {
      const there = await this.#target.lstat(to).catch(() => undefined)
      if (there === undefined || isDirectory(there)) throw targetError(to, error)
      await ofTarget(to, this.#target.remove(to))
      await ofTarget(to, this.#target.symlink(target, to))
    }
    this.#files++
  }

  /** Makes it writable for us in any case; `#keep` sets the mode it is to have in the end. */
  async #makeDirectory(to: string, attributes: FileAttributes): Promise<void> {
    const mode = attributes.mode === undefined ? undefined : (attributes.mode & 0o777) | 0o700
    try {
      await this.#target.mkdir(to, mode)
    } catch (error) {
      const there = await this.#target.stat(to).catch(() => undefined)
      if (there === undefined || !isDirectory(there)) throw targetError(to, error)
    }
  }

  async #keep(to: string, attributes: FileAttributes): Promise<void> {
    const changes = kept(attributes)
    if (changes !== undefined) await ofTarget(to, this.#target.setstat(to, changes))
  }

  async #file(from: string, to: string, attributes: FileAttributes): Promise<void> {
    const { resume, preserve, signal, onProgress, inFlight } = this.#options
    throwIfAborted(signal)
    const { size } = attributes
    const position = resume ? await this.#resumeAt(to, size) : 0
    const report = (bytes: number, done: boolean): void => {
      const totals = { totalBytes: this.#bytes, files: this.#files }
      onProgress?.({ path: from, bytes: position + bytes, size, ...totals, done })
    }
    const input = await this.#source.open(from, { read: true })
    try {
      const flags = { write: true, create: true, truncate: position === 0 }
      const mode = attributes.mode === undefined ? undefined : attributes.mode & 0o777
      const output = await ofTarget(to, this.#target.open(to, flags, mode))
      let last = 0
      await closing(output, to, async () => {
        await transfer(input, output, from, {
          position,
          sizeHint: size,
          targetPath: to,
          inFlight,
          budget: this.#budget,
          signal,
          onProgress: (bytes) => {
            this.#bytes += bytes - last
            last = bytes
            report(bytes, false)
          },
        })
        return preserve ? kept(attributes) : undefined
      })
      this.#files++
      report(last, true)
    } finally {
      // Nothing was written to it, so its closing has nothing to tell: the next file need not wait.
      const closed = input.close().catch(() => {})
      this.#closing.add(closed)
      void closed.then(() => this.#closing.delete(closed))
    }
  }

  /** Where the target ends if that is inside the source, or its whole length if it is complete. */
  async #resumeAt(to: string, size: number | undefined): Promise<number> {
    const there = await this.#target.stat(to).catch(() => undefined)
    if (there === undefined || !isFile(there)) return 0
    if (size !== undefined && there.size > size) {
      const message = `${printablePath(to)}: longer than its source, cannot be resumed`
      throw new SftpError(STATUS.FAILURE, message)
    }
    return there.size
  }
}

/** Entries of a directory, the directory closed in the end. */
export async function* entries(
  files: SftpFileSystem,
  path: string,
): AsyncGenerator<DirectoryEntry, void, undefined> {
  const directory: SftpDirectory = await files.opendir(path)
  try {
    for (;;) {
      const some = await directory.read(READDIR_ENTRIES_MAX)
      if (some === undefined) return
      for (const entry of some) {
        if (entry.name !== '.' && entry.name !== '..') yield entry
      }
    }
  } finally {
    await directory.close().catch(() => {})
  }
}

/**
 * A hostile server could name an entry `../.bashrc`, or name one twice: first as a link out of the
 * target, then as a directory to be filled through it.
 */
function checkEntry(directory: string, name: string, seen: Set<string>): void {
  const problem = !isEntryName(name) ? 'an impossible name' : seen.has(name) ? 'a name twice' : ''
  if (problem !== '') {
    const shown = `${printablePath(directory)} lists ${problem}: ${printablePath(name)}`
    throw new SshError('SSH_PROTOCOL', shown)
  }
  seen.add(name)
}

/** Has an error of the target say so, as all others are taken to be of the source. */
async function ofTarget<T>(path: string, doing: Promise<T>): Promise<T> {
  try {
    return await doing
  } catch (error) {
    throw targetError(path, error)
  }
}

function targetError(path: string, cause: unknown): unknown {
  const error = asSftpError(cause)
  if (error === undefined) return cause
  const { status, errno } = error
  const message = `${printablePath(path)}: ${error.message}`
  return new SftpError(status, message, { cause, targetPath: path, ...(errno && { errno }) })
}

/** The attributes `preserve` keeps. */
function kept({ mode, atime, mtime }: FileAttributes): AttributeChanges | undefined {
  const changes = {
    ...(mode !== undefined && { mode: mode & 0o7777 }),
    ...(atime !== undefined && mtime !== undefined && { atime, mtime }),
  }
  return Object.keys(changes).length === 0 ? undefined : changes
}

/** Runs `act`, makes the changes it gives and closes the file. The first error counts. */
async function closing(
  file: SftpFile,
  path: string,
  act: () => Promise<AttributeChanges | undefined>,
): Promise<void> {
  let changes: AttributeChanges | undefined
  try {
    changes = await act()
    // A server keeps the order of requests about one handle, so closing may be on its way already.
    if (changes !== undefined && !(file instanceof RemoteFile)) {
      await ofTarget(path, file.setstat(changes))
    }
  } catch (error) {
    const closed = file.close().catch(() => {})
    // Who calls a transfer off does not wait for a server that may have stopped answering.
    if (!isFatal(error)) await closed
    throw error
  }
  const changing = changes !== undefined && file instanceof RemoteFile && file.setstat(changes)
  for (const result of await Promise.allSettled([changing, file.close()])) {
    if (result.status === 'rejected') throw targetError(path, result.reason)
  }
}

/** Whether nothing further can succeed: called off, disconnected, or the peer cannot be trusted. */
function isFatal(error: unknown): boolean {
  return (
    error instanceof SshError && error.code !== 'SFTP_STATUS' && asSftpError(error) === undefined
  )
}

/** At most so many at once. */
class Slots {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(count: number) {
    this.#free = count
  }

  async use(act: () => Promise<void>): Promise<void> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      await act()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free++
      else next()
    }
  }
}
