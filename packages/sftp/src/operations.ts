/** The requests of version 3: for each its name, whether it writes, and what it does. Draft 02 §6. */
import { entryBytes, longName } from './attributes.ts'
import type { BufferPool } from './buffers.ts'
import * as fast from './fast.ts'
import type {
  AttributeChanges,
  DirectoryEntry,
  FileAttributes,
  OpenFlags,
  SftpFileSystem,
} from './file-system.ts'
import { closeHandle, type DirectoryHandle, type Handles } from './handles.ts'
import { DATA_BYTES_MAX, READDIR_BYTES_MAX, READDIR_ENTRIES_MAX } from './limits.ts'
import type { OwnerNameCache } from './owner-names.ts'
import { joinPath } from './path.ts'
import * as reply from './replies.ts'
import type { Claim } from './sequencer.ts'
import { errnoError, SftpError, STATUS } from './status.ts'
import * as wire from './wire.ts'

/** What operations need of their session. */
export interface Context {
  readonly fileSystem: SftpFileSystem
  readonly handles: Handles
  readonly owners: OwnerNameCache
  readonly readOnly: boolean
  readonly symlinkOrder: 'target-first' | 'link-first'
  readonly handlesMax: number
  /** What large packets, received and sent, are held in. */
  readonly buffers: BufferPool
}

/** A request, decoded and ready to run. */
export interface Task {
  readonly claim: Claim
  /** Size of the reply, at most, where it is not small. */
  readonly replyBytes?: number
  /** Replies to tasks with the same object here leave in the order of the requests. */
  readonly replyOrder?: object
  /** Resolves to the reply's frame. */
  readonly run: () => Promise<Uint8Array>
}

/** One kind of request. */
export interface Operation {
  /** As in sftp-server(8), for lists of allowed and denied requests. */
  readonly name: string
  /** Refused in read-only mode. */
  readonly writes: boolean
  /** Throws SshError `SSH_PROTOCOL` for a malformed packet, SftpError for an impossible request. */
  readonly prepare: (context: Context, packet: Uint8Array) => Task
}

const LOOK: Claim = { kind: 'look' }

/** Requests by packet type, but for INIT and EXTENDED. */
export const operations: ReadonlyMap<number, Operation> = new Map<number, Operation>([
  [wire.FXP.OPEN, { name: 'open', writes: false, prepare: open }],
  [wire.FXP.CLOSE, { name: 'close', writes: false, prepare: close }],
  [wire.FXP.READ, { name: 'read', writes: false, prepare: read }],
  [wire.FXP.WRITE, { name: 'write', writes: true, prepare: write }],
  [wire.FXP.LSTAT, { name: 'lstat', writes: false, prepare: lstat }],
  [wire.FXP.FSTAT, { name: 'fstat', writes: false, prepare: fstat }],
  [wire.FXP.SETSTAT, { name: 'setstat', writes: true, prepare: setstat }],
  [wire.FXP.FSETSTAT, { name: 'fsetstat', writes: true, prepare: fsetstat }],
  [wire.FXP.OPENDIR, { name: 'opendir', writes: false, prepare: opendir }],
  [wire.FXP.READDIR, { name: 'readdir', writes: false, prepare: readdir }],
  [wire.FXP.REMOVE, { name: 'remove', writes: true, prepare: remove }],
  [wire.FXP.MKDIR, { name: 'mkdir', writes: true, prepare: mkdir }],
  [wire.FXP.RMDIR, { name: 'rmdir', writes: true, prepare: rmdir }],
  [wire.FXP.REALPATH, { name: 'realpath', writes: false, prepare: realpath }],
  [wire.FXP.STAT, { name: 'stat', writes: false, prepare: stat }],
  [wire.FXP.RENAME, { name: 'rename', writes: true, prepare: rename }],
  [wire.FXP.READLINK, { name: 'readlink', writes: false, prepare: readlink }],
  [wire.FXP.SYMLINK, { name: 'symlink', writes: true, prepare: symlink }],
])

function open(context: Context, packet: Uint8Array): Task {
  const { id, path, flags, attributes } = wire.open.decode(packet)
  const writes = changesSomething(flags)
  if (writes && context.readOnly) throw readOnlyError()
  return {
    claim: writes ? { kind: 'change', paths: [path] } : LOOK,
    async run() {
      const mode = attributes.mode === undefined ? undefined : attributes.mode & 0o7777
      const handle = await context.handles.open(async () => {
        const file = await context.fileSystem.open(path, normalFlags(flags), mode)
        return { kind: 'file', path, flags, file }
      })
      return reply.handleReply(id, handle)
    },
  }
}

