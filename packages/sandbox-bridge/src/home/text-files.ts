/** Small texts that people may edit as well: configurations of ssh, and known_hosts. */
import { errnoOf, reasonOf, SandboxError } from './errors.ts'
import { readBoundedFile, replaceFile } from './files.ts'

const BYTES_MAX = 4 * 1024 * 1024

/** Undefined if there is none. @throws SandboxError `HOME_UNUSABLE` */
export function readText(path: string): string | undefined {
  try {
    return readBoundedFile(path, BYTES_MAX).text
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return undefined
    throw unusable(path, cause)
  }
}

/** Replaces it as a whole. @throws SandboxError `HOME_UNUSABLE` */
export function writeText(path: string, text: string, mode: number): void {
  try {
    replaceFile(path, text, mode)
  } catch (cause) {
    throw unusable(path, cause)
  }
}

/** That a path cannot be used, and why. */
export function unusable(path: string, cause: unknown): SandboxError {
  return new SandboxError('HOME_UNUSABLE', `cannot use ${path}: ${reasonOf(cause)}`, { cause })
}
