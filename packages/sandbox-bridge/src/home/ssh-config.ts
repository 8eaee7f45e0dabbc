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
import { knownHostLine, type PublicKey } from '@sandbox-ssh/protocol'
import { authorizeKeys } from './authorize.ts'
import { errnoOf, reasonOf, SandboxError } from './errors.ts'
import { makePrivateDirectory, readBoundedFile, replaceFile } from './files.ts'
import type { Home } from './home.ts'
import { loadOrCreateHostKey } from './host-key.ts'
import { withFileLock } from './lock.ts'
import { formatSandboxTarget, parseSandboxTarget, type SandboxTarget } from './names.ts'

const CONFIG_BYTES_MAX = 4 * 1024 * 1024
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
  const knownHostsPath = join(home.sshPath, 'known_hosts')
  const identityPath = join(home.sshPath, 'id_ed25519')
  const sandbox = formatSandboxTarget(target)
  const words = [...options.program, 'ssh', 'serve', sandbox, '--stdio']
  const env = Object.entries(options.env ?? {}).map(([name, value]) => `${name}=${value}`)
  const command = [...(env.length === 0 ? [] : ['env', ...env]), ...words]
  const text = [
    `Host ${alias}`,
    `  User ${checkUser(options.user ?? 'root')}`,
    `  ProxyCommand ${command.map(proxyWord).join(' ')}`,
    `  HostKeyAlias ${alias}`,
    `  UserKnownHostsFile ${quotedPath(knownHostsPath)}`,
    '  GlobalKnownHostsFile none',
    '  StrictHostKeyChecking yes',
    '  UpdateHostKeys no',
    `  IdentityFile ${quotedPath(identityPath)}`,
    '  IdentitiesOnly yes',
    '',
  ].join('\n')
  const hostKey = await loadOrCreateHostKey(options.hostKeyPath)
  const { publicKey } = await loadOrCreateHostKey(identityPath)
  const line = publicKey.toString().split(' ').slice(0, 2).join(' ')
  await authorizeKeys(home, `${line} msb ssh config`, { sandbox })
  await pin(knownHostsPath, alias, hostKey.publicKey)
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
    if (after !== before) write(path, after, 0o600)
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
  write(place, `${line}\n${before}`, mode)
  return true
}

/** The only key of that name, from now on. */
async function pin(path: string, alias: string, key: PublicKey): Promise<void> {
  const line = knownHostLine(key, alias, 22, { hashed: false })
  await withFileLock(`${path}.lock`, LOCK_MS, () => {
    const before = readText(path) ?? ''
    const others = before
      .split('\n')
      .filter((other) => other.trim() !== '' && !other.startsWith(`${alias.toLowerCase()} `))
    const after = `${[...others, line].sort().join('\n')}\n`
    if (after !== before) write(path, after, 0o600)
  })
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

function checkAlias(alias: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(alias)) return alias
  const message = 'an alias for ssh has letters, digits, dots, hyphens and underscores'
  throw new SandboxError('SANDBOX_NAME_INVALID', message)
}

function checkUser(user: string): string {
  // An option would end at a blank, and a line at its end.
  if (/^[^\s"'#%$]+$/.test(user)) return user
  throw new SandboxError('SANDBOX_NAME_INVALID', 'that user cannot be named in ssh_config')
}

/** For the shell that ssh starts, after ssh has replaced its `%` sequences. */
function proxyWord(word: string): string {
  if (/[\0\r\n]/.test(word)) throw unnameable(word)
  const quoted = /^[\w@+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
  return quoted.replaceAll('%', '%%')
}

/** Quotes cannot be escaped in every version of ssh, nor can `${`. */
function quotedPath(path: string): string {
  if (/["\0\r\n\\]|\$\{/.test(path)) throw unnameable(path)
  return `"${path.replaceAll('%', '%%')}"`
}

/** `Include` takes wildcards and no `%` sequences. */
function includePath(path: string): string {
  if (/["\0\r\n\\*?[\]]|\$\{/.test(path)) throw unnameable(path)
  return `"${path}"`
}

function unnameable(path: string): SandboxError {
  const message = `${JSON.stringify(path)} cannot be written in ssh_config`
  return new SandboxError('HOME_UNUSABLE', message)
}

function readText(path: string): string | undefined {
  try {
    return readBoundedFile(path, CONFIG_BYTES_MAX).text
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return undefined
    throw unusable(path, cause)
  }
}

function write(path: string, text: string, mode: number): void {
  try {
    replaceFile(path, text, mode)
  } catch (cause) {
    throw unusable(path, cause)
  }
}

function unusable(path: string, cause: unknown): SandboxError {
  return new SandboxError('HOME_UNUSABLE', `cannot use ${path}: ${reasonOf(cause)}`, { cause })
}
