/** Command lines that start the guest: isolated by bubblewrap, or, failing that, as it is. */
import { createHash } from 'node:crypto'
import { statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { LocalLayout } from './layout.ts'
import { isInside, type LocalPrograms, runtimeFiles } from './programs.ts'
import { SANDBOX_PATH, sandboxHostname, sandboxShell, systemArguments } from './system.ts'

/**
 * How much stands between the sandbox and the host, best first.
 *
 * - `separate-user`: namespaces, and root inside is outside a user that owns nothing else. Only
 *   root can arrange that.
 * - `namespaces`: namespaces; root inside is outside the user who started it.
 * - `none`: a private home directory and nothing more.
 */
export type Isolation = 'separate-user' | 'namespaces' | 'none'

/** A command to run, with its whole environment. */
export interface GuestCommand {
  readonly isolation: Isolation
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string | undefined
  /** The user that owns the sandbox's files outside, if it has to be seen to. */
  readonly ownerUid: number | undefined
}

/** What is needed to make one. */
export interface GuestCommandOptions {
  readonly layout: LocalLayout
  readonly programs: LocalPrograms
  /** Names of the files in `layout.etcPath`. */
  readonly etcFiles: readonly string[]
  /** This process's user. */
  readonly uid: number
  /** Arguments of the guest program. */
  readonly guestArguments: readonly string[]
}

/**
 * What root inside may do, within its own namespaces: own files, signal, switch users, low ports,
 * chroot. Not mount, not trace, not reconfigure the network.
 */
const CAPABILITIES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETUID',
  'SETGID',
  'NET_BIND_SERVICE',
  'SYS_CHROOT',
]

/** Where our own files are inside. */
const PRIVATE = '/.msb'
/**
 * First of the user ids for `separate-user`: above those of people, services and the containers of
 * common tools, below the sign bit.
 */
const OWNER_UID_BASE = 0x7000_0000

/** The ways worth trying on this system, best first; the last one always works. */
export function isolationsToTry(platform: string, uid: number): readonly Isolation[] {
  if (platform !== 'linux') return ['none']
  return uid === 0 ? ['separate-user', 'namespaces', 'none'] : ['namespaces', 'none']
}

/** The command for one way. */
export function guestCommand(isolation: Isolation, options: GuestCommandOptions): GuestCommand {
  if (isolation === 'none') return unisolated(options)
  const bindings = bindingsOf(options)
  const common = { isolation, env: { PATH: hostPath() }, cwd: undefined }
  if (isolation === 'namespaces') {
    const ownerUid = options.uid === 0 ? 0 : undefined
    return { ...common, ...bubblewrap(options, bindings), ownerUid }
  }
  const ownerUid = ownerUidOf(options.layout)
  return { ...common, ...asSeparateUser(options, bindings, ownerUid), ownerUid }
}

/** A user id for one sandbox, so that two of them are strangers to each other as well. */
export function ownerUidOf(layout: LocalLayout): number {
  return OWNER_UID_BASE + createHash('sha256').update(layout.filesPath).digest().readUIntBE(0, 3)
}

/** A host file or directory shown inside. */
interface Binding {
  readonly source: string
  readonly target: string
  readonly writable: boolean
}

function bindingsOf({ layout, programs, etcFiles }: GuestCommandOptions): readonly Binding[] {
  const readOnly = (source: string, target: string): Binding => ({
    source,
    target,
    writable: false,
  })
  const bindings: Binding[] = [
    { source: layout.homePath, target: '/root', writable: true },
    { source: layout.tmpPath, target: '/tmp', writable: true },
    { source: layout.tmpPath, target: '/var/tmp', writable: true },
    readOnly(programs.guest, `${PRIVATE}/guest.mjs`),
    ...etcFiles.map((name) => readOnly(join(layout.etcPath, name), `/etc/${name}`)),
    ...(programs.pty === undefined ? [] : [readOnly(programs.pty, `${PRIVATE}/pty.node`)]),
  ]
  if (!isInside(programs.node, '/usr')) {
    const { path, program } = runtimeFiles(programs.node)
    bindings.push(readOnly(path, program === '' ? `${PRIVATE}/node/bin/node` : `${PRIVATE}/node`))
  }
  return bindings
}

