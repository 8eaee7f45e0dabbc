/**
 * What to start and how: environment, user, working directory, and everything that can be known to
 * fail before a process exists. Node reports a failed exec by a few error codes and runs a file
 * without `#!` through a shell; the agent tells the exact reason, so it is found out here.
 */
import {
  accessSync,
  closeSync,
  constants,
  openSync,
  readdirSync,
  readSync,
  statSync,
} from 'node:fs'
import { resolve } from 'node:path'
import type { ExecFailureKind } from '../agent/error.ts'
import type { ExecFailed, ExecRequest, ResourceLimit } from '../agent/messages.ts'
import { errorName, errorNumber, osError } from './errno.ts'
import { checkMapped, homeOf, resolveUser, UnknownUser, type User } from './users.ts'

/** What programs get unless the request says otherwise. */
export interface ExecDefaults {
  /** Environment below the request's. */
  readonly env: ReadonlyMap<string, string>
  readonly cwd: string
  /** `USER[:GROUP]`; none is the guest's own user. */
  readonly user?: string | undefined
  /** A directory put in front of every PATH. */
  readonly pathPrefix?: string | undefined
  /** Tell which signal ended a program. */
  readonly tellsSignals: boolean
}

/** A command that may be started. */
export interface Command {
  /** Program to spawn, perhaps a wrapper around `cmd`. */
  readonly file: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  /** Present if the program runs as somebody else. */
  readonly user: User | undefined
}

/** The program was not started; holds what `core.exec.failed` says. */
export class ExecFailure extends Error {
  override readonly name = 'ExecFailure'
  readonly failed: ExecFailed

  constructor(failed: ExecFailed) {
    super(failed.message)
    this.failed = failed
  }
}

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
/** `MAX_ARG_STRLEN` of Linux: one argument with its zero byte. */
const ARGUMENT_BYTES_MAX = 128 * 1024
const ENOENT = 2
const E2BIG = 7
const ENOEXEC = 8
const EACCES = 13
const EINVAL = 22

/** Checks a request and says how to start it. @throws ExecFailure */
export function prepareCommand(request: ExecRequest, defaults: ExecDefaults): Command {
  const fail = (number: number): never => {
    throw spawnFailure(request, number)
  }
  const userText = [request.user, defaults.user].find(
    (text) => text !== undefined && text.trim() !== '',
  )
  const user = userText === undefined ? undefined : findUser(userText)
  const switched = user !== undefined && differs(user) ? user : undefined
  refuseNul(request)
  const env = environment(request, defaults, user)
  const cwd = workingDirectory(request, defaults)
  if (
    [request.cmd, ...request.args].some((text) => Buffer.byteLength(text) >= ARGUMENT_BYTES_MAX)
  ) {
    fail(E2BIG)
  }
  const limits = request.rlimits.filter(({ resource }) => RESOURCES.has(resource))
  if (limits.some(({ soft, hard }) => soft > hard)) fail(EINVAL)
  const reason = execError(request.cmd, env['PATH'] ?? DEFAULT_PATH, cwd)
  if (reason !== undefined) fail(reason)
  return wrapped(request, limits, { env, cwd, user: switched })
}

/** The failure of a start for a reason that has a number. */
export function spawnFailure(request: ExecRequest, number: number): ExecFailure {
  return new ExecFailure({
    kind: failureKind(number),
    errno: number,
    errno_name: errorName(number),
    message: `spawn ${JSON.stringify(request.cmd)}: ${osError(number)}`,
    stage: stage(request),
  })
}

/** A failure of the guest itself, before anything was tried. */
export function setupFailure(kind: ExecFailureKind, why: string): ExecFailure {
  return new ExecFailure({ kind, message: `exec session error: ${why}` })
}

function stage(request: ExecRequest): string {
  return request.tty ? 'execvp' : 'Command::spawn'
}

/** The agent's table of reasons. */
function failureKind(number: number): ExecFailureKind {
  switch (errorName(number)) {
    case 'ENOENT':
      return 'not_found'
    case 'ENOTDIR':
      return 'bad_cwd'
    case 'EACCES':
    case 'EPERM':
      return 'permission_denied'
    case 'ENOEXEC':
    case 'EISDIR':
    case 'ETXTBSY':
      return 'not_executable'
    case 'E2BIG':
    case 'ELOOP':
    case 'ENAMETOOLONG':
    case 'EFAULT':
      return 'bad_args'
    case 'EMFILE':
    case 'ENFILE':
    case 'EAGAIN':
      return 'resource_limit'
    case 'ENOMEM':
      return 'out_of_memory'
    default:
      return 'other'
  }
}

function findUser(text: string): User {
  try {
    const user = resolveUser(text, process.getgid?.() ?? 0)
    if (differs(user)) checkMapped(text, user)
    return user
  } catch (error) {
    if (error instanceof UnknownUser) throw setupFailure('other', error.message)
    throw error
  }
}

function differs(user: User): boolean {
  return user.uid !== process.getuid?.() || user.gid !== process.getgid?.()
}

function refuseNul(request: ExecRequest): void {
  const texts = [request.cmd, ...request.args, ...(request.cwd === undefined ? [] : [request.cwd])]
  const text = texts.find((each) => each.includes('\0'))
  if (text === undefined) return
  if (request.tty) {
    const at = Buffer.byteLength(text.slice(0, text.indexOf('\0')))
    const what = text === request.cmd ? 'cmd' : 'arg'
    throw setupFailure(
      'other',
      `invalid ${what}: nul byte found in provided data at position: ${at}`,
    )
  }
  throw new ExecFailure({
    kind: 'other',
    message: `spawn ${JSON.stringify(request.cmd)}: nul byte found in provided data`,
    stage: stage(request),
  })
}