function changesSomething(flags: OpenFlags): boolean {
  return Boolean(flags.write || flags.append || flags.create || flags.truncate)
}

/** Neither reading nor writing means reading, as it does to open(2). */
function normalFlags(flags: OpenFlags): OpenFlags {
  return flags.read || flags.write ? flags : { ...flags, read: true }
}

function close(context: Context, packet: Uint8Array): Task {
  const { id, handle } = wire.close.decode(packet)
  // Out of the table at once: whatever comes later is for a handle that is closed.
  const taken = context.handles.take(handle)
  return {
    claim: { kind: 'handle', files: [taken.path], changes: taken.kind === 'file' },
    async run() {
      await closeHandle(taken)
      return reply.okReply(id)
    },
  }
}

function read(context: Context, packet: Uint8Array): Task {
  const { id, handle, position, length: asked } = fast.decodeRead(packet)
  const target = context.handles.file(handle)
  const { file, path } = target
  const length = Math.min(asked, DATA_BYTES_MAX)
  return {
    // PuTTY's pscp takes a later block before an earlier one for a lost connection.
    replyOrder: target,
    claim: { kind: 'read', file: path, from: position, to: position + length },
    replyBytes: length,
    async run() {
      checkPosition(position)
      const draft = fast.draftData(length, context.buffers)
      const got = length === 0 ? 0 : await file.read(draft.body, position)
      if (got === 0 && length > 0) {
        context.buffers.give(draft.frame)
        return reply.statusReply(id, STATUS.EOF)
      }
      return fast.sealData(draft, id, got)
    },
  }
}

function write(context: Context, packet: Uint8Array): Task {
  const { id, handle, position, data } = fast.decodeWrite(packet)
  const target = context.handles.file(handle)
  const { file, flags, path } = target
  return {
    // paramiko drops the reply to a later write while it waits for an earlier one, and then hangs.
    replyOrder: target,
    claim: flags.append
      ? { kind: 'write', file: path, from: 0, to: Number.POSITIVE_INFINITY }
      : { kind: 'write', file: path, from: position, to: position + data.length },
    async run() {
      checkPosition(position)
      await file.write(data, position)
      context.buffers.give(data)
      return reply.okReply(id)
    },
  }
}

/** A position past 2^53 is no file's, and could not be said exactly. */
function checkPosition(position: number): void {
  if (!Number.isSafeInteger(position)) throw errnoError('EINVAL')
}

function lstat(context: Context, packet: Uint8Array): Task {
  const { id, path } = wire.lstat.decode(packet)
  return {
    claim: LOOK,
    run: async () => reply.attrsReply(id, await context.fileSystem.lstat(path)),
  }
}

function stat(context: Context, packet: Uint8Array): Task {
  const { id, path } = wire.stat.decode(packet)
  return { claim: LOOK, run: async () => reply.attrsReply(id, await context.fileSystem.stat(path)) }
}

function fstat(context: Context, packet: Uint8Array): Task {
  const { id, handle } = wire.fstat.decode(packet)
  const target = context.handles.get(handle)
  return {
    claim: { kind: 'handle', files: [target.path], changes: false },
    run: async () =>
      reply.attrsReply(
        id,
        target.kind === 'file'
          ? await target.file.stat()
          : await context.fileSystem.stat(target.path),
      ),
  }
}

function setstat(context: Context, packet: Uint8Array): Task {
  const { id, path, attributes } = wire.setstat.decode(packet)
  return {
    claim: { kind: 'change', paths: [path] },
    async run() {
      await context.fileSystem.setstat(path, changesOf(attributes))
      return reply.okReply(id)
    },
  }
}

function fsetstat(context: Context, packet: Uint8Array): Task {
  const { id, handle, attributes } = wire.fsetstat.decode(packet)
  const target = context.handles.get(handle)
  return {
    claim: { kind: 'handle', files: [target.path], changes: true },
    async run() {
      const changes = changesOf(attributes)
      if (target.kind === 'file') await target.file.setstat(changes)
      else await context.fileSystem.setstat(target.path, changes)
      return reply.okReply(id)
    },
  }
}

/** Attributes from the wire as changes: of the mode, a client may only set the permissions. */
export function changesOf(attributes: FileAttributes): AttributeChanges {
  if (attributes.size !== undefined) checkPosition(attributes.size)
  if (attributes.mode === undefined) return attributes
  return { ...attributes, mode: attributes.mode & 0o7777 }
}

