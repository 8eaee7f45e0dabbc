/**
 * The guest as the agent of a virtual machine, on its raw console: one carrier for all clients of
 * the host's relay, and the handshake that microsandbox's agent has at boot. Unlike that one, a
 * guest that runs answers a second bootstrap with `core.ready`, so that a host may come back; and
 * one that has heard no bootstrap says `core.init.resolved` unasked, again and again, so that a host
 * that knew the machine before it restarted notices.
 */
import type { Transport } from '@sandbox-ssh/protocol'
import { decodeEnvelope, decodePayload, encodeMessage } from '../agent/envelope.ts'
import { type Frame, FrameDecoder, SESSION_START } from '../agent/frame.ts'
import { RestartSign } from '../agent/restart-sign.ts'
import type { GuestAgent } from './agent.ts'
import { CLIENTS_MAX } from './agent.ts'
import type { GuestClient } from './client.ts'
import { Outbox } from './outbox.ts'

/** What the host wants for programs that ask for nothing else. */
export interface BootSettings {
  readonly user: string | undefined
  readonly cwd: string | undefined
  readonly env: ReadonlyMap<string, string>
  /** What the host asks for and this guest leaves to others, such as mounts. */
  readonly ignored: readonly string[]
}

/** Ids of one client, as relays divide them. */
const STEP = Math.floor(0xffff_ffff / CLIENTS_MAX)
/**
 * Input of one client that waits behind a program that does not read. The others share the
 * carrier, so reading on is a must, and only the budget protects the guest.
 */
const WAITING_BYTES_MAX = 16 * 1024 * 1024
/** Between two unasked words, doubled each time, and how many there are: a host may not listen. */
const HELLO_MS = 1000
const HELLOS_MAX = 16
/** Parts of a bootstrap that are done here. */
const KNOWN_FIELDS: readonly string[] = ['user', 'default_cwd', 'default_env', 'security_profile']

/** A console; its guest begins with the first bootstrap and lasts as long as the process. */
export class GuestConsole {
  readonly #make: (boot: BootSettings) => GuestAgent
  #boot: BootSettings | undefined
  #guest: GuestAgent | undefined

  /** `make` is called once, when the host has said what it wants. */
  constructor(make: (boot: BootSettings) => GuestAgent) {
    this.#make = make
  }

