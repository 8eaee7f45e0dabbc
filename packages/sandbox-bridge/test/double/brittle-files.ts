// The files of a brittle agent. Names say what they are: `fifo` and `tty` block whoever opens them,
// `huge` is a folder whose listing is too long for an answer, `folder` is one, `missing` is not
// there; anything else is a file once it was written.

import { encodeMessage } from '../../src/agent/envelope.ts'
import { FRAME_LENGTH_MAX } from '../../src/agent/frame.ts'
import type { FsEntry, MessageType, Payloads } from '../../src/agent/messages.ts'

/** Files that the agent can have open, programs counted out. */
const HANDLES_MAX = 1010
const READ_BYTES_MAX = 1024 * 1024
const HUGE_ENTRIES = 60_000
const DEFAULT_ENTRIES = 128
/** Nobody changes it, or nobody could log in any more. */
const TABLE = '/etc/passwd'
const FILE_BYTES_MAX = 4 * 1024 * 1024
const PROGRAMS = ['/usr/bin/ln', '/usr/bin/stat', '/usr/bin/sync']

/** How the files answer, and what they find wrong. */
export interface FilesOptions {
  say<T extends MessageType>(id: number, type: T, payload: Payloads[T]): void
  /** The kernel's table of connections. */
  connections(): string
  blocks(why: string): void
  breaks(why: string): void
}

interface Handle {
  readonly slot: number
  readonly path: string
  readonly isFolder: boolean
  /** How far a folder was listed. */
  listed: number
}

type Op = Payloads['core.fs.request']['op']

/** The file system, its handles, and writes under way. */
export class BrittleFiles {
  readonly #options: FilesOptions
  readonly #content = new Map<string, Uint8Array>()
  readonly #handles = new Map<number, Handle>()
  readonly #writes = new Map<number, { readonly slot: number; readonly op: WriteOp }>()
  #next = 1

  constructor(options: FilesOptions) {
    this.#options = options
    this.#content.set('/f', new Uint8Array(1000))
    this.#content.set(TABLE, new TextEncoder().encode('root:x:0:0:root:/root:/bin/sh\n'))
  }

  /** True while that id is a write under way. */
  has(id: number): boolean {
    return this.#writes.has(id)
  }

  /** The client of a slot is gone. */
  leave(slot: number): void {
    for (const [handle, each] of this.#handles) if (each.slot === slot) this.#handles.delete(handle)
    for (const [id, each] of this.#writes) if (each.slot === slot) this.#writes.delete(id)
  }

  request(id: number, slot: number, { op }: Payloads['core.fs.request']): void {
    try {
      if (changes(op) === TABLE) throw new Error('open: Read-only file system (os error 30)')
      if ('Write' in op) {
        this.#handle(op.Write.handle)
        this.#writes.set(id, { slot, op: op.Write })
        return
      }
      const data = this.#answer(id, slot, op)
      if (data === 'never') return
      this.#options.say(id, 'core.fs.response', {
        ok: true,
        ...(data === undefined ? {} : { data }),
      })
    } catch (error) {
      this.#refuse(id, error instanceof Error ? error.message : String(error))
    }
  }

  data(id: number, data: Uint8Array): void {
    const write = this.#writes.get(id)
    if (write === undefined) {
      this.#refuse(id, `unknown write session: ${id}`)
    } else if (data.length === 0) {
      this.#writes.delete(id)
      this.#options.say(id, 'core.fs.response', { ok: true })
    } else {
      const handle = this.#handles.get(write.op.handle)
      const end = write.op.offset + data.length
      if (handle === undefined || end > FILE_BYTES_MAX) return
      const old = this.#content.get(handle.path) ?? new Uint8Array(0)
      const grown = new Uint8Array(Math.max(old.length, end))
      grown.set(old)
      grown.set(data, write.op.offset)
      this.#content.set(handle.path, grown)
    }
  }

