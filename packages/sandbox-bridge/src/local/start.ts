/** Starting an embedded sandbox's guest, in the most isolated way that works here. */
import { spawn } from 'node:child_process'
import { renameSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Transport } from '@sandbox-ssh/protocol'
import { awaitGreeting } from '../carriers/greeting.ts'
import { shortSocketPath } from '../carriers/socket-path.ts'
import { keepTail } from '../carriers/stdio.ts'
import { dialUnix } from '../carriers/unix.ts'
import { errnoOf, reasonOf, SandboxError } from '../home/errors.ts'
import { removeQuietly } from '../home/files.ts'
import { type GuestCommand, guestCommand, type Isolation, isolationsToTry } from './bubblewrap.ts'
import { coverInherited } from './inherited.ts'
import { type LocalLayout, ownFiles } from './layout.ts'
import type { LocalPrograms } from './programs.ts'
import { type LocalState, writeState } from './state.ts'
import { writeEtc } from './system.ts'

/** A guest that greets later than this does not work. */
const GREETING_MS = 15_000
/** For a child's last words to arrive after its end. */
const LAST_WORDS_MS = 500

/** A started sandbox and the first connection to it. */
export interface StartedGuest {
  readonly transport: Transport
  readonly state: LocalState
}

/**
 * Starts the guest and returns its first connection; it ends with the last one. The caller holds
 * the sandbox's lock. Whether bubblewrap works is found out by using it, for the real thing.
 * @throws SandboxError `SANDBOX_START_FAILED`, `HOME_UNUSABLE`; or the signal's reason
 */
export async function startGuest(
  layout: LocalLayout,
  programs: LocalPrograms,
  signal: AbortSignal | undefined,
): Promise<StartedGuest> {
  if (process.versions['deno'] !== undefined) {
    // What it shows as descriptors are numbers of its own.
    throw new SandboxError(
      'SANDBOX_START_FAILED',
      `Deno cannot pass on a listening socket, and so cannot start local:${layout.name}; ` +
        `once it runs (msb ssh local:${layout.name}) it can be entered`,
    )
  }
  const etcFiles = writeEtc(layout)
  const uid = process.getuid?.() ?? 0
  const failures: string[] = []
  for (const isolation of isolationsToTry(process.platform, uid)) {
    signal?.throwIfAborted()
    const guestArguments = ['--relay-fd', '3', '--exit-when-idle']
    const options = { layout, programs, etcFiles, uid, guestArguments }
    const command = guestCommand(isolation, options)
    if (command.ownerUid !== undefined) ownFiles(layout, command.ownerUid)
    const started = await launch(layout, command, signal)
    if (typeof started === 'string') {
      failures.push(started)
      continue
    }
    const state = { isolation, warning: warningOf(layout, isolation, failures) }
    writeState(layout, state)
    renameSync(privateSocket(layout), layout.socketPath)
    return { transport: started, state }
  }
  throw new SandboxError(
    'SANDBOX_START_FAILED',
    `local:${layout.name} cannot be started: ${failures.at(-1) ?? 'no way is known'}`,
  )
}

/**
 * Starts one command with a listening socket as descriptor 3, and waits for the guest's greeting
 * or its end. The guest is in a session of its own: the terminal's Ctrl-C and hang-up are for its
 * users, not for it, and it outlives the one that happened to start it.
 */
