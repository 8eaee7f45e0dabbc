/**
 * Locks between processes that the kernel gives back when their owner dies.
 *
 * Lock files that mean something by existing are left behind by every crash, and whoever removes
 * a stale one may remove its successor's. flock(2) has neither fault, but Node does not offer it.
 * It belongs to the open file, not to the process that asked: so `flock(1)`, given our descriptor,
 * locks for us and may go. On the BSDs and macOS opening with O_EXLOCK does the same.
 */
import { spawnSync } from 'node:child_process'
import { closeSync, constants, openSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { errnoOf, reasonOf, SandboxError } from './errors.ts'

/** Between the first two tries; each wait is longer than the last, as a try starts a process. */
const RETRY_MS = 20
const RETRY_MS_MAX = 200
const O_EXLOCK = 0x20

/** A held lock; it also ends with the process. */
export interface FileLock {
  /** False where the system offers no such lock and callers only have atomic file operations. */
  readonly real: boolean
  release(): void
}

/**
 * Takes the lock if it is free, else undefined. The file is created at 0600 and stays.
 * @throws SandboxError `HOME_UNUSABLE`
 */
export function tryFileLock(path: string): FileLock | undefined {
  const bsd = process.platform === 'darwin' || process.platform === 'freebsd'
  const flags = constants.O_RDWR | constants.O_CREAT
  let fd: number
  try {
    fd = openSync(path, bsd ? flags | O_EXLOCK | constants.O_NONBLOCK : flags, 0o600)
  } catch (cause) {
    if (bsd && errnoOf(cause) === 'EAGAIN') return undefined
    throw new SandboxError('HOME_UNUSABLE', `cannot open ${path}: ${reasonOf(cause)}`, { cause })
  }
  if (bsd) return { real: true, release: () => closeSync(fd) }
  const flock = spawnSync('flock', ['-x', '-n', '3'], { stdio: ['ignore', 'ignore', 'ignore', fd] })
  if (flock.status === 0) return { real: true, release: () => closeSync(fd) }
  closeSync(fd)
  if (flock.error === undefined) return undefined
  return { real: false, release: () => undefined }
}

/**
 * Waits for the lock up to `timeoutMs`, then runs `work` with it.
 * @throws SandboxError `LOCK_TIMEOUT`, `HOME_UNUSABLE`, or what `work` throws
 */
export async function withFileLock<T>(
  path: string,
  timeoutMs: number,
  work: () => T | Promise<T>,
): Promise<T> {
  const deadline = Date.now() + timeoutMs
  let waitMs = RETRY_MS
  let lock = tryFileLock(path)
  while (lock === undefined) {
    if (Date.now() >= deadline) {
      throw new SandboxError('LOCK_TIMEOUT', `${path} has been locked for ${timeoutMs} ms`)
    }
    await sleep(waitMs)
    waitMs = Math.min(2 * waitMs, RETRY_MS_MAX)
    lock = tryFileLock(path)
  }
  try {
    return await work()
  } finally {
    lock.release()
  }
}
