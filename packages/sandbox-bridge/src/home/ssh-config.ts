/**
 * The user's OpenSSH taught about a sandbox, so that `ssh devbox.msb`, scp, sftp, rsync and editors
 * get in without a question: a block with a ProxyCommand, our own known_hosts with the host key, and
 * a key pair of ours that may enter.
 *
 * Blocks are kept in a file of ours, which the user's configuration includes in its first line: a
 * block put into that file itself would take in whatever options stand before its first `Host`.
 */
import { lstatSync, realpathSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { authorizeKeys } from './authorize.ts'
import { errnoOf, SandboxError } from './errors.ts'
import { makePrivateDirectory } from './files.ts'
import type { Home } from './home.ts'
import { loadOrCreateHostKey } from './host-key.ts'
import { knownHostsPath as knownHostsOf, pinHostKeys } from './known-hosts.ts'
import { withFileLock } from './lock.ts'
import { formatSandboxTarget, parseSandboxTarget, type SandboxTarget } from './names.ts'
import { checkAlias, checkUser, formatBlock, includePath, proxyWord } from './ssh-config-text.ts'
import { readText, unusable, writeText } from './text-files.ts'

const LOCK_MS = 10_000

/** How a block is made. */
export interface SshConfigOptions {
  /** The sandbox as a user writes it. */
  readonly sandbox: string
  /** Its host key, which is pinned. */
  readonly hostKeyPath: string
  /** Name for ssh; default `NAME.msb`, or `NAME.local.msb` for an embedded one. */
  readonly alias?: string | undefined
  /** Login name; default root. */
  readonly user?: string | undefined
  /** Program and arguments that `ssh serve NAME --stdio` is added to. */
  readonly program: readonly string[]
  /** Variables that this program needs, such as MSB_HOME. */
  readonly env?: Readonly<Record<string, string>> | undefined
}

/** A block, and the files it refers to, all of which exist. */
export interface SshConfigBlock {
  readonly alias: string
  readonly text: string
  readonly knownHostsPath: string
  readonly identityPath: string
}

/**
 * Makes everything that a block for ssh_config(5) refers to, host key and key pair included, lets
 * the key pair into this sandbox, and gives the block.
 * @throws SandboxError `SANDBOX_NAME_INVALID` if it needs an `alias`, `HOME_UNUSABLE`,
 * `HOST_KEY_INVALID`, `MODE_UNSAFE`
 *
 * @example
 * import { mkdtempSync, readFileSync } from 'node:fs'
 * import { tmpdir } from 'node:os'
 * import { join } from 'node:path'
 * import { openHome, prepareSshConfig, writeSshConfig } from '@sandbox-ssh/sandbox-bridge'
 *
 * const folder = mkdtempSync(join(tmpdir(), 'home-'))
 * const home = openHome({ path: folder })
 * const block = await prepareSshConfig(home, {
 *   sandbox: 'devbox',
 *   hostKeyPath: join(folder, 'host_key'),
 *   program: ['msb'],
 * })
 * await writeSshConfig(home, block, join(folder, 'ssh_config'))
 * console.log(block.alias) // devbox.msb
 * console.log(readFileSync(join(folder, 'ssh_config'), 'utf8').split('\n')[0]) // Include …
 */
export async function prepareSshConfig(
  home: Home,
  options: SshConfigOptions,
): Promise<SshConfigBlock> {
  const target = absolute(parseSandboxTarget(options.sandbox))
  const alias = checkAlias(options.alias ?? defaultAlias(target))
  const knownHostsPath = knownHostsOf(home)
  const identityPath = join(home.sshPath, 'id_ed25519')
  const sandbox = formatSandboxTarget(target)
  const words = [...options.program, 'ssh', 'serve', sandbox, '--stdio']
  const env = Object.entries(options.env ?? {}).map(([name, value]) => `${name}=${value}`)
  const command = [...(env.length === 0 ? [] : ['env', ...env]), ...words]
  const text = formatBlock({
    alias,
    way: [
      `User ${checkUser(options.user ?? 'root')}`,
      `ProxyCommand ${command.map(proxyWord).join(' ')}`,
      `HostKeyAlias ${alias}`,
    ],
    knownHostsPath,
    identityPath,
  })
  const hostKey = await loadOrCreateHostKey(options.hostKeyPath)
  const { publicKey } = await loadOrCreateHostKey(identityPath)
  const line = publicKey.toString().split(' ').slice(0, 2).join(' ')
  await authorizeKeys(home, `${line} msb ssh config`, { sandbox })
  await pinHostKeys(knownHostsPath, [hostKey.publicKey], alias, 22)
  return { alias, text, knownHostsPath, identityPath }
}

/** What `writeSshConfig` did. */
export interface SshConfigResult {
  /** Our file with the blocks. */
  readonly path: string
  /** False if everything was there as it is. */
  readonly changed: boolean
}

/**
 * Puts the block into `<MSB_HOME>/ssh/config`, in the place of an earlier one, and sees to it that
 * the user's configuration includes that file. Doing so again changes nothing.
 * @throws SandboxError `HOME_UNUSABLE`
 *
 * @example
 * import { mkdtempSync } from 'node:fs'
 * import { tmpdir } from 'node:os'
 * import { join } from 'node:path'
 * import { openHome, prepareSshConfig, writeSshConfig } from '@sandbox-ssh/sandbox-bridge'
 *
 * const folder = mkdtempSync(join(tmpdir(), 'home-'))
 * const home = openHome({ path: folder })
 * const hostKeyPath = join(folder, 'host_key')
 * const block = await prepareSshConfig(home, { sandbox: 'web', hostKeyPath, program: ['msb'] })
 * const write = () => writeSshConfig(home, block, join(folder, 'config'))
 * console.log((await write()).changed, (await write()).changed) // true false
 */
export async function writeSshConfig(
  home: Home,
  block: SshConfigBlock,
  userConfigPath: string,
): Promise<SshConfigResult> {
  const path = join(home.sshPath, 'config')
  const changed = await withFileLock(`${path}.lock`, LOCK_MS, () => {
    const before = readText(path) ?? HEADER
    const marked = `# begin ${block.alias}\n${block.text}# end ${block.alias}\n`
    const name = block.alias.replaceAll('.', '\\.')
    const old = new RegExp(`^# begin ${name}\\n[^]*?^# end ${name}\\n`, 'm')
    const after = old.test(before) ? before.replace(old, () => marked) : before + marked
    if (after !== before) writeText(path, after, 0o600)
    return after !== before
  })
  const included = include(userConfigPath, path)
  return { path, changed: changed || included }
}

const HEADER =
  '# Written by `msb ssh config NAME --write`, one block for each sandbox. Changes are lost.\n'

/** True if the line had to be added. */
function include(userConfigPath: string, path: string): boolean {
  const line = `Include ${includePath(path)}`
  const before = readText(userConfigPath) ?? ''
  if (before.split('\n').some((other) => other.trim() === line)) return false
  let place = userConfigPath
  let mode = 0o600
  try {
    // Who keeps his configuration elsewhere and links to it wants to keep the link.
    place = realpathSync(userConfigPath)
    mode = lstatSync(place).mode & 0o777
  } catch (cause) {
    if (errnoOf(cause) !== 'ENOENT') throw unusable(userConfigPath, cause)
    makePrivateDirectory(dirname(userConfigPath))
  }
  writeText(place, `${line}\n${before}`, mode)
  return true
}

/** A way to a sandbox that means the same from any directory. */
function absolute(target: SandboxTarget): SandboxTarget {
  return target.kind === 'unix' ? { kind: 'unix', path: resolve(target.path) } : target
}

function defaultAlias(target: SandboxTarget): string {
  if (target.kind === 'name') return `${target.name}.msb`
  if (target.kind === 'local') return `${target.name}.local.msb`
  const what = formatSandboxTarget(target)
  throw new SandboxError('SANDBOX_NAME_INVALID', `${what} needs a name for ssh, given with --alias`)
}
