/** The host key of a sandbox: made once, at 0600, by whichever process needs it first. */
import { chmodSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { generateKey, type PrivateKey, parsePrivateKey, SshError } from '@sandbox-ssh/protocol'
import { errnoOf, reasonOf, SandboxError } from './errors.ts'
import {
  createFileExclusively,
  makeDirectories,
  makePrivateDirectory,
  readBoundedFile,
} from './files.ts'
import type { Home } from './home.ts'

/** Larger host key files are refused; real ones are under 8 KiB. */
export const HOST_KEY_BYTES_MAX: number = 64 * 1024

/** Where the key is and who chose the place. */
export interface HostKeyOptions {
  /**
   * True if the path was given by a user: its parents are made with ordinary modes and left as
   * they are. Else the directory is ours, at 0700.
   */
  readonly custom?: boolean
}

/**
 * Where a gateway keeps its own host key, which is that of none of its sandboxes.
 *
 * @example
 * import { gatewayHostKeyPath, openHome, readHostKey } from '@sandbox-ssh/sandbox-bridge'
 *
 * const hostKey = await readHostKey(gatewayHostKeyPath(openHome()))
 * console.log(hostKey?.fingerprint() ?? 'none yet') // none yet
 */
export function gatewayHostKeyPath(home: Home): string {
  return join(home.sshPath, 'gateway', 'host_ed25519')
}

/**
 * Loads the host key, or makes an Ed25519 one if there is none. When several processes do so at
 * once all end up with the same key. An existing file is set to 0600 and may hold any supported
 * unencrypted key.
 * @throws SandboxError `HOST_KEY_INVALID` naming the file, `HOME_UNUSABLE`
 */
export async function loadOrCreateHostKey(
  path: string,
  options: HostKeyOptions = {},
): Promise<PrivateKey> {
  const existing = await loadHostKey(path)
  if (existing !== undefined) return existing
  makeParents(path, options.custom ?? false)
  let won: boolean
  const made = generateKey('ed25519')
  try {
    won = createFileExclusively(path, made.toOpenSsh(), 0o600)
  } catch (cause) {
    throw new SandboxError('HOME_UNUSABLE', `cannot create ${path}: ${reasonOf(cause)}`, { cause })
  }
  if (won) return made
  const theirs = await loadHostKey(path)
  if (theirs !== undefined) return theirs
  throw new SandboxError('HOST_KEY_INVALID', `host key ${path} vanished while it was being loaded`)
}

async function loadHostKey(path: string): Promise<PrivateKey | undefined> {
  let text: string
  try {
    const read = readBoundedFile(path, HOST_KEY_BYTES_MAX)
    text = read.text
    if (process.platform !== 'win32' && (read.stats.mode & 0o777) !== 0o600) chmodSync(path, 0o600)
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return undefined
    throw invalid(path, `cannot be read: ${reasonOf(cause)}`, cause)
  }
  try {
    return await parsePrivateKey(text)
  } catch (cause) {
    if (cause instanceof SshError && cause.code === 'SSH_KEY_PASSPHRASE') {
      throw invalid(path, 'is encrypted, and a server has nobody to ask for its passphrase', cause)
    }
    throw invalid(path, `cannot be understood: ${reasonOf(cause)}`, cause)
  }
}

function makeParents(path: string, custom: boolean): void {
  const directory = dirname(path)
  if (!custom) return makePrivateDirectory(directory)
  try {
    makeDirectories(directory)
  } catch (cause) {
    throw new SandboxError('HOME_UNUSABLE', `cannot create ${directory}: ${reasonOf(cause)}`, {
      cause,
    })
  }
}

function invalid(path: string, why: string, cause: unknown): SandboxError {
  return new SandboxError('HOST_KEY_INVALID', `host key ${path} ${why}`, { cause })
}