function bubblewrap(
  { layout, programs, guestArguments }: GuestCommandOptions,
  bindings: readonly Binding[],
): { command: string; args: readonly string[] } {
  const args = [
    ...['--unshare-user', '--unshare-ipc', '--unshare-pid', '--unshare-uts'],
    '--unshare-cgroup-try',
    ...(layout.network === 'host' ? [] : ['--unshare-net']),
    ...['--uid', '0', '--gid', '0', '--hostname', sandboxHostname(layout.name)],
    ...['--cap-drop', 'ALL', ...CAPABILITIES.flatMap((name) => ['--cap-add', `CAP_${name}`])],
    '--clearenv',
    ...Object.entries(environment('/root')).flatMap(([name, value]) => ['--setenv', name, value]),
    ...systemArguments(),
    ...['--proc', '/proc', '--dev', '/dev'],
    ...coveredProc(),
    ...bindings.flatMap(({ source, target, writable }) => [
      writable ? '--bind' : '--ro-bind',
      source,
      target,
    ]),
    ...['--chmod', '0755', PRIVATE, '--chdir', '/root', '--'],
    nodeInside(programs),
    `${PRIVATE}/guest.mjs`,
    ...guestArguments,
  ]
  return { command: 'bwrap', args }
}

/**
 * Root inside would be root outside to everything that asks for the user: kernel settings in
 * /proc, sockets of services on a shared network. So the sandbox is started by a user of its own.
 * That user cannot reach our files by their paths, which lie in private directories; an outer
 * bwrap, still root, shows them at paths it can reach, in a mount namespace nobody else sees.
 */
function asSeparateUser(
  options: GuestCommandOptions,
  bindings: readonly Binding[],
  ownerUid: number,
): { command: string; args: readonly string[] } {
  const staged = bindings.map((binding, index) => ({ ...binding, source: `/tmp/${index}` }))
  const { command, args } = bubblewrap(options, staged)
  return {
    command: 'bwrap',
    args: [
      ...['--dev-bind', '/', '/', '--tmpfs', '/tmp'],
      ...bindings.flatMap(({ source, writable }, index) => [
        writable ? '--bind' : '--ro-bind',
        source,
        `/tmp/${index}`,
      ]),
      ...['--chdir', '/', '--', 'setpriv', '--reuid', String(ownerUid), '--regid'],
      ...[String(ownerUid), '--clear-groups', '--inh-caps=-all', '--bounding-set=-all', '--'],
      command,
      // The outer one ends with its last process; the inner one must not outlive it.
      '--die-with-parent',
      ...args,
    ],
  }
}

function unisolated(options: GuestCommandOptions): GuestCommand {
  const { layout, programs, guestArguments, uid } = options
  return {
    isolation: 'none',
    command: programs.node,
    args: [programs.guest, ...guestArguments],
    env: {
      ...environment(layout.homePath),
      PATH: `${hostPath()}:${dirname(programs.node)}`,
      TMPDIR: layout.tmpPath,
      ...(programs.pty === undefined ? {} : { MSB_GUEST_PTY: programs.pty }),
    },
    cwd: layout.homePath,
    ownerUid: uid === 0 ? 0 : undefined,
  }
}

/** Parts of /proc that speak of the whole machine; root inside gets them read-only at most. */
function coveredProc(): readonly string[] {
  const readOnly = ['sys', 'irq', 'bus', 'fs', 'sysrq-trigger', 'mtrr', 'acpi', 'scsi']
  return readOnly
    .map((name) => `/proc/${name}`)
    .filter((path) => statSync(path, { throwIfNoEntry: false }) !== undefined)
    .flatMap((path) => ['--ro-bind', path, path])
}

function nodeInside(programs: LocalPrograms): string {
  if (isInside(programs.node, '/usr')) return programs.node
  return `${PRIVATE}/node/bin/${runtimeFiles(programs.node).program === '' ? 'node' : basename(programs.node)}`
}

function environment(home: string): Readonly<Record<string, string>> {
  const zone = process.env['TZ']
  return {
    PATH: SANDBOX_PATH,
    HOME: home,
    SHELL: sandboxShell(),
    LANG: 'C.UTF-8',
    ...(zone === undefined || zone === '' ? {} : { TZ: zone }),
  }
}

function hostPath(): string {
  const path = process.env['PATH']
  return path === undefined || path === ''
    ? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    : path
}
