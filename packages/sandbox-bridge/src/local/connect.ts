/**
 * The embedded sandbox from the side of those who use it.
 *
 * All users of a `local:NAME` on a host share one guest, as all users of a microVM do: a server
 * started through one connection can be reached through another. Whoever comes first starts a
 * small host process in the background, which runs the guest as its child, serves its relay on a
 * Unix socket, and ends with its last user. A lock that the kernel gives back decides who starts.
 */
import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Transport } from '@sandbox-ssh/protocol'
import { type DialOptions, dialUnix } from '../carriers/unix.ts'
import { reasonOf, SandboxError } from '../home/errors.ts'
import { readBoundedFile } from '../home/files.ts'
import type { Home } from '../home/home.ts'
import type { LocalNetwork } from '../home/names.ts'
import type { Isolation } from './bubblewrap.ts'
import { type LocalLayout, localLayout, prepareLayout } from './layout.ts'
import { findPrograms, type LocalPrograms } from './programs.ts'
import { type HostReport, type LocalState, parseReport, parseState } from './state.ts'

/** From asking for the sandbox to talking to it. Starting takes a fraction of a second. */
const READY_MS = 30_000
/** Between two looks at a sandbox that another process is starting or ending. */
const RETRY_MS = 20
/** Longest line of a host process's report. */
const REPORT_BYTES_MAX = 64 * 1024

/** A connection to a running embedded sandbox. */
export interface LocalConnection {
  /** The relay's handshake comes first, as from any relay. */
  readonly transport: Transport
  readonly isolation: Isolation
  /** One sentence for the user if something weaker than wanted had to do, else undefined. */
  readonly warning: string | undefined
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
  let last = 'it did not start'
  while (Date.now() < deadline) {
    options.signal?.throwIfAborted()
    const joined = await join(layout, options)
    if (typeof joined === 'object') return joined
    last = joined
    const report = await startHost(layout, programs, deadline, options.signal)
    if (report.type === 'failed') {
      throw new SandboxError('SANDBOX_START_FAILED', `local:${name}: ${report.message}`)
    }
    // Another process is starting it, or the previous one is ending.
    if (report.type === 'busy') await sleep(RETRY_MS)
  }
  throw new SandboxError('SANDBOX_START_FAILED', `local:${name} cannot be reached: ${last}`)
}

/** Connects if the sandbox runs; else says why not. */
async function join(
  layout: LocalLayout,
  options: LocalDialOptions,
): Promise<LocalConnection | string> {
  let transport: Transport
  try {
    transport = await dialUnix(layout.socketPath, options)
  } catch (error) {
    if (options.signal?.aborted) throw error
    return reasonOf(error)
  }
  try {
    // A host that is just ending still has a backlog: only its greeting shows that we are in.
    const greeting = await transport.read()
    if (greeting !== undefined) {
      const state = readState(layout)
      return {
        transport: withPrefix(greeting, transport),
        isolation: state.isolation,
        warning: state.warning,
      }
    }
    transport.abort()
    return 'it closed the connection at once: it is ending, or has all the connections it can take'
  } catch (error) {
    transport.abort()
    return reasonOf(error)
  }
}

/** Starts the host process, which outlives us, and waits for its one line. */
async function startHost(
  layout: LocalLayout,
  programs: LocalPrograms,
  deadline: number,
  signal: AbortSignal | undefined,
): Promise<HostReport> {
  const settings = JSON.stringify({ layout, programs })
  const child = spawn(programs.node, [programs.host, settings], {
    // A session of its own: the terminal's Ctrl-C and hang-up are for its users, not for it.
    detached: true,
    cwd: '/',
    stdio: ['ignore', 'pipe', 'ignore'],
    env: hostEnvironment(),
  })
  const timer = setTimeout(() => child.kill('SIGTERM'), Math.max(0, deadline - Date.now()))
  const abort = (): void => void child.kill('SIGTERM')
  signal?.addEventListener('abort', abort, { once: true })
  try {
    let text = ''
    child.stdout.setEncoding('utf8')
    const failed = new Promise<never>((_, reject) => child.once('error', reject))
    const line = (async () => {
      for await (const chunk of child.stdout) {
        text += String(chunk)
        if (text.includes('\n') || text.length > REPORT_BYTES_MAX) break
      }
      return text
    })()
    return parseReport(await Promise.race([line, failed]))
  } catch (error) {
    return { type: 'failed', message: `${programs.node}: ${reasonOf(error)}` }
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
    child.stdout.destroy()
    child.unref()
  }
}

function hostEnvironment(): Record<string, string> {
  const kept = ['PATH', 'TZ', 'LANG', 'HOME', 'USER', 'SystemRoot', 'TEMP']
  return Object.fromEntries(
    kept.flatMap((name) => {
      const value = process.env[name]
      return value === undefined ? [] : [[name, value]]
    }),
  )
}

function readState(layout: LocalLayout): LocalState {
  try {
    return parseState(readBoundedFile(layout.statePath, REPORT_BYTES_MAX).text)
  } catch {
    // It has just ended; whoever reads from the transport will see that.
    return { isolation: 'none', warning: undefined }
  }
}

/** The transport with bytes that were read from it already. */
function withPrefix(prefix: Uint8Array, transport: Transport): Transport {
  let first: Uint8Array | undefined = prefix
  return {
    read: () => {
      const chunk = first
      first = undefined
      return chunk === undefined ? transport.read() : Promise.resolve(chunk)
    },
    write: (chunk) => transport.write(chunk),
    close: () => transport.close(),
    abort: (reason) => transport.abort(reason),
  }
}
