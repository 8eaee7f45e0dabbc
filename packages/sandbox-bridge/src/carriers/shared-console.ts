/** An agent's one console, for all of this process: met when first needed, let go after the last. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { memoryPair, type Transport } from '@sandbox-ssh/protocol'
import { abortable } from '../agent/waiting.ts'
import { SandboxError } from '../home/errors.ts'
import { makePrivateDirectory } from '../home/files.ts'
import type { Home } from '../home/home.ts'
import { type FileLock, tryFileLock } from '../home/lock.ts'
import { nameHash } from '../home/sockets.ts'
import { AgentRelay, type AgentRelayOptions } from '../relay/relay.ts'
import { openDevice } from './device.ts'
import { type DialOptions, dialUnix } from './unix.ts'

/** What a console is like; see `AgentRelayOptions`. */
export interface ConsoleOptions extends Pick<AgentRelayOptions, 'bootMs' | 'budgetBytes'> {
  readonly booted?: boolean | undefined
  /** Keeps the console open between clients, as a relay does; default false. */
  readonly keep?: boolean | undefined
  readonly onDropped?: ((why: string) => void) | undefined
}

/** One console and whoever uses it. */
export class SharedConsole {
  readonly #path: string
  readonly #lockPath: string
  readonly #options: ConsoleOptions
  #met: { readonly relay: Promise<AgentRelay>; readonly stop: AbortController } | undefined
  #closing: Promise<void> | undefined
  #users = 0
  #booted: boolean

  constructor(home: Home, path: string, options: ConsoleOptions = {}) {
    this.#path = path
    this.#lockPath = join(home.sshPath, 'consoles', `${nameHash(path, 12)}.lock`)
    this.#options = options
    this.#booted = options.booted ?? false
  }

  /**
   * A new client of the agent.
   * @throws SandboxError `SANDBOX_NOT_FOUND`, `SANDBOX_NOT_RUNNING`, `SANDBOX_UNREACHABLE`;
   * AgentError `timeout`, `aborted`, `closed`
   */
  async dial({ signal }: DialOptions = {}): Promise<Transport> {
    const [ours, theirs] = memoryPair()
    await this.serve(theirs, signal, true)
    return ours
  }

  /**
   * Serves a client whose transport comes from elsewhere; resolves when it has left, or with
   * `started` once it is served.
   * @throws as `dial`; then the transport is closed
   */
  async serve(transport: Transport, signal?: AbortSignal, started = false): Promise<void> {
    this.#users++
    let served: Promise<void>
    try {
      if (this.#met === undefined) {
        const stop = new AbortController()
        this.#met = { relay: this.#meet(stop.signal), stop }
      }
      const relay = await abortable(this.#met.relay, signal)
      served = relay.serve(transport)
    } catch (error) {
      this.#left()
      await transport.close().catch(() => {})
      transport.abort(error)
      throw error
    }
    const left = served.finally(() => this.#left())
    if (!started) await left
  }

  /** Lets the console go; its clients see their connections end. */
  async close(): Promise<void> {
    const met = this.#met
    this.#met = undefined
    if (met !== undefined) {
      // Whoever comes meanwhile waits for this end, and meets the agent anew.
      this.#closing = (async () => {
        met.stop.abort()
        const relay = await met.relay.catch(() => undefined)
        await relay?.close()
      })()
    }
    await this.#closing
  }

  #left(): void {
    this.#users--
    if (this.#users === 0 && this.#options.keep !== true) void this.close()
  }

  async #meet(signal: AbortSignal): Promise<AgentRelay> {
    await this.#closing
    const lock = this.#lock()
    try {
      const relay = await AgentRelay.open(await openConsole(this.#path), {
        ...this.#options,
        booted: this.#booted,
        signal,
      })
      // Our own guest program can be met again and again, and says so; others boot but once.
      this.#booted = this.#options.booted === true || !relay.isExtended
      void relay.closed.then((reason) => {
        lock.release()
        if (reason === undefined) return
        this.#booted = false
        this.#met = undefined
      })
      return relay
    } catch (error) {
      lock.release()
      this.#met = undefined
      throw error
    }
  }

  /** The second process at a QEMU socket would wait in its backlog, and never be told why. */
  #lock(): FileLock {
    makePrivateDirectory(join(this.#lockPath, '..'))
    const lock = tryFileLock(this.#lockPath)
    if (lock !== undefined) return lock
    throw new SandboxError(
      'SANDBOX_UNREACHABLE',
      `${this.#path} is in use by another process; to share it: ` +
        `msb ssh relay virtio-serial:${this.#path} --listen /path/agent.sock`,
    )
  }
}

/** A QEMU socket, or a character device. */
async function openConsole(path: string): Promise<Transport> {
  if (statSync(path, { throwIfNoEntry: false })?.isCharacterDevice() !== true) return dialUnix(path)
  const device = openDevice(path)
  const transport = device.open()
  return {
    read: () => transport.read(),
    write: (chunk) => transport.write(chunk),
    close: () => transport.close(),
    abort: (reason) => {
      transport.abort(reason)
      device.close()
    },
  }
}

const consoles = new Map<string, SharedConsole>()

/** The console at that path, one for all of this process. */
export function consoleAt(home: Home, path: string, booted: boolean): SharedConsole {
  const key = `${path}${booted ? '?booted' : ''}`
  let known = consoles.get(key)
  if (known === undefined) {
    known = new SharedConsole(home, path, { booted })
    consoles.set(key, known)
  }
  return known
}
