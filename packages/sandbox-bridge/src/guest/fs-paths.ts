/** Filesystem operations by path, with the semantics and the texts of the agent. */
import { constants, type Stats } from 'node:fs'
import {
  chmod,
  chown,
  copyFile,
  lchown,
  lstat,
  lutimes,
  mkdir,
  open,
  opendir,
  readdir,
  readlink,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  symlink,
  unlink,
  utimes,
} from 'node:fs/promises'
import type { Attributes, FsEntry, FsOps } from '../agent/messages.ts'
import { errorText } from './errno.ts'

/** An operation failed; the message is what the agent would say. */
export class FsFailure extends Error {
  override readonly name = 'FsFailure'
}

/** Bytes of paths in one listing; a reply must fit into a frame. */
const LISTED_BYTES_MAX = 1024 * 1024
/** Bytes of paths in a `List`, which cannot be continued. */
const LIST_BYTES_MAX = 2 * 1024 * 1024

/** Runs a step; its failure reads `STEP: No such file or directory (os error 2)`. */
export async function step<T>(name: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    const text = error instanceof FsFailure ? error.message : errorText(error)
    throw new FsFailure(`${name}: ${text}`)
  }
}

/** The path as the system takes it: relative ones are from `/`. @throws FsFailure on a zero byte */
export function systemPath(path: string): string {
  if (path.includes('\0')) throw new FsFailure('file name contained an unexpected NUL byte')
  // An empty path stays empty: it names nothing.
  return path === '' || path.startsWith('/') ? path : `/${path}`
}

/** `mode`, owner, size and whole seconds of a file under the name it was asked for. */
export function entryOf(path: string, stats: Stats): FsEntry {
  const mtime = Math.floor(stats.mtimeMs / 1000)
  return {
    path,
    kind: kindOf(stats),
    size: stats.size,
    mode: stats.mode,
    modified: mtime,
    uid: stats.uid,
    gid: stats.gid,
    atime: Math.floor(stats.atimeMs / 1000),
    mtime,
  }
}

function kindOf(stats: Stats): FsEntry['kind'] {
  if (stats.isFile()) return 'file'
  if (stats.isDirectory()) return 'dir'
  return stats.isSymbolicLink() ? 'symlink' : 'other'
}

/** The canonical path; a missing last component is allowed. */
export function realPath({ path }: FsOps['RealPath']): Promise<string> {
  return step('realpath', async () => {
    const given = systemPath(path)
    try {
      return await realpath(given)
    } catch (error) {
      const trimmed = given.replace(/\/+$/, '')
      const at = trimmed.lastIndexOf('/')
      const name = trimmed.slice(at + 1)
      if (name === '' || name === '.' || name === '..') throw error
      const parent = await realpath(at === 0 ? '/' : trimmed.slice(0, at))
      return parent === '/' ? `/${name}` : `${parent}/${name}`
    }
  })
}

/** Attributes of a file, or of a link itself. */
export function statPath({ path, follow_symlink }: FsOps['Stat']): Promise<FsEntry> {
  return step('stat', async () => {
    const given = systemPath(path)
    return entryOf(path, await (follow_symlink ? stat(given) : lstat(given)))
  })
}

/** Changes attributes in the agent's order: size, mode, owner, times. */
export function setStat({ path, follow_symlink, attrs }: FsOps['SetStat']): Promise<void> {
  return step('setstat', async () => {
    const given = systemPath(path)
    await truncate(given, attrs.size)
    await changeMode(given, attrs.mode, follow_symlink)
    if (attrs.uid !== undefined || attrs.gid !== undefined) {
      const change = follow_symlink ? chown : lchown
      await step('chown', () => change(given, attrs.uid ?? -1, attrs.gid ?? -1))
    }
    const look = () => (follow_symlink ? stat(given) : lstat(given))
    const times = await timesOf(attrs, 'stat before utimensat', look)
    if (times !== undefined) {
      const change = follow_symlink ? utimes : lutimes
      await step('utimensat', () => change(given, times.atime, times.mtime))
    }
  })
}

async function truncate(path: string, size: number | undefined): Promise<void> {
  if (size === undefined) return
  const flags = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY
  const file = await step('open for truncate', () => open(path, flags))
  try {
    await step('set_len', () => file.truncate(size))
  } finally {
    await file.close()
  }
}

async function changeMode(
  path: string,
  mode: number | undefined,
  followsLinks: boolean,
): Promise<void> {
  if (mode === undefined) return
  if (!followsLinks) {
    const stats = await step('lstat before chmod', () => lstat(path))
    if (stats.isSymbolicLink()) {
      throw new FsFailure('chmod on symlink without following is not supported')
    }
  }
  await step('chmod', () => chmod(path, mode & 0o7777))
}