/** The guest's environment, the request's over it; PATH and HOME always have a value. */
function environment(
  request: ExecRequest,
  defaults: ExecDefaults,
  user: User | undefined,
): Record<string, string> {
  const asked = new Map<string, string>()
  for (const entry of request.env) {
    const at = entry.indexOf('=')
    // A zero byte cannot be in an environment; such an entry is dropped rather than cut.
    if (at > 0 && !entry.includes('\0')) asked.set(entry.slice(0, at), entry.slice(at + 1))
  }
  const env = new Map([...defaults.env, ...asked])
  env.set('PATH', withPrefix(env.get('PATH') ?? DEFAULT_PATH, defaults.pathPrefix))
  if (!asked.has('HOME')) env.set('HOME', home(defaults, user))
  return Object.fromEntries(env)
}

function withPrefix(path: string, prefix: string | undefined): string {
  if (prefix === undefined || path.split(':').includes(prefix)) return path
  return `${prefix}:${path}`
}

function home(defaults: ExecDefaults, user: User | undefined): string {
  const own = process.getuid?.() ?? 0
  if (user !== undefined && user.uid !== own) return user.home
  // The guest's own user: what it was told outranks passwd, which may describe another world.
  return defaults.env.get('HOME') ?? homeOf(own) ?? '/'
}

/** A pipe needs its directory to exist; a terminal starts in `/` instead, as the agent has it. */
function workingDirectory(request: ExecRequest, defaults: ExecDefaults): string {
  const wanted = resolve('/', request.cwd ?? defaults.cwd)
  try {
    if (!statSync(wanted).isDirectory()) throw Object.assign(new Error(), { code: 'ENOTDIR' })
    accessSync(wanted, constants.X_OK)
    return wanted
  } catch (error) {
    if (request.tty || request.cwd === undefined) return '/'
    throw spawnFailure(request, errorNumber(error) ?? ENOENT)
  }
}

/** Why `execvp` would fail, or undefined if it looks as if it would not. */
function execError(cmd: string, path: string, cwd: string): number | undefined {
  if (cmd === '') return ENOENT
  if (cmd.includes('/')) return fileError(resolve(cwd, cmd))
  let denied: number | undefined
  for (const directory of path.split(':')) {
    const error = fileError(resolve(cwd, directory, cmd))
    if (error === EACCES) denied = error
    else if (error === undefined || error === ENOEXEC) return error
  }
  return denied ?? ENOENT
}

function fileError(path: string, depth = 0): number | undefined {
  try {
    if (!statSync(path).isFile()) return EACCES
    accessSync(path, constants.X_OK)
  } catch (error) {
    return errorNumber(error) ?? EACCES
  }
  const head = headOf(path)
  // A program that may be run and not read: the kernel will see.
  if (head === undefined || head.startsWith('\x7fELF')) return undefined
  if (!head.startsWith('#!')) return hasOtherFormats() ? undefined : ENOEXEC
  const interpreter = /^#![ \t]*([^ \t\n]+)/.exec(head)?.[1]
  if (interpreter === undefined) return ENOEXEC
  return depth >= 4 ? 40 : fileError(resolve('/', interpreter), depth + 1)
}

/** The first bytes, as many as the kernel looks at. */
function headOf(path: string): string | undefined {
  let file: number
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch {
    return undefined
  }
  try {
    const buffer = Buffer.alloc(256)
    return buffer.toString('latin1', 0, readSync(file, buffer, 0, buffer.length, 0))
  } catch {
    return undefined
  } finally {
    closeSync(file)
  }
}

/** True if binfmt_misc knows formats of its own, which only the kernel can judge. */
function hasOtherFormats(): boolean {
  try {
    const entries = readdirSync('/proc/sys/fs/binfmt_misc')
    return entries.some((entry) => entry !== 'register' && entry !== 'status')
  } catch {
    return false
  }
}

/** Resource names the agent knows, all of which prlimit(1) takes; others are ignored. */
const RESOURCES: ReadonlySet<string> = new Set([
  'cpu',
  'fsize',
  'data',
  'stack',
  'core',
  'rss',
  'nproc',
  'nofile',
  'memlock',
  'as',
  'locks',
  'sigpending',
  'msgqueue',
  'nice',
  'rtprio',
  'rttime',
])

const NO_LIMIT = (1n << 64n) - 1n

/**
 * Limits and supplementary groups are set by small programs that then become the command: Node
 * can do neither, and would leave a switched user with the guest's own groups.
 */
function wrapped(
  request: ExecRequest,
  limits: readonly ResourceLimit[],
  rest: Pick<Command, 'env' | 'cwd' | 'user'>,
): Command {
  const words = [request.cmd, ...request.args]
  const { user } = rest
  if (user !== undefined) {
    if (process.getuid?.() !== 0) throw spawnFailure(request, 1)
    const groups = `--groups=${user.groups.join(',')}`
    words.unshift(tool('setpriv'), `--reuid=${user.uid}`, `--regid=${user.gid}`, groups, '--')
  }
  if (limits.length > 0) {
    const value = (limit: number | bigint) => (BigInt(limit) === NO_LIMIT ? 'unlimited' : limit)
    const options = limits.map(
      ({ resource, soft, hard }) => `--${resource}=${value(soft)}:${value(hard)}`,
    )
    words.unshift(tool('prlimit'), ...options, '--')
  }
  const [file = '', ...args] = words
  return { file, args, ...rest }
}

/** The path of a program of util-linux that the guest itself needs. @throws ExecFailure */
export function tool(name: string): string {
  for (const directory of DEFAULT_PATH.split(':')) {
    const path = `${directory}/${name}`
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // Not here; perhaps in the next one.
    }
  }
  throw setupFailure('other', `this guest has no ${name} program, which is needed for this`)
}
