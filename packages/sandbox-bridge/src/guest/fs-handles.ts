/** Open files and directories of one client, and the streams on them. */
import { constants } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import type { FsEntry, FsOps, OpenOptions } from '../agent/messages.ts'
import { errorNumber } from './errno.ts'
import {
  entryOf,
  type Folder,
  FsFailure,
  nextEntries,
  openDirectory,
  step,
  systemPath,
  timesOf,
} from './fs-paths.ts'

/** Open handles of one client; the agent's own limit. */
const HANDLES_MAX = 1024
/** One piece of a read stream. */
const READ_BYTES = 256 * 1024
/** Entries of one `ReadDir`, when none or more is asked for. */
const ENTRIES_DEFAULT = 128
const ENTRIES_MAX = 4096
/** File permissions when none are given, before the umask. */
const MODE_DEFAULT = 0o666
const ESPIPE = 29

interface OpenFile {
  readonly kind: 'file'
  readonly path: string
  readonly file: FileHandle
  readonly readable: boolean
  readonly writable: boolean
}

interface OpenDirectory {
  readonly kind: 'directory'
  readonly path: string
  readonly dir: Folder
}

/** A handle; whatever is done with it is done in the order it was asked for. */
interface Entry {
  readonly owner: FsHandles
  readonly open: OpenFile | OpenDirectory
  last: Promise<unknown>
}

/** Handles of all clients, numbered across them as the agent does. */
export class HandleTable {
  readonly #entries = new Map<number, Entry>()
  #next = 1

  add(entry: Entry): number {
    const handle = this.#next++
    this.#entries.set(handle, entry)
    return handle
  }

  get(handle: number): Entry | undefined {
    return this.#entries.get(handle)
  }

  delete(handle: number): void {
    this.#entries.delete(handle)
  }

  /** Handles of one client. */
  of(owner: FsHandles): number[] {
    return [...this.#entries].filter(([, entry]) => entry.owner === owner).map(([handle]) => handle)
  }
}

/** What one client has open. */
export class FsHandles {
  readonly #table: HandleTable
  #count = 0
  #closed = false

  constructor(table: HandleTable) {
    this.#table = table
  }

  openFile({ path, options }: FsOps['OpenFile']): Promise<number> {
    return step('open', async () => {
      const flags = openFlags(options)
      const file = await this.#counted(() =>
        open(systemPath(path), flags, options.mode ?? MODE_DEFAULT),
      )
      const readable = options.read
      const writable = options.write || options.append
      return this.#add({ kind: 'file', path, file, readable, writable })
    })
  }

  async openDirectory({ path }: FsOps['OpenDir']): Promise<number> {
    const dir = await this.#counted(() => openDirectory(path))
    return this.#add({ kind: 'directory', path, dir })
  }

  closeHandle({ handle }: FsOps['CloseHandle']): Promise<void> {
    return step('close', async () => {
      const entry = this.#entry(handle)
      this.#table.delete(handle)
      this.#count--
      await inTurn(entry, () => closeOpen(entry.open))
    })
  }

  readDirectory({ handle, limit }: FsOps['ReadDir']): Promise<readonly FsEntry[]> {
    return step('readdir', () => {
      const entry = this.#entry(handle)
      const { open: opened } = entry
      if (opened.kind === 'file') throw new FsFailure(`handle ${handle} is a file`)
      const count = Math.min(Math.max(limit ?? ENTRIES_DEFAULT, 1), ENTRIES_MAX)
      return inTurn(entry, () => nextEntries(opened.dir, opened.path, count))
    })
  }

  stat({ handle }: FsOps['FStat']): Promise<FsEntry> {
    return step('fstat', () => {
      const entry = this.#entry(handle)
      const { open: opened } = entry
      return inTurn(entry, async () =>
        entryOf(
          opened.path,
          opened.kind === 'file' ? await opened.file.stat() : await stat(systemPath(opened.path)),
        ),
      )
    })
  }

  setStat({ handle, attrs }: FsOps['FSetStat']): Promise<void> {
    return step('fsetstat', () => {
      const entry = this.#entry(handle)
      const { file, path } = fileOf(entry, handle)
      return inTurn(entry, async () => {
        const { size, mode, uid, gid } = attrs
        if (size !== undefined) await step('set_len', () => file.truncate(size))
        if (mode !== undefined) await step('chmod', () => file.chmod(mode & 0o7777))
        if (uid !== undefined || gid !== undefined) {
          await step('fchown', () => file.chown(uid ?? -1, gid ?? -1))
        }
        // By path, as the agent does: it fails for a file that has been unlinked.
        const times = await timesOf(attrs, 'stat before futimens', () => stat(systemPath(path)))
        if (times !== undefined) {
          await step('futimens', () => file.utimes(times.atime, times.mtime))
        }
      })
    })
  }

  /** Reads in pieces; `deliver` takes each and says when the next may come. */
  read(
    { handle, offset, len }: FsOps['Read'],
    deliver: (chunk: Uint8Array) => Promise<void>,
  ): Promise<void> {
    return step('read', () => {
      const entry = this.#entry(handle)
      const { file, readable } = fileOf(entry, handle)
      if (!readable) throw new FsFailure(`handle ${handle} is not open for reading`)
      return inTurn(entry, async () => {
        let at = offset
        let left = len ?? Number.POSITIVE_INFINITY
        while (left > 0 && !this.#closed) {
          const buffer = new Uint8Array(Math.min(left, READ_BYTES))
          const { bytesRead } = await seekable(() => file.read(buffer, 0, buffer.length, at))
          if (bytesRead === 0) return
          at += bytesRead
          left -= bytesRead
          await deliver(buffer.subarray(0, bytesRead))
        }
      })
    })
  }