/** Both times to set; the one not given is what it was, in whole seconds. */
export async function timesOf(
  attrs: Attributes,
  name: string,
  look: () => Promise<Stats>,
): Promise<{ atime: number; mtime: number } | undefined> {
  if (attrs.atime === undefined && attrs.mtime === undefined) return undefined
  // The agent looks even when both are given.
  const stats = await step(name, look)
  return {
    atime: attrs.atime ?? Math.floor(stats.atimeMs / 1000),
    mtime: attrs.mtime ?? Math.floor(stats.mtimeMs / 1000),
  }
}

/** A whole directory at once; one too large for an answer is an error. */
export function list({ path }: FsOps['List']): Promise<readonly FsEntry[]> {
  return step('readdir', async () => {
    const dir = await openDirectory(path)
    try {
      const entries = await nextEntries(dir, path, Number.POSITIVE_INFINITY, LIST_BYTES_MAX)
      if (entries.length > 0 && (await dir.next()) !== undefined) {
        throw new FsFailure(`directory too large for one reply; read it in parts`)
      }
      return entries
    } finally {
      await dir.close()
    }
  })
}

/** An open directory. */
export interface Folder {
  /** The next name; as bytes, or one that is not UTF-8 could not even be looked at. */
  next(): Promise<Buffer | undefined>
  close(): Promise<void>
}

/** Opens a directory for `nextEntries`. */
export function openDirectory(path: string): Promise<Folder> {
  return step('opendir', async () => {
    const given = systemPath(path)
    if ('Bun' in globalThis) {
      // Its `opendir` has no names as bytes, and reads all of them at once as well.
      const names = (await readdir(given, { encoding: 'buffer' })).values()
      return { next: async () => names.next().value, close: async () => {} }
    }
    const dir = await opendir(given, { encoding: 'buffer' as BufferEncoding })
    return {
      // The declared type does not know the encoding asked for above.
      next: async () => (await dir.read())?.name as unknown as Buffer | undefined,
      close: () => dir.close(),
    }
  })
}

/** Up to `limit` entries, fewer if their paths grow long; none at the end. */
export async function nextEntries(
  dir: Folder,
  path: string,
  limit: number,
  bytesMax: number = LISTED_BYTES_MAX,
): Promise<readonly FsEntry[]> {
  const prefix = path.endsWith('/') ? path : `${path}/`
  const entries: FsEntry[] = []
  for (let bytes = 0; entries.length < limit && bytes < bytesMax; ) {
    const raw = await dir.next()
    if (raw === undefined) break
    const shown = prefix + raw.toString('utf8')
    const real = Buffer.concat([Buffer.from(systemPath(prefix)), raw])
    entries.push(await entryOrNothing(shown, real))
    bytes += shown.length + ENTRY_BYTES
  }
  return entries
}

/** About what an entry takes besides its path. */
const ENTRY_BYTES = 90

async function entryOrNothing(shown: string, real: Buffer): Promise<FsEntry> {
  try {
    return entryOf(shown, await lstat(real))
  } catch {
    // Gone between reading its name and looking at it.
    return { path: shown, kind: 'other', size: 0, mode: 0, uid: 0, gid: 0 }
  }
}

/** The target of a link as it stands. */
export function readLink({ path }: FsOps['ReadLink']): Promise<string> {
  return step('readlink', () => readlink(systemPath(path)))
}

/** Makes a link; the target is stored as it was given. */
export function makeSymlink({ target, link_path }: FsOps['Symlink']): Promise<void> {
  return step('symlink', async () => {
    systemPath(target)
    await symlink(target, systemPath(link_path))
  })
}

/** Makes a directory and its parents; one that exists is fine, and gets the mode. */
export async function makeDirectory({ path, mode }: FsOps['Mkdir']): Promise<void> {
  const given = await step('mkdir', async () => {
    const checked = systemPath(path)
    await mkdir(checked, { recursive: true })
    return checked
  })
  if (mode !== undefined) await step('chmod', () => chmod(given, mode & 0o7777))
}

/** Removes a file or a link. */
export function remove({ path }: FsOps['Remove']): Promise<void> {
  return step('remove', () => unlink(systemPath(path)))
}

/** Removes a directory, with all that is in it if asked; then a file or link is taken too. */
export function removeDirectory({ path, recursive }: FsOps['RemoveDir']): Promise<void> {
  return step('remove_dir', () => {
    const given = systemPath(path)
    return recursive ? rm(given, { recursive: true }) : rmdir(given)
  })
}

/** Copies one regular file with its permissions. */
export function copy({ src, dst }: FsOps['Copy']): Promise<void> {
  return step('copy', async () => {
    const from = systemPath(src)
    const to = systemPath(dst)
    if (!(await stat(from)).isFile()) {
      throw new FsFailure(
        'the source path is neither a regular file nor a symlink to a regular file',
      )
    }
    await copyFile(from, to)
  })
}

/** Renames; what is there already is replaced. */
export function renamePath({ src, dst }: FsOps['Rename']): Promise<void> {
  return step('rename', () => rename(systemPath(src), systemPath(dst)))
}