async function launch(
  layout: LocalLayout,
  { command, args, env, cwd }: GuestCommand,
  signal: AbortSignal | undefined,
): Promise<Transport | string> {
  const socket = await listenPrivately(layout)
  const covered = coverInherited(4)
  const child = spawn(command, args, {
    env,
    detached: true,
    // The sandbox must not keep the user's directories busy.
    cwd: cwd ?? '/',
    stdio: ['ignore', 'ignore', 'pipe', socket.fd, ...covered.stdio],
  })
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(startFailure(command, error)))
    child.once('exit', async (code, by) => {
      await Promise.race([said, sleep(LAST_WORDS_MS, undefined, { ref: false })])
      resolve(`${command} ended with ${by ?? `status ${code}`}`)
    })
  })
  const said = new Promise((resolve) => child.once('close', resolve))
  const tail = child.stderr === null ? () => '' : keepTail(child.stderr)
  socket.handOver()
  covered.release()
  const attempt = new AbortController()
  try {
    const greeted = greetingOf(privateSocket(layout), attempt.signal).catch(async (error) => {
      // With a guest that dies its socket breaks first; what the guest said is the better reason.
      const words = await Promise.race([ended, sleep(2 * LAST_WORDS_MS)])
      if (typeof words === 'string') return words
      throw error
    })
    const outcome = await Promise.race([greeted, ended, aborted(signal, attempt.signal)])
    if (typeof outcome !== 'string') return outcome
    return tail().trim() || outcome
  } catch (error) {
    if (child.pid !== undefined) killGroup(child.pid)
    if (signal?.aborted) throw error
    return reasonOf(error)
  } finally {
    attempt.abort()
    child.stderr?.destroy()
    child.unref()
  }
}

async function greetingOf(path: string, signal: AbortSignal): Promise<Transport> {
  const transport = await dialUnix(path, { signal })
  return awaitGreeting(transport, { signal, timeoutMs: GREETING_MS })
}

/** Rejects when `signal` fires; `over` ends the waiting. */
function aborted(signal: AbortSignal | undefined, over: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true, signal: over })
  })
}

interface PrivateSocket {
  readonly fd: number
  /** Once the child has it: lets go of it here without removing its file. */
  handOver(): void
}

/** Where the socket is until the guest has greeted. */
function privateSocket(layout: LocalLayout): string {
  return join(layout.runPath, 'starting.sock')
}

/**
 * A listening socket for the guest to inherit. The guest could not make it itself, as the
 * directory is none of its business. Node removes the file of a socket it closes; so it is bound
 * under a name that is gone by then.
 */
async function listenPrivately(layout: LocalLayout): Promise<PrivateSocket> {
  const path = privateSocket(layout)
  const bound = join(layout.runPath, 'bound.sock')
  removeQuietly(bound)
  const short = shortSocketPath(bound)
  // Until it is handed over nobody knows its name; a connection would be a mistake.
  const server = createServer((socket) => socket.destroy())
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(short.path, resolve)
    })
    renameSync(bound, path)
  } catch (cause) {
    short.release()
    throw new SandboxError(
      'HOME_UNUSABLE',
      `cannot listen in ${layout.runPath}: ${reasonOf(cause)}`,
      {
        cause,
      },
    )
  }
  return {
    fd: descriptorOf(server),
    handOver: () => {
      server.close()
      short.release()
    },
  }
}

/** Node shows the descriptor of a listening socket nowhere else. */
function descriptorOf(server: Server): number {
  const { _handle: handle } = server as Server & { readonly _handle?: { readonly fd?: number } }
  if (handle?.fd === undefined || handle.fd < 0) {
    throw new SandboxError('SANDBOX_START_FAILED', 'this runtime cannot pass on a listening socket')
  }
  return handle.fd
}

function warningOf(
  layout: LocalLayout,
  isolation: Isolation,
  failures: readonly string[],
): string | undefined {
  const why = failures.at(-1)?.replace(/\s*\n\s*/g, '; ')
  const reason = why === undefined ? 'isolation needs Linux and bubblewrap' : why
  switch (isolation) {
    case 'separate-user':
      return undefined
    case 'namespaces':
      return why === undefined
        ? undefined
        : `local:${layout.name}: root inside is root outside to whatever asks for the user: ${why}`
    case 'none':
      return (
        `local:${layout.name} runs without isolation: programs in it can do whatever ` +
        `${userName()} can (${reason})`
      )
  }
}

function userName(): string {
  try {
    return userInfo().username
  } catch {
    return 'this user'
  }
}

function startFailure(command: string, error: Error): string {
  if (errnoOf(error) !== 'ENOENT') return `${command}: ${reasonOf(error)}`
  return command === 'bwrap' ? 'bubblewrap (bwrap) is not installed' : `${command} is missing`
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}
