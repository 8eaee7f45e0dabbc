/** microsandbox's sandboxes by name: reaching them, and having them started for a while. */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Transport } from '@sandbox-ssh/protocol'
import { readCatalogue } from '../home/catalogue-database.ts'
import { SandboxError } from '../home/errors.ts'
import type { Home } from '../home/home.ts'
import { findMicrosandbox, INSTALL_HINT, runMicrosandbox } from '../home/microsandbox.ts'
import { findRelaySockets, relaySocketPaths } from '../home/sockets.ts'
import { type DialOptions, dialUnix } from './unix.ts'

/** A started sandbox's socket appears within this. */
const SOCKET_MS = 10_000
const RETRY_MS = 50
/** For what somebody else may be starting to come up, where nothing tells whether it is. */
const OTHERS_START_MS = 3000
/** For a relay to notice that our own connections are gone. */
const LEAVE_MS = 2000

/**
 * Connects to a microsandbox sandbox by name, trying each of its sockets that exists.
 * @throws SandboxError `SANDBOX_NOT_FOUND`, `SANDBOX_NOT_RUNNING`, `SANDBOX_STARTING`,
 * `SANDBOX_DEAD`, `SANDBOX_UNREACHABLE`; or the signal's reason
 */
export async function dialNamed(
  home: Home,
  name: string,
  options: DialOptions = {},
): Promise<Transport> {
  let last: unknown
  try {
    for (const path of findRelaySockets(home, name)) {
      try {
        return await dialUnix(path, options)
      } catch (error) {
        if (options.signal?.aborted) throw error
        last = error
      }
    }
  } catch (error) {
    last = error
  }
  if (options.signal?.aborted || !(last instanceof SandboxError)) throw last
  throw explained(home, name, last)
}

/** Says what the catalogue knows about a sandbox that could not be reached. */
function explained(home: Home, name: string, cause: SandboxError): SandboxError {
  if (cause.code !== 'SANDBOX_NOT_FOUND' && cause.code !== 'SANDBOX_NOT_RUNNING') return cause
  const answer = readCatalogue(home, name)
  if (answer.kind === 'unknown') {
    return new SandboxError('SANDBOX_NOT_FOUND', `sandbox not found: ${name}`, { cause })
  }
  const start = `(start it with: msb start ${name})`
  if (answer.kind === 'unreadable') {
    if (cause.code === 'SANDBOX_NOT_FOUND') return cause
    const message = `sandbox is not running: ${name} ${start}`
    return new SandboxError('SANDBOX_NOT_RUNNING', message, { cause })
  }
  const { state } = answer.entry
  switch (state.kind) {
    case 'stopped':
      return new SandboxError('SANDBOX_NOT_RUNNING', `sandbox is stopped: ${name} ${start}`, {
        cause,
      })
    case 'starting':
      return new SandboxError('SANDBOX_STARTING', `sandbox is starting: ${name}; try again soon`, {
        cause,
      })
    case 'dead':
      return new SandboxError(
        'SANDBOX_DEAD',
        `sandbox is dead: ${name}: its process ${state.pid} is gone ${start}`,
        { cause },
      )
    case 'running':
      return new SandboxError(
        'SANDBOX_UNREACHABLE',
        `sandbox ${name} runs (process ${state.pid}), but nothing listens on its socket`,
        { cause },
      )
    case 'other':
      return new SandboxError(
        'SANDBOX_NOT_RUNNING',
        `sandbox is ${printable(state.status)} and cannot be started: ${name}`,
        { cause },
      )
  }
}

/** How a sandbox is made to run. */
export interface RunOptions {
  readonly signal?: AbortSignal | undefined
  /** Told before a sandbox is started, which may take long. */
  readonly onStarting?: (() => void) | undefined
}

/** What came of the end of a run. */
export type RunEnd =
  /** It was not ours to stop. */
  | 'left'
  /** We started it, and others use it now. */
  | 'in-use'
  | 'stopped'

/** A sandbox that runs, and who made it. */
export interface SandboxRun {
  /** True if it was started for this run. */
  readonly started: boolean
  /**
   * Stops it if it was started for this run and nobody else uses it. Where users cannot be
   * counted (that takes Linux), `whenUnsure` decides. Close all own connections before.
   * @throws SandboxError `SANDBOX_START_FAILED` if it cannot be stopped
   */
  end(whenUnsure: 'stop' | 'leave'): Promise<RunEnd>
}

