/** Where an embedded sandbox keeps its files, and where its processes meet. */
import { chmodSync, lchownSync, lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { reasonOf, SandboxError } from '../home/errors.ts'
import { makeDirectories, makePrivateDirectory } from '../home/files.ts'
import type { Home } from '../home/home.ts'
import type { LocalNetwork } from '../home/names.ts'
import { nameHash } from '../home/sockets.ts'

/** Paths on the host of one embedded sandbox. */
export interface LocalLayout {
  readonly name: string
  readonly network: LocalNetwork
  /** `<home>/local/<name>`: what remains between runs. */
  readonly filesPath: string
  /** Home directory of root inside. */
  readonly homePath: string
  /** `/tmp` inside. */
  readonly tmpPath: string
  /** `host_ed25519`, not visible inside. */
  readonly hostKeyPath: string
  /** `<home>/run/local/<hash>`: socket, lock and generated files of the running one. */
  readonly runPath: string
  /** Where its relay listens. */
  readonly socketPath: string
  /** Held by the process that runs it. */
  readonly lockPath: string
  /** What the running one says of itself, for those who join it. */
  readonly statePath: string
  /** Files generated for `/etc` inside. */
  readonly etcPath: string
}

/**
 * The paths for a name. A sandbox on the host's network is another one than that on its own
 * loopback: they have the same files, but different processes.
 */
export function localLayout(home: Home, name: string, network: LocalNetwork): LocalLayout {
  const filesPath = join(home.path, 'local', name)
  const suffix = network === 'host' ? '-host' : ''
  const runPath = join(home.path, 'run', 'local', nameHash(name, 12) + suffix)
  return {
    name,
    network,
    filesPath,
    homePath: join(filesPath, 'home'),
    tmpPath: join(filesPath, 'tmp'),
    hostKeyPath: join(filesPath, 'ssh', 'host_ed25519'),
    runPath,
    socketPath:
      process.platform === 'win32'
        ? `\\\\.\\pipe\\msb-local-${nameHash(runPath, 16)}`
        : join(runPath, 'agent.sock'),
    lockPath: join(runPath, 'lock'),
    statePath: join(runPath, 'state.json'),
    etcPath: join(runPath, 'etc'),
  }
}

/**
 * Makes the directories.
 * @throws SandboxError `HOME_UNUSABLE`
 */
export function prepareLayout(layout: LocalLayout): void {
  makePrivateDirectory(layout.filesPath)
  makePrivateDirectory(layout.runPath)
  for (const [path, mode] of [
    [layout.homePath, 0o700],
    [layout.tmpPath, 0o1777],
    [layout.etcPath, 0o755],
  ] as const) {
    try {
      if (makeDirectories(path)) chmodSync(path, mode)
    } catch (cause) {
      throw new SandboxError('HOME_UNUSABLE', `cannot create ${path}: ${reasonOf(cause)}`, {
        cause,
      })
    }
  }
}

/**
 * Gives the sandbox's files to the user that root inside is outside. Only when that has changed,
 * as after a first run without isolation, is there anything to do.
 * @throws SandboxError `HOME_UNUSABLE`
 */
export function ownFiles(layout: LocalLayout, uid: number): void {
  for (const path of [layout.homePath, layout.tmpPath]) {
    try {
      if (lstatSync(path).uid !== uid) chownTree(Buffer.from(path), uid)
    } catch (cause) {
      throw new SandboxError(
        'HOME_UNUSABLE',
        `cannot give ${path} to user ${uid}: ${reasonOf(cause)}`,
        { cause },
      )
    }
  }
}

/**
 * Children first, so that a run cut short is taken up again; links are changed, not followed.
 * Paths are bytes: names made inside need not be UTF-8.
 */
function chownTree(path: Buffer, uid: number): void {
  if (lstatSync(path).isDirectory()) {
    for (const entry of readdirSync(path, { encoding: 'buffer' })) {
      chownTree(Buffer.concat([path, Buffer.from('/'), entry]), uid)
    }
  }
  lchownSync(path, uid, uid)
}
