/**
 * The guest half of the agent protocol, with the relay in front of it: every transport it serves
 * is one relay client, which gets a range of ids, the ready frame, and clean-up when it leaves.
 *
 * The wire is that of microsandbox's agent and relay, generation 7, but nothing here blocks: a
 * program that does not read its stdin holds up its own session, a client that does not read its
 * carrier slows down its own programs. What it can do beyond generation 7 it announces in
 * `core.ready`, in a field that others ignore.
 */
import type { Transport } from '@sandbox-ssh/protocol'
import { encodeMessage } from '../agent/envelope.ts'
import { FrameDecoder, SHUTDOWN, writeUint32 } from '../agent/frame.ts'
import type { Feature, Ready, ReadyUser } from '../agent/messages.ts'
import { GuestClient, type Shared } from './client.ts'
import { HandleTable } from './fs-handles.ts'
import { Leftovers } from './leftovers.ts'
import { Outbox } from './outbox.ts'
import { homeOf } from './users.ts'

/** How a guest behaves; everything has a default. */
export interface GuestAgentOptions {
  /** Environment of programs below what a request brings; this process's own if absent. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  /** Directory of programs that ask for none; `/` if absent. */
  readonly cwd?: string | undefined
  /** User of programs that ask for none, `USER[:GROUP]`; this process's own if absent. */
  readonly user?: string | undefined
  /** A directory put in front of every PATH, as microsandbox does with `/.msb/scripts`. */
  readonly pathPrefix?: string | undefined
  /** Version told in `core.ready`. */
  readonly version?: string | undefined
  /** Extensions to announce; all if absent. None makes it look like microsandbox's agent. */
  readonly features?: readonly Feature[] | undefined
  /** Called for `core.shutdown`, once the programs have been told to end. */
  readonly onShutdown?: (() => void) | undefined
}

/** A guest that serves any number of carriers, up to 128 at once. */
export interface GuestAgent {
  /**
   * Serves one relay client until it leaves, or breaks the rules of the relay: then the transport
   * is aborted. All that the client started is killed. Never rejects.
   */
  serve(transport: Transport): Promise<void>
  /** Clients being served. */
  readonly clientCount: number
  /** What `core.ready` says. */
  readonly ready: Ready
  /**
   * One more client, on a carrier that it shares with others: whoever has the carrier gives it its
   * frames, and calls `leave` when it has left.
   */
  join(outbox: Outbox): { readonly client: GuestClient; readonly leave: () => void }
  /** Has programs end, as `core.shutdown` does. */
  shutdown(): void
  /** Drops all clients, `serve` returns for each, and ends what their programs left behind. */
  close(): void
}

/** Clients of one guest. */
export const CLIENTS_MAX = 128
/** Ids of one client, as the relay divides them. */
const STEP = Math.floor(0xffff_ffff / CLIENTS_MAX)

const ALL_FEATURES: readonly Feature[] = [
  'input-ack',
  'window',
  'exit-signal',
  'pty-modes',
  'tty-env',
]

/** Makes a guest out of this process: its files, its network, its processes. */
export function guestAgent(options: GuestAgentOptions = {}): GuestAgent {
  return new Guest(options)
}

class Guest implements GuestAgent {
  readonly #options: GuestAgentOptions
  readonly #shared: Shared
  readonly #slots = new Map<number, { readonly client: GuestClient; readonly drop: () => void }>()
  readonly #joined = new Set<GuestClient>()
  readonly #startNs = process.hrtime.bigint()

  constructor(options: GuestAgentOptions) {
    this.#options = options
    const env = Object.entries(options.env ?? process.env)
    this.#shared = {
      defaults: {
        env: new Map(env.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))),
        cwd: options.cwd ?? '/',
        user: options.user,
        pathPrefix: options.pathPrefix,
        tellsSignals: (options.features ?? ALL_FEATURES).includes('exit-signal'),
      },
      handles: new HandleTable(),
      leftovers: new Leftovers(),
      activity: 0,
      onShutdown: () => this.#shutdown(),
    }
  }

  get clientCount(): number {
    return this.#slots.size + this.#joined.size
  }

  get ready(): Ready {
    return this.#ready()
  }

  join(outbox: Outbox): { readonly client: GuestClient; readonly leave: () => void } {
    const client = new GuestClient(this.#shared, outbox)
    this.#joined.add(client)
    const leave = (): void => {
      client.abandon()
      this.#joined.delete(client)
    }
    return { client, leave }
  }

  shutdown(): void {
    this.#shutdown()
  }

  async serve(transport: Transport): Promise<void> {
    const slot = this.#freeSlot()
    if (slot === undefined) {
      // What the 129th client of the relay sees: an end without a word.
      await transport.close().catch(() => {})
      transport.abort()
      return
    }
    const outbox = new Outbox(transport)
    const client = new GuestClient(this.#shared, outbox)
    const drop = () => transport.abort()
    outbox.onBroken = drop
    this.#slots.set(slot, { client, drop })
    const idMin = slot * STEP + 1
    const idMax = slot * STEP + STEP
    outbox.post(this.#prologue(idMin, idMax))
    try {
      await this.#read(transport, client, idMin, idMax)
      await outbox.flush()
    } catch {
      // A broken carrier or a broken rule: either way the client is dropped.
    }
    client.abandon()
    outbox.close()
    transport.abort()
    this.#slots.delete(slot)
  }

  close(): void {
    for (const { client, drop } of this.#slots.values()) {
      client.abandon()
      drop()
    }
    for (const client of this.#joined) client.abandon()
    this.#shared.leftovers.kill()
  }

  async #read(
    transport: Transport,
    client: GuestClient,
    idMin: number,
    idMax: number,
  ): Promise<void> {
    const decoder = new FrameDecoder()
    for (;;) {
      const chunk = await transport.read()
      if (chunk === undefined) return
      decoder.push(chunk)
      for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
        const isShutdown = frame.id === 0 && (frame.flags & SHUTDOWN) !== 0
        if (!isShutdown && (frame.id < idMin || frame.id >= idMax)) return
        client.handle(frame)
      }
      await client.room()
    }
  }

  #freeSlot(): number | undefined {
    for (let slot = 0; slot < CLIENTS_MAX; slot++) {
      if (!this.#slots.has(slot)) return slot
    }
    return undefined
  }

  #prologue(idMin: number, idMax: number): Uint8Array {
    const ready = encodeMessage(0, 'core.ready', this.#ready())
    const bytes = new Uint8Array(8 + ready.length)
    writeUint32(bytes, 0, idMin)
    writeUint32(bytes, 4, idMax)
    bytes.set(ready, 8)
    return bytes
  }

  #ready(): Ready {
    const { version = '0.1.0', features = ALL_FEATURES } = this.#options
    return {
      boot_time_ns: this.#startNs,
      init_time_ns: 0,
      ready_time_ns: this.#startNs,
      agent_version: version,
      ...(features.length === 0 ? {} : { features, user: this.#user() }),
    }
  }

  #user(): ReadyUser {
    const uid = process.getuid?.() ?? 0
    const gid = process.getgid?.() ?? 0
    return { uid, gid, home: this.#shared.defaults.env.get('HOME') ?? homeOf(uid) ?? '/' }
  }

  #shutdown(): void {
    const served = [...this.#slots.values()].map(({ client }) => client)
    for (const client of [...served, ...this.#joined]) {
      for (const group of client.groups) {
        try {
          process.kill(-group, 'SIGTERM')
        } catch {
          // It ended by itself.
        }
      }
    }
    this.#options.onShutdown?.()
  }
}