/**
 * Makes sure the sandbox runs, through microsandbox's own program if it is stopped or dead.
 * @throws SandboxError as `dialNamed`, `SANDBOX_START_FAILED`; or the signal's reason
 */
export async function runNamed(
  home: Home,
  name: string,
  { signal, onStarting }: RunOptions = {},
): Promise<SandboxRun> {
  try {
    await probe(home, name, signal)
    return { started: false, end: () => Promise.resolve('left') }
  } catch (error) {
    if (signal?.aborted || !isStartable(home, name, error)) throw error
    const program = findMicrosandbox(home)
    if (program === undefined) {
      const { code, message } = error
      const hint = `to have it started from here, ${INSTALL_HINT}`
      throw new SandboxError(code, `${message}; ${hint}`, { cause: error })
    }
    onStarting?.()
    try {
      await runMicrosandbox(home, program, 'start', name, signal)
    } catch (failure) {
      if (signal?.aborted || !(await comesUp(home, name, signal))) throw failure
      // Somebody else was starting it at the same time, and it is theirs to stop.
      return { started: false, end: () => Promise.resolve('left') }
    }
    await untilReachable(home, name, SOCKET_MS, signal)
    return { started: true, end: (whenUnsure) => endRun(home, program, name, whenUnsure) }
  }
}

function isStartable(home: Home, name: string, error: unknown): error is SandboxError {
  if (!(error instanceof SandboxError)) return false
  if (error.code === 'SANDBOX_DEAD') return true
  if (error.code !== 'SANDBOX_NOT_RUNNING') return false
  const answer = readCatalogue(home, name)
  return answer.kind !== 'found' || answer.entry.state.kind !== 'other'
}

async function probe(home: Home, name: string, signal: AbortSignal | undefined): Promise<void> {
  const transport = await dialNamed(home, name, { signal })
  transport.abort()
}

/** Whether a sandbox that we could not start runs after all, or soon will. */
async function comesUp(
  home: Home,
  name: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const answer = readCatalogue(home, name)
  const state = answer.kind === 'found' ? answer.entry.state.kind : answer.kind
  const isComing = state === 'starting' || state === 'running'
  const limitMs = isComing ? SOCKET_MS : state === 'unreadable' ? OTHERS_START_MS : 0
  return untilReachable(home, name, limitMs, signal).then(
    () => true,
    () => false,
  )
}

async function untilReachable(
  home: Home,
  name: string,
  limitMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const deadline = Date.now() + limitMs
  for (;;) {
    try {
      return await probe(home, name, signal)
    } catch (error) {
      if (signal?.aborted || Date.now() >= deadline) throw error
    }
    await sleep(RETRY_MS)
  }
}

async function endRun(
  home: Home,
  program: string,
  name: string,
  whenUnsure: 'stop' | 'leave',
): Promise<RunEnd> {
  const deadline = Date.now() + LEAVE_MS
  const paths = relaySocketPaths(home, name)
  let users = countUsers(paths)
  while (users !== undefined && users > 0 && Date.now() < deadline) {
    await sleep(RETRY_MS)
    users = countUsers(paths)
  }
  if (users === undefined ? whenUnsure === 'leave' : users > 0) return 'in-use'
  await runMicrosandbox(home, program, 'stop', name)
  return 'stopped'
}

/**
 * Connections to Unix sockets at these paths, from whatever process; undefined if none of them is
 * known to listen, as on systems that do not tell.
 */
export function countUsers(paths: readonly string[]): number | undefined {
  let table: string
  try {
    table = readFileSync('/proc/net/unix', 'utf8')
  } catch {
    return undefined
  }
  let listens = false
  let users = 0
  for (const line of table.split('\n')) {
    // Num RefCount Protocol Flags Type St Inode Path
    const match = /^\S+ \S+ \S+ (\S+) \S+ (\S+) +\d+ (.+)$/.exec(line)
    if (match === null || !paths.includes(match[3] ?? '')) continue
    // The listener accepts (flag 0x10000); the server's end of each connection bears its name.
    if (match[1] === '00010000') listens = true
    else users++
  }
  return listens ? users : undefined
}

function printable(text: string): string {
  return text.replace(/[^\w .-]/g, '?').slice(0, 40)
}
