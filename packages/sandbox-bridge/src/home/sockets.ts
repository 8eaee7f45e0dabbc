/** Where the relay of a microsandbox sandbox listens. */
import { createHash } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { SandboxError } from './errors.ts'
import type { Home } from './home.ts'

/**
 * The first `bytes` bytes of SHA-256 of a name, in hex: names go into paths this way, so that the
 * longest name fits a socket address and case-insensitive file systems cannot confuse two.
 */
export function nameHash(name: string, bytes: number): string {
  return createHash('sha256')
    .update(name, 'utf8')
    .digest('hex')
    .slice(0, bytes * 2)
}

/** Paths a client tries, in this order: today's, the compatibility link, the very old one. */
export function relaySocketPaths(home: Home, name: string): readonly string[] {
  if (process.platform === 'win32') return [`\\\\.\\pipe\\msb-agent-${nameHash(name, 16)}`]
  return [
    join(home.path, 'run', 'sandboxes', nameHash(name, 12), 'agent.sock'),
    join(home.path, 'run', 'agent', `${nameHash(name, 16)}.sock`),
    join(home.sandboxesPath, name, 'runtime', 'agent.sock'),
  ]
}

/**
 * Those of the paths that exist, at least one.
 * @throws SandboxError `SANDBOX_NOT_RUNNING` if the sandbox is known, else `SANDBOX_NOT_FOUND`
 */
export function findRelaySockets(home: Home, name: string): readonly string[] {
  const paths = relaySocketPaths(home, name)
  // A pipe on Windows is found by opening it.
  const found = process.platform === 'win32' ? paths : paths.filter((path) => existsSync(path))
  if (found.length > 0) return found
  if (isDirectory(join(home.sandboxesPath, name))) {
    throw new SandboxError(
      'SANDBOX_NOT_RUNNING',
      `sandbox is not running: ${name} (start it with: msb start ${name})`,
    )
  }
  throw new SandboxError('SANDBOX_NOT_FOUND', `sandbox not found: ${name} (looked in ${home.path})`)
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}
