/**
 * The embedded sandbox from the side of those who use it.
 *
 * All users of a `local:NAME` on a host share one guest, as all users of a microVM do: a server
 * started through one connection can be reached through another. Whoever comes first starts it, in
 * the background; it ends with its last user. A lock that the kernel gives back decides who starts.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Transport } from '@sandbox-ssh/protocol'
import { awaitGreeting } from '../carriers/greeting.ts'
import { type DialOptions, dialUnix } from '../carriers/unix.ts'
import { reasonOf, SandboxError } from '../home/errors.ts'
import type { Home } from '../home/home.ts'
import { tryFileLock } from '../home/lock.ts'
import type { LocalNetwork } from '../home/names.ts'
import { type LocalLayout, localLayout, prepareLayout } from './layout.ts'
import { findPrograms, type LocalPrograms } from './programs.ts'
import { startGuest } from './start.ts'
import { type LocalState, readState } from './state.ts'

/** From asking for the sandbox to talking to it. Starting takes a fraction of a second. */
const READY_MS = 30_000
/** Longest wait for the greeting of a guest that runs. */
const GREETING_MS = 10_000
/** Between two looks at a sandbox that another process is starting. */
const RETRY_MS = 25

/** A connection to a running embedded sandbox. */
export interface LocalConnection {
  /** The relay's handshake comes first, as from any relay. */
  readonly transport: Transport
  readonly state: LocalState
}

/** What bounds the dial, and where the programs are. */
export interface LocalDialOptions extends DialOptions {
  /** Default: found beside this package. */
  readonly programs?: LocalPrograms | undefined
}

/**
 * Connects to the embedded sandbox, starting it if it does not run. It runs until the last
 * connection is closed.
 * @throws SandboxError `SANDBOX_START_FAILED`, `HOME_UNUSABLE`; or the signal's reason
 */
export async function dialLocal(
  home: Home,
  name: string,
  network: LocalNetwork,
  options: LocalDialOptions = {},
): Promise<LocalConnection> {
  const layout = localLayout(home, name, network)
  const programs = options.programs ?? findPrograms()
  prepareLayout(layout)
  const deadline = Date.now() + (options.timeoutMs ?? READY_MS)
  for (;;) {
    options.signal?.throwIfAborted()
    const joined = await join(layout, options)
    if (typeof joined === 'object') return joined
    const started = await start(layout, programs, options)
    if (started !== undefined) return started
    if (Date.now() >= deadline) {
      throw new SandboxError('SANDBOX_START_FAILED', `local:${name} cannot be reached: ${joined}`)
    }
    await sleep(RETRY_MS)
  }
}

/** Connects if the sandbox runs; else says why not. */
async function join(
  layout: LocalLayout,
  { signal, timeoutMs = GREETING_MS }: LocalDialOptions,
): Promise<LocalConnection | string> {
  try {
    const socket = await dialUnix(layout.socketPath, { signal })
    const transport = await awaitGreeting(socket, { signal, timeoutMs })
    return { transport, state: readState(layout) }
  } catch (error) {
    if (signal?.aborted) throw error
    return reasonOf(error)
  }
}

/** Starts the sandbox, unless somebody else is about to. */
async function start(
  layout: LocalLayout,
  programs: LocalPrograms,
  options: LocalDialOptions,
): Promise<LocalConnection | undefined> {
  const lock = tryFileLock(layout.lockPath)
  if (lock === undefined) return undefined
  try {
    // Another process may have started it between our look and our lock.
    const joined = await join(layout, options)
    if (typeof joined === 'object') return joined
    return await startGuest(layout, programs, options.signal)
  } finally {
    lock.release()
  }
}