  #refuse(id: number, error: string): void {
    this.#options.say(id, 'core.fs.response', { ok: false, error })
  }

  #answer(id: number, slot: number, op: Op): Answer {
    if ('Stat' in op) return { Stat: this.#entry(op.Stat.path) }
    if ('FStat' in op) return { Stat: this.#entry(this.#handle(op.FStat.handle).path) }
    if ('RealPath' in op) return { Path: op.RealPath.path }
    if ('ReadLink' in op) throw new Error('readlink: Invalid argument (os error 22)')
    if ('List' in op) return this.#never('a listing of everything')
    if ('OpenDir' in op) return this.#openFolder(slot, op.OpenDir.path)
    if ('OpenFile' in op) return this.#openFile(slot, op.OpenFile)
    if ('CloseHandle' in op) {
      this.#handle(op.CloseHandle.handle)
      this.#handles.delete(op.CloseHandle.handle)
    } else if ('Read' in op) {
      this.#read(id, op.Read)
    } else if ('ReadDir' in op) {
      return this.#readFolder(id, op.ReadDir)
    } else if ('SetStat' in op) {
      const { path, attrs } = op.SetStat
      this.#entry(path)
      if (attrs.size !== undefined) this.#open(path)
    } else if ('Rename' in op) {
      const content = this.#content.get(op.Rename.src)
      if (content === undefined) throw new Error('rename: No such file or directory (os error 2)')
      this.#content.delete(op.Rename.src)
      this.#content.set(op.Rename.dst, content)
    } else if ('Remove' in op) {
      if (!this.#content.delete(op.Remove.path)) throw new Error(missing('remove'))
    } else if ('Copy' in op) {
      this.#open(op.Copy.src)
    } else if ('FSetStat' in op) {
      this.#handle(op.FSetStat.handle)
    } else if ('Mkdir' in op || 'Symlink' in op || 'RemoveDir' in op) {
      throw new Error('mkdir: Permission denied (os error 13)')
    }
    return undefined
  }

  /** What open(2) would wait for, everything waits for. */
  #open(path: string): void {
    if (/fifo|tty/.test(path) && !this.#content.has(path)) this.#options.blocks(`opening ${path}`)
  }

  #openFile(slot: number, { path, options }: OpenOp): Answer {
    this.#open(path)
    if (path === '/proc/net/tcp') {
      this.#content.set(path, new TextEncoder().encode(this.#options.connections()))
    } else if (!this.#content.has(path)) {
      const isFolder = this.#isFolder(path)
      if (!isFolder && !options.create && !options.create_new) throw new Error(missing('open'))
      if (!isFolder) this.#content.set(path, new Uint8Array(0))
    }
    if (options.truncate) this.#content.set(path, new Uint8Array(0))
    return this.#newHandle({ slot, path, isFolder: false, listed: 0 })
  }

  #openFolder(slot: number, path: string): Answer {
    if (!this.#isFolder(path)) throw new Error('opendir: Not a directory (os error 20)')
    return this.#newHandle({ slot, path, isFolder: true, listed: 0 })
  }

  #newHandle(handle: Handle): Answer {
    if (this.#handles.size >= HANDLES_MAX) {
      throw new Error('open: No file descriptors available (os error 24)')
    }
    this.#handles.set(this.#next, handle)
    return { Handle: this.#next++ }
  }

  #read(id: number, { handle, offset, len }: ReadOp): void {
    const { path, isFolder } = this.#handle(handle)
    if (isFolder) throw new Error(`handle ${handle} is a directory`)
    if (len === undefined || len > READ_BYTES_MAX) this.#options.breaks(`read of ${len} bytes`)
    const content = this.#content.get(path) ?? new Uint8Array(0)
    const data = content.subarray(offset, offset + (len ?? 0))
    if (data.length > 0) this.#options.say(id, 'core.fs.data', { data })
  }

  #readFolder(id: number, { handle, limit = DEFAULT_ENTRIES }: ReadDirOp): Answer {
    const folder = this.#handle(handle)
    if (!folder.isFolder) throw new Error(`handle ${handle} is a file`)
    const total = folder.path.includes('huge') ? HUGE_ENTRIES : 3
    const count = Math.min(Math.max(limit, 1), total - folder.listed)
    const entries = Array.from({ length: count }, (_, index) => {
      const name = `${folder.listed + index}`.padEnd(200, 'x')
      return entry(`${folder.path}/${name}`, 0o100644, 1)
    })
    folder.listed += count
    const answer = encodeMessage(id, 'core.fs.response', { ok: true, data: { List: entries } })
    return answer.length > FRAME_LENGTH_MAX ? this.#never('a huge listing') : { List: entries }
  }

  #never(what: string): 'never' {
    this.#options.breaks(`${what}, which is never answered`)
    return 'never'
  }

  #handle(handle: number): Handle {
    const found = this.#handles.get(handle)
    if (found === undefined) throw new Error(`invalid handle: ${handle}`)
    return found
  }

  #isFolder(path: string): boolean {
    return /^\/(root|tmp)?$|folder|huge/.test(path)
  }

  #entry(path: string): FsEntry {
    const size = this.#content.get(path)?.length
    if (size !== undefined) return entry(path, 0o100644, size)
    if (PROGRAMS.includes(path)) return entry(path, 0o100755, 1)
    if (path.includes('fifo')) return entry(path, 0o010644, 0)
    if (path.includes('tty')) return entry(path, 0o020620, 0)
    if (this.#isFolder(path)) return entry(path, 0o040755, 0)
    throw new Error(missing('stat'))
  }
}

type Fields<K extends string> = Op extends infer T
  ? T extends Record<K, infer F>
    ? F
    : never
  : never
type WriteOp = Fields<'Write'>
type OpenOp = Fields<'OpenFile'>
type ReadOp = Fields<'Read'>
type ReadDirOp = Fields<'ReadDir'>
type Answer = Payloads['core.fs.response']['data'] | 'never'

/** The path that an operation would change or remove. */
function changes(op: Op): string | undefined {
  if ('OpenFile' in op) {
    const { path, options } = op.OpenFile
    return options.write || options.append ? path : undefined
  }
  if ('Rename' in op) return op.Rename.src === TABLE ? TABLE : op.Rename.dst
  if ('Remove' in op) return op.Remove.path
  return 'SetStat' in op ? op.SetStat.path : undefined
}

function missing(op: string): string {
  return `${op}: No such file or directory (os error 2)`
}

function entry(path: string, mode: number, size: number): FsEntry {
  const kinds: Readonly<Record<number, FsEntry['kind']>> = { 7: 'file', 4: 'dir' }
  return { path, kind: kinds[mode >> 12] ?? 'other', size, mode, uid: 0, gid: 0, mtime: 0 }
}
