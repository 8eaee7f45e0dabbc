/** Private files: bounded reads, directories at 0700, whole-file replacement, mode checks. */
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { errnoOf, reasonOf, SandboxError } from './errors.ts'

/** A file read whole, with the facts of that very file rather than of whatever has its name now. */
export interface FileRead {
  readonly text: string
  readonly stats: Stats
}

/** The same before it is taken for text. */
export interface BytesRead {
  readonly bytes: Uint8Array
  readonly stats: Stats
}

/**
 * Reads a regular file of at most `bytesMax` bytes as UTF-8.
 * Throws the system's error, or a plain Error if it is too large or not a regular file (a FIFO
 * would block for ever, a device never end).
 */
export function readBoundedFile(path: string, bytesMax: number): FileRead {
  const { bytes, stats } = readBoundedBytes(path, bytesMax)
  return { text: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'), stats }
}

/** The same as bytes. */
export function readBoundedBytes(path: string, bytesMax: number): BytesRead {
  const fd = openSync(path, O_RDONLY_NONBLOCK)
  try {
    const stats = fstatSync(fd)
    if (!stats.isFile()) throw new Error('it is not a regular file')
    const bytes = Buffer.alloc(Math.min(stats.size, bytesMax) + 1)
    let length = 0
    while (length < bytes.length) {
      const read = readSync(fd, bytes, length, bytes.length - length, null)
      if (read === 0) return { bytes: bytes.subarray(0, length), stats }
      length += read
    }
    throw new Error(`it is larger than ${Math.min(stats.size, bytesMax)} bytes`)
  } finally {
    closeSync(fd)
  }
}

/**
 * Makes a directory and its parents, this one at 0700 whatever it was before.
 * @throws SandboxError `HOME_UNUSABLE`
 */
export function makePrivateDirectory(path: string): void {
  try {
    makeDirectories(path, 0o700)
    if (!isWindows) chmodSync(path, 0o700)
  } catch (cause) {
    throw new SandboxError('HOME_UNUSABLE', `cannot create ${path}: ${reasonOf(cause)}`, { cause })
  }
}

/**
 * Makes a directory and its missing parents; false if it was there. Node's own recursive mkdir
 * never returns where a file system answers ENOENT to a new name, as /proc does.
 * @throws the system's error
 */
export function makeDirectories(path: string, mode?: number): boolean {
  try {
    mkdirSync(path, mode)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' && dirname(path) !== path) {
      // The parent was missing, or this cannot be made at all: then the same error comes again.
      if (!makeDirectories(dirname(path), mode)) throw error
      mkdirSync(path, mode)
      return true
    }
    if (errnoOf(error) === 'EEXIST' && statSync(path).isDirectory()) return false
    throw error
  }
}

/**
 * Replaces a file as a whole: readers see the old or the new one, never half of either, and a
 * full disk leaves the old one. The mode is `mode` whatever the umask.
 * @throws the system's error
 */
export function replaceFile(path: string, text: string, mode: number): void {
  const temporary = writeTemporary(path, text, mode)
  try {
    renameSync(temporary, path)
  } catch (error) {
    removeQuietly(temporary)
    throw error
  }
}

/**
 * Creates a file with its content and mode at once, unless it exists: of several processes
 * exactly one wins, and nobody ever sees it empty. True if this one won.
 * @throws the system's error
 */
export function createFileExclusively(path: string, text: string, mode: number): boolean {
  const temporary = writeTemporary(path, text, mode)
  try {
    // link(2), unlike rename(2), refuses to replace.
    linkSync(temporary, path)
    return true
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false
    throw error
  } finally {
    removeQuietly(temporary)
  }
}

/**
 * Who could have written this besides us? The check of sshd's StrictModes: owned by us or root,
 * and not writable by others. A group is harmless if it is the owner's private one (gid = uid, as
 * distributions with umask 002 set it up); a sticky directory lets nobody replace our entries.
 * Undefined if nobody else, else the reason.
 */
export function unsafeModeReason(stats: Stats): string | undefined {
  if (isWindows) return undefined
  const uid = process.getuid?.() ?? 0
  if (stats.uid !== uid && stats.uid !== 0) return `it belongs to user ${stats.uid}, not to ${uid}`
  if (stats.isDirectory() && (stats.mode & 0o1000) !== 0) return undefined
  const octal = (stats.mode & 0o7777).toString(8).padStart(4, '0')
  if ((stats.mode & 0o002) !== 0) return `everybody can write to it (mode ${octal})`
  if ((stats.mode & 0o020) !== 0 && stats.gid !== stats.uid) {
    return `its group can write to it (mode ${octal}, group ${stats.gid})`
  }
  return undefined
}

/**
 * Checks a file or directory that decides who may enter; a missing one is fine.
 * @throws SandboxError `MODE_UNSAFE` with the reason and the remedy
 */
export function requireSafeMode(path: string, stats?: Stats): void {
  let checked = stats
  try {
    checked ??= lstatSync(path)
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return
    throw new SandboxError('HOME_UNUSABLE', `cannot examine ${path}: ${reasonOf(cause)}`, { cause })
  }
  const reason = unsafeModeReason(checked)
  if (reason === undefined) return
  const remedy = reason.startsWith('it belongs') ? `chown it` : `run: chmod go-w ${path}`
  throw new SandboxError('MODE_UNSAFE', `${path} cannot be trusted: ${reason}; ${remedy}`)
}

/** Removes a file if it is there; cleaning up never hides the error that led to it. */
export function removeQuietly(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // Gone already, or not ours to remove.
  }
}

const isWindows = process.platform === 'win32'
// Opening a FIFO must not wait for a writer; O_NONBLOCK means nothing on regular files.
const O_RDONLY_NONBLOCK = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)

function writeTemporary(path: string, text: string, mode: number): string {
  const suffix = randomBytes(6).toString('hex')
  const temporary = join(dirname(path), `.${basename(path)}.${suffix}.tmp`)
  const fd = openSync(temporary, 'wx', 0o600)
  try {
    writeFileSync(fd, text)
    if (!isWindows) fchmodSync(fd, mode)
    fsyncSync(fd)
  } catch (error) {
    removeQuietly(temporary)
    throw error
  } finally {
    closeSync(fd)
  }
  return temporary
}