function opendir(context: Context, packet: Uint8Array): Task {
  const { id, path } = wire.opendir.decode(packet)
  return {
    claim: LOOK,
    async run() {
      const handle = await context.handles.open(async () => {
        const directory = await context.fileSystem.opendir(path)
        return { kind: 'directory', path, directory, pending: await dots(context, path) }
      })
      return reply.handleReply(id, handle)
    },
  }
}

/** `.` and `..`, which clients expect to see as ls -a shows them. */
async function dots(context: Context, path: string): Promise<DirectoryEntry[]> {
  const entries = ['.', '..'].map(async (name) => ({
    name,
    attributes: await context.fileSystem.lstat(joinPath(path, name)).catch(() => ({})),
  }))
  return Promise.all(entries)
}

function readdir(context: Context, packet: Uint8Array): Task {
  const { id, handle } = wire.readdir.decode(packet)
  const target = context.handles.directory(handle)
  return {
    // Two readers of one handle would tear the list apart.
    claim: { kind: 'handle', files: [target.path], changes: false },
    replyBytes: READDIR_BYTES_MAX,
    async run() {
      const entries = await nextEntries(target)
      if (entries.length === 0) return reply.statusReply(id, STATUS.EOF)
      await context.owners.learn(entries)
      return reply.nameReply(id, fitting(context, target, entries))
    },
  }
}

/** The entries to send next; none at the end. */
async function nextEntries(target: DirectoryHandle): Promise<DirectoryEntry[]> {
  while (target.pending !== undefined && target.pending.length < READDIR_ENTRIES_MAX / 2) {
    const more = await target.directory.read(READDIR_ENTRIES_MAX - target.pending.length)
    if (more === undefined) break
    target.pending.push(...more.filter(({ name }) => name !== '.' && name !== '..'))
  }
  const entries = target.pending ?? []
  target.pending = entries.length === 0 ? undefined : []
  return entries
}

/** As many as fit into one reply; the others go back for the next. */
function fitting(
  context: Context,
  target: DirectoryHandle,
  entries: readonly DirectoryEntry[],
): wire.NameEntry[] {
  const now = Date.now() / 1000
  const sent: wire.NameEntry[] = []
  let bytes = 0
  for (const { name, attributes } of entries) {
    const longname = longName(name, attributes, now, context.owners.names(attributes))
    bytes += entryBytes(name, longname)
    if (sent.length > 0 && (bytes > READDIR_BYTES_MAX || sent.length === READDIR_ENTRIES_MAX)) break
    sent.push({ name, longname, attributes })
  }
  target.pending = entries.slice(sent.length)
  return sent
}

function remove(context: Context, packet: Uint8Array): Task {
  const { id, path } = wire.remove.decode(packet)
  return change(id, [path], () => context.fileSystem.remove(path))
}

function mkdir(context: Context, packet: Uint8Array): Task {
  const { id, path, attributes } = wire.mkdir.decode(packet)
  const mode = attributes.mode === undefined ? undefined : attributes.mode & 0o7777
  return change(id, [path], () => context.fileSystem.mkdir(path, mode))
}

function rmdir(context: Context, packet: Uint8Array): Task {
  const { id, path } = wire.rmdir.decode(packet)
  return change(id, [path], () => context.fileSystem.rmdir(path))
}

function realpath(context: Context, packet: Uint8Array): Task {
  const { id, path } = wire.realpath.decode(packet)
  return {
    claim: LOOK,
    run: async () => reply.pathReply(id, await context.fileSystem.realpath(path || '.')),
  }
}

function rename(context: Context, packet: Uint8Array): Task {
  const { id, oldPath, newPath } = wire.rename.decode(packet)
  return change(id, [oldPath, newPath], () => context.fileSystem.rename(oldPath, newPath))
}

function readlink(context: Context, packet: Uint8Array): Task {
  const { id, path } = wire.readlink.decode(packet)
  return {
    claim: LOOK,
    run: async () => reply.pathReply(id, await context.fileSystem.readlink(path)),
  }
}

function symlink(context: Context, packet: Uint8Array): Task {
  const { id, first, second } = wire.symlink.decode(packet)
  const [target, link] = context.symlinkOrder === 'target-first' ? [first, second] : [second, first]
  return change(id, [link], () => context.fileSystem.symlink(target, link))
}

/** A task that changes paths and has nothing else to say. */
export function change(id: number, paths: readonly string[], run: () => Promise<void>): Task {
  return {
    claim: { kind: 'change', paths },
    async run() {
      await run()
      return reply.okReply(id)
    },
  }
}

/** The refusal of everything that writes, in read-only mode. */
export function readOnlyError(): SftpError {
  return new SftpError(STATUS.PERMISSION_DENIED, 'Permission denied: the server is read-only')
}