  /** Serves one host until it goes; what its clients started is killed. Never rejects. */
  async serve(transport: Transport): Promise<void> {
    const outbox = new Outbox(transport)
    outbox.onBroken = () => transport.abort()
    const clients = new Map<number, ConsoleClient>()
    const stopGreeting = this.#greet(outbox)
    try {
      const decoder = new FrameDecoder()
      const sign = new RestartSign('core.bootstrap')
      for (;;) {
        const chunk = await transport.read()
        if (chunk === undefined) break
        if (sign.isGivenBy(chunk, decoder)) decoder.reset()
        decoder.push(chunk)
        for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
          if (frame.id === 0) this.#control(frame, outbox, clients)
          else this.#route(frame, outbox, clients)
        }
        // A host that provokes answers and does not take them stalls nobody but itself.
        await outbox.room()
      }
    } catch {
      // A broken carrier, or a host that does not speak the protocol.
    }
    stopGreeting()
    dropAll(clients)
    outbox.close()
    transport.abort()
  }

  /** Ends everything that was started. */
  close(): void {
    this.#guest?.close()
  }

  /** Tells a host of a former life of this machine that it is over. */
  #greet(outbox: Outbox): () => void {
    let timer: NodeJS.Timeout | undefined
    const say = (count: number): void => {
      if (this.#boot !== undefined || count === HELLOS_MAX) return
      outbox.post(resolved({ unasked: true }))
      timer = setTimeout(() => say(count + 1), HELLO_MS * 2 ** count)
    }
    say(0)
    return () => clearTimeout(timer)
  }

  #control(frame: Frame, outbox: Outbox, clients: Map<number, ConsoleClient>): void {
    const { type, payload } = decodeEnvelope(frame.body)
    switch (type) {
      case 'core.bootstrap':
        if (this.#guest !== undefined) {
          // Another host, whose predecessor went without our noticing.
          dropAll(clients)
          outbox.post(encodeMessage(0, 'core.ready', this.#guest.ready))
          return
        }
        this.#boot = bootSettings(decodePayload('core.bootstrap', payload).fields)
        outbox.post(resolved())
        return
      case 'core.init.ack':
        if (this.#boot === undefined || this.#guest !== undefined) return
        this.#guest = this.#make(this.#boot)
        outbox.post(encodeMessage(0, 'core.ready', this.#guest.ready))
        return
      case 'core.relay.client.disconnected': {
        const range = decodePayload('core.relay.client.disconnected', payload)
        const slot = slotOf(range.id_start)
        clients.get(slot)?.leave()
        clients.delete(slot)
        return
      }
      case 'core.shutdown':
        this.#guest?.shutdown()
        return
      default:
      // The time, for one, is kept by whoever keeps the machine.
    }
  }

  #route(frame: Frame, outbox: Outbox, clients: Map<number, ConsoleClient>): void {
    if (this.#guest === undefined) {
      outbox.post(resolved({ unasked: this.#boot === undefined }))
      return
    }
    const slot = slotOf(frame.id)
    let client = clients.get(slot)
    if (client === undefined) {
      const { client: joined, leave } = this.#guest.join(outbox)
      client = new ConsoleClient(joined, leave, outbox)
      clients.set(slot, client)
    }
    client.push(frame)
  }
}

/** One client among those on the console, with the frames that wait for it. */
class ConsoleClient {
  readonly #client: GuestClient
  readonly #leave: () => void
  readonly #outbox: Outbox
  #frames: Frame[] = []
  #bytes = 0
  #running = false
  #gone = false

  constructor(client: GuestClient, leave: () => void, outbox: Outbox) {
    this.#client = client
    this.#leave = leave
    this.#outbox = outbox
  }

  push(frame: Frame): void {
    if (this.#gone) {
      this.#refuse(frame)
      return
    }
    this.#frames.push(frame)
    this.#bytes += frame.bytes.length
    if (this.#bytes > WAITING_BYTES_MAX) {
      this.leave()
      this.#refuse(frame)
    } else if (!this.#running) {
      void this.#run()
    }
  }

  leave(): void {
    if (this.#gone) return
    this.#gone = true
    this.#frames = []
    this.#leave()
  }

  async #run(): Promise<void> {
    this.#running = true
    for (let frame = this.#frames.shift(); frame !== undefined; frame = this.#frames.shift()) {
      this.#bytes -= frame.bytes.length
      this.#client.handle(frame)
      await this.#client.room()
    }
    this.#running = false
  }

  /** It sent without waiting for what it sent before, and has lost everything by it. */
  #refuse(frame: Frame): void {
    if ((frame.flags & SESSION_START) === 0) return
    const message = `more than ${WAITING_BYTES_MAX} bytes of input were waiting; connect anew`
    this.#outbox.post(encodeMessage(frame.id, 'core.error', { kind: 'invalid_session', message }))
  }
}

function slotOf(id: number): number {
  return Math.min(Math.floor((id - 1) / STEP), CLIENTS_MAX - 1)
}

function dropAll(clients: Map<number, ConsoleClient>): void {
  for (const client of clients.values()) client.leave()
  clients.clear()
}

function resolved({ unasked = false } = {}): Uint8Array {
  const user = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
  const payload = { default_user: user, ...(unasked ? { unasked } : {}) }
  return encodeMessage(0, 'core.init.resolved', payload)
}

/** The parts of a bootstrap that concern programs; what is malformed counts as absent. */
export function bootSettings(fields: unknown): BootSettings {
  const map = fields instanceof Map ? fields : new Map()
  const textOf = (key: string): string | undefined => {
    const value: unknown = map.get(key)
    return typeof value === 'string' && value.trim() !== '' ? value : undefined
  }
  const env = new Map<string, string>()
  const list: unknown = map.get('default_env')
  for (const item of Array.isArray(list) ? list : []) {
    const key: unknown = item instanceof Map ? item.get('key') : undefined
    const value: unknown = item instanceof Map ? item.get('value') : undefined
    if (typeof key === 'string' && typeof value === 'string') env.set(key, value)
  }
  return {
    user: textOf('user'),
    cwd: textOf('default_cwd'),
    env,
    ignored: [...map.keys()].filter((key) => !KNOWN_FIELDS.includes(String(key))).map(String),
  }
}
