/** The known_hosts file under MSB_HOME: keys that were pinned for OpenSSH's programs and for ours. */
import { join } from 'node:path'
import { hostName, knownHostLine, type PublicKey } from '@sandbox-ssh/protocol'
import type { Home } from './home.ts'
import { withFileLock } from './lock.ts'
import { readText, writeText } from './text-files.ts'

const LOCK_MS = 10_000

/**
 * Where they are pinned: one line for each key, by the host and port of a gateway, or by the name
 * that `msb ssh config` gave a sandbox.
 *
 * @example
 * import { existsSync, readFileSync } from 'node:fs'
 * import { knownHosts } from '@sandbox-ssh/protocol'
 * import { knownHostsPath, openHome } from '@sandbox-ssh/sandbox-bridge'
 *
 * const path = knownHostsPath(openHome())
 * const text = existsSync(path) ? readFileSync(path, 'utf8') : ''
 * const hostKey = knownHosts(text, 'gateway.example.org', 2222) // for `connect`
 * console.log(hostKey.keyTypes.length) // 0
 */
export function knownHostsPath(home: Home): string {
  return join(home.sshPath, 'known_hosts')
}

/**
 * Makes these the only keys of that name, from now on.
 * @throws SandboxError `HOME_UNUSABLE`
 */
export async function pinHostKeys(
  path: string,
  keys: readonly PublicKey[],
  host: string,
  port: number,
): Promise<void> {
  const name = hostName(host, port)
  const lines = keys.map((key) => knownHostLine(key, host, port, { hashed: false }))
  await withFileLock(`${path}.lock`, LOCK_MS, () => {
    const before = readText(path) ?? ''
    const others = before
      .split('\n')
      .filter((other) => other.trim() !== '' && !other.startsWith(`${name} `))
    const after = `${[...others, ...lines].sort().join('\n')}\n`
    if (after !== before) writeText(path, after, 0o600)
  })
}
