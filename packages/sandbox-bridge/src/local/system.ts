/** What an isolated sandbox sees of the host's system, and the few files made for it. */
import { lstatSync, readFileSync, readlinkSync, realpathSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { errnoOf, reasonOf, SandboxError } from '../home/errors.ts'
import type { LocalLayout } from './layout.ts'

/** Where programs live. Present ones are shown read-only; links between them are kept. */
const SYSTEM_PATHS = [
  '/usr',
  '/bin',
  '/sbin',
  '/lib',
  '/lib32',
  '/lib64',
  '/libx32',
  '/nix/store',
  '/gnu/store',
]

/**
 * Configuration that programs need and that holds no secrets, shown read-only. A list of what may
 * be seen: `/etc` also has private keys, passwords of services and names of users.
 */
const ETC_PATHS = [
  'alternatives',
  'bash.bashrc',
  'bash_completion.d',
  'ca-certificates',
  'ca-certificates.conf',
  'crypto-policies',
  'debian_version',
  'default/locale',
  'fonts',
  'gai.conf',
  'host.conf',
  'inputrc',
  'issue',
  'ld.so.cache',
  'ld.so.conf',
  'ld.so.conf.d',
  'localtime',
  'locale.alias',
  'locale.conf',
  'login.defs',
  'lsb-release',
  'magic',
  'manpath.config',
  'mime.types',
  'os-release',
  'perl',
  'pki/ca-trust',
  'pki/tls/certs',
  'profile',
  'profile.d',
  'protocols',
  'python3',
  'rpc',
  'services',
  'shells',
  'skel',
  'ssl/certs',
  'ssl/openssl.cnf',
  'terminfo',
  'timezone',
  'vim',
  'xdg',
  'zsh',
]

/** Directories that programs expect; empty, writable and gone with the sandbox. */
const EMPTY_DIRECTORIES = ['/run', '/var/log', '/var/cache', '/var/lib', '/opt', '/srv', '/mnt']

/** The search path inside. */
export const SANDBOX_PATH: string =
  '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/.msb/node/bin'

/** Arguments of bwrap that build the system: read-only, no homes, no `/run`, no `/var`. */
export function systemArguments(): readonly string[] {
  return [
    ...SYSTEM_PATHS.flatMap((path) => {
      const stats = lstatSync(path, { throwIfNoEntry: false })
      if (stats === undefined) return []
      // /bin -> usr/bin and its like stay links, as programs compare such paths.
      if (stats.isSymbolicLink()) return ['--symlink', readlinkSync(path), path]
      return ['--ro-bind', path, path]
    }),
    // bwrap makes parents of a mount at 0700.
    ...['--dir', '/etc', '--dir', '/etc/ssl', '--dir', '/etc/default'],
    ...ETC_PATHS.flatMap((name) => etcArguments(join('/etc', name))),
    ...EMPTY_DIRECTORIES.flatMap((path) => ['--dir', path]),
  ]
}

/** The shell for people: bash if the system has it. */
export function sandboxShell(): string {
  return lstatSync('/usr/bin/bash', { throwIfNoEntry: false }) === undefined &&
    lstatSync('/bin/bash', { throwIfNoEntry: false }) === undefined
    ? '/bin/sh'
    : '/bin/bash'
}

/**
 * Writes the files of `/etc` that must not be the host's: users, names, resolver. The user who
 * runs the sandbox is another name of root, so that `ssh` without a user name gets in as well.
 * @throws SandboxError `HOME_UNUSABLE`
 */
export function writeEtc(layout: LocalLayout): readonly string[] {
  const shell = sandboxShell()
  const alias = loginName()
  const hostname = sandboxHostname(layout.name)
  const shared = layout.network === 'host'
  const files: Readonly<Record<string, string>> = {
    passwd: [
      `root:x:0:0:root:/root:${shell}`,
      ...(alias === undefined ? [] : [`${alias}:x:0:0:${alias}:/root:${shell}`]),
      'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin',
      '',
    ].join('\n'),
    group: 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n',
    hostname: `${hostname}\n`,
    hosts:
      `127.0.0.1 localhost ${hostname}\n::1 localhost ip6-localhost ip6-loopback\n` +
      (shared ? hostFile('/etc/hosts') : ''),
    'resolv.conf': shared ? hostFile('/etc/resolv.conf') : '# no network but loopback\n',
    'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\nservices: files\n',
  }
  for (const [name, text] of Object.entries(files)) {
    const path = join(layout.etcPath, name)
    try {
      writeFileSync(path, text, { mode: 0o644 })
    } catch (cause) {
      throw new SandboxError('HOME_UNUSABLE', `cannot write ${path}: ${reasonOf(cause)}`, { cause })
    }
  }
  return Object.keys(files)
}

/** A host name from a sandbox name: at most 63 letters, digits and hyphens. */
export function sandboxHostname(name: string): string {
  const hostname = name.replace(/[^A-Za-z0-9-]/g, '-').slice(0, 63)
  return hostname.replace(/-+$/, '') || 'sandbox'
}

/**
 * Shows one entry of `/etc`. Links such as /etc/os-release -> ../usr/lib/os-release are resolved
 * here, and only if they stay in what is visible anyway; others would be a way around the list.
 */
function etcArguments(path: string): readonly string[] {
  try {
    const real = realpathSync(path)
    const allowed = ['/etc/', '/usr/', '/nix/store/', '/gnu/store/']
    return allowed.some((start) => real.startsWith(start)) ? ['--ro-bind', real, path] : []
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
}

/** A small file of the host's, or nothing; it may lie behind a link to /run. */
function hostFile(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function loginName(): string | undefined {
  try {
    const { username } = userInfo()
    const usable = /^[a-z_][a-z0-9_.-]*$/i.test(username)
    // `unknown` is what Bun says where the environment does not tell.
    return usable && !['root', 'nobody', 'unknown'].includes(username) ? username : undefined
  } catch {
    // A uid without a name, as in containers.
    return undefined
  }
}