  /** Begins a write stream. @throws FsFailure at once if the handle cannot be written */
  startWrite({ handle, offset, len }: FsOps['Write']): WriteStream {
    try {
      const entry = this.#entry(handle)
      const { file, writable } = fileOf(entry, handle)
      if (!writable) throw new FsFailure(`handle ${handle} is not open for writing`)
      return new WriteStream((action) => inTurn(entry, action), file, offset, len)
    } catch (error) {
      if (error instanceof FsFailure) throw new FsFailure(`write: ${error.message}`)
      throw error
    }
  }

  /** The client is gone: everything is closed, without waiting. */
  abandon(): void {
    this.#closed = true
    for (const handle of this.#table.of(this)) {
      const entry = this.#table.get(handle)
      this.#table.delete(handle)
      if (entry !== undefined) inTurn(entry, () => closeOpen(entry.open)).catch(() => {})
    }
  }

  async #counted<T>(action: () => Promise<T>): Promise<T> {
    if (this.#count >= HANDLES_MAX) {
      throw new FsFailure(`too many open filesystem handles for relay client: ${HANDLES_MAX}`)
    }
    this.#count++
    try {
      return await action()
    } catch (error) {
      this.#count--
      throw error
    }
  }

  async #add(opened: Entry['open']): Promise<number> {
    if (this.#closed) {
      await closeOpen(opened)
      throw new FsFailure('the client is gone')
    }
    return this.#table.add({ owner: this, open: opened, last: Promise.resolve() })
  }

  #entry(handle: number): Entry {
    const entry = this.#table.get(handle)
    if (entry === undefined) throw new FsFailure(`invalid handle: ${handle}`)
    if (entry.owner !== this) {
      throw new FsFailure(`handle ${handle} is owned by a different relay client`)
    }
    return entry
  }
}

/** Bytes on their way into a file. Its one answer comes at the end, or with the first error. */
export class WriteStream {
  readonly #inTurn: (action: () => Promise<void>) => Promise<void>
  readonly #file: FileHandle
  readonly #expected: number | undefined
  #offset: number
  #written = 0
  /** An error that shows with the next piece: the agent writes behind as well. */
  #failure: unknown

  constructor(
    inOrder: (action: () => Promise<void>) => Promise<void>,
    file: FileHandle,
    offset: number,
    expected: number | undefined,
  ) {
    this.#inTurn = inOrder
    this.#file = file
    this.#offset = offset
    this.#expected = expected
  }

  /** Writes one piece. Rejects if the one before failed; then the stream is over. */
  write(chunk: Uint8Array): Promise<void> {
    return this.#inTurn(() =>
      step('write', async () => {
        if (this.#failure !== undefined) throw this.#failure
        try {
          for (let at = 0; at < chunk.length; ) {
            const { bytesWritten } = await seekable(() =>
              this.#file.write(chunk, at, chunk.length - at, this.#offset),
            )
            at += bytesWritten
            this.#offset += bytesWritten
          }
        } catch (error) {
          this.#failure = error
        }
        this.#written += chunk.length
      }),
    )
  }

  /** Ends the stream. Rejects with the last error, or if the length is not what was announced. */
  finish(): Promise<void> {
    return this.#inTurn(async () => {
      await step('flush', async () => {
        if (this.#failure !== undefined) throw this.#failure
      })
      if (this.#expected !== undefined && this.#expected !== this.#written) {
        throw new FsFailure(
          `write length mismatch: expected ${this.#expected}, wrote ${this.#written}`,
        )
      }
    })
  }
}

function fileOf(entry: Entry, handle: number): OpenFile {
  if (entry.open.kind === 'directory') throw new FsFailure(`handle ${handle} is a directory`)
  return entry.open
}

function inTurn<T>(entry: Entry, action: () => Promise<T>): Promise<T> {
  const turn = entry.last.then(action)
  entry.last = turn.catch(() => {})
  return turn
}

async function closeOpen(opened: Entry['open']): Promise<void> {
  await (opened.kind === 'file' ? opened.file.close() : opened.dir.close())
}

/**
 * Position where there is one, the stream itself where there is none: the agent seeks first and
 * says so when a pipe refuses.
 */
async function seekable<T>(action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (errorNumber(error) === ESPIPE) return step('seek', () => Promise.reject(error))
    throw error
  }
}

/** Rust's rules of what may be combined, and the flags it makes of them. */
function openFlags(options: OpenOptions): number {
  const { read, write, append, create, truncate, create_new: exclusive } = options
  if (!read && !write && !append) {
    throw new FsFailure('must specify at least one of read, write, or append access')
  }
  const refused = append ? truncate && !exclusive : !write && (create || truncate || exclusive)
  if (refused) {
    throw new FsFailure('creating or truncating a file requires write or append access')
  }
  const writes = write || append
  // Never wait for the other end of a FIFO, never get a controlling terminal.
  let flags = constants.O_NONBLOCK | constants.O_NOCTTY
  flags |= read && writes ? constants.O_RDWR : writes ? constants.O_WRONLY : constants.O_RDONLY
  if (append) flags |= constants.O_APPEND
  if (exclusive) return flags | constants.O_CREAT | constants.O_EXCL
  if (create) flags |= constants.O_CREAT
  if (truncate) flags |= constants.O_TRUNC
  return flags
}
