/** What there is under MSB_HOME: sandboxes and their host keys. Nothing is made or started. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type PublicKey, parsePrivateKey } from '@sandbox-ssh/protocol'
import { reasonOf, SandboxError } from './errors.ts'
import { readBoundedFile } from './files.ts'
import type { Home } from './home.ts'
import { HOST_KEY_BYTES_MAX } from './host-key.ts'
import { parseSandboxName } from './names.ts'

/** A sandbox as a user writes it, and where its host key is, if it has one by now. */
export interface KnownSandbox {
  readonly name: string
  readonly hostKeyPath: string
}

/**
 * The sandboxes with files under MSB_HOME, microsandbox's first, each kind by name.
 *
 * @example
 * import { listSandboxes, openHome } from '@sandbox-ssh/sandbox-bridge'
 *
 * for (const { name } of listSandboxes(openHome())) console.log(name)
 */
export function listSandboxes(home: Home): readonly KnownSandbox[] {
  const local = join(home.path, 'local')
  return [
    ...namesIn(home.sandboxesPath).map((name) => ({
      name,
      hostKeyPath: join(home.sandboxesPath, name, 'ssh', 'host_ed25519'),
    })),
    ...namesIn(local).map((name) => ({
      name: `local:${name}`,
      hostKeyPath: join(local, name, 'ssh', 'host_ed25519'),
    })),
  ]
}

/**
 * The public half of a host key, undefined if there is no such file.
 * @throws SandboxError `HOST_KEY_INVALID`
 *
 * @example
 * import { readHostKey } from '@sandbox-ssh/sandbox-bridge'
 *
 * console.log(await readHostKey('/nowhere/host_key')) // undefined
 */
export async function readHostKey(path: string): Promise<PublicKey | undefined> {
  if (!existsSync(path)) return undefined
  try {
    return (await parsePrivateKey(readBoundedFile(path, HOST_KEY_BYTES_MAX).text)).publicKey
  } catch (cause) {
    throw new SandboxError('HOST_KEY_INVALID', `host key ${path}: ${reasonOf(cause)}`, { cause })
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && isName(entry.name))
      .map(({ name }) => name)
      .sort()
  } catch {
    // There are none: the directory is made with the first.
    return []
  }
}

function isName(text: string): boolean {
  try {
    parseSandboxName(text)
    return true
  } catch {
    return false
  }
}
