/**
 * One agent console, shared by many clients: the wire towards them is that of microsandbox's
 * relay. Unlike there, no client can stall another: what a client does not read is kept up to a
 * budget, past which that client is dropped; what clients send goes to the guest by turns, and a
 * client is read only while little of it waits; what would kill the agent is not passed on.
 */
import type { Transport } from '@sandbox-ssh/protocol'
import { encodeMessage } from '../agent/envelope.ts'
import { AgentError } from '../agent/error.ts'
import { type Frame, FrameDecoder, TERMINAL, writeUint32 } from '../agent/frame.ts'
import { joined } from '../agent/fs.ts'
import { RestartSign, typeOf } from '../agent/restart-sign.ts'
import { limited } from '../agent/waiting.ts'
import { judge } from './admission.ts'
import { type Booted, boot, resume } from './boot.ts'
import { RelayClient } from './client.ts'

/** How the agent is met, and what clients may cost. */
export interface AgentRelayOptions {
  /** The agent has booted for somebody else before; default false. */
  readonly booted?: boolean | undefined
  /** Longest wait for the agent; default 180 seconds, or 10 for one that has booted. */
  readonly bootMs?: number | undefined
  readonly signal?: AbortSignal | undefined
  /** Bytes kept for a client that does not read, before it is dropped; default 16 MiB. */
  readonly budgetBytes?: number | undefined
  /** Told, in a sentence, of a client that was dropped. */
  readonly onDropped?: ((why: string) => void) | undefined
}

/** Clients at once, as with microsandbox's relay. */
export const RELAY_CLIENTS_MAX = 128
/** Ids of one client, as agents divide them. */
const STEP = Math.floor(0xffff_ffff / RELAY_CLIENTS_MAX)
const BOOT_MS = 180_000
const RESUME_MS = 10_000
const BUDGET_BYTES = 16 * 1024 * 1024
/** What a client may send in one turn; a longer frame waits for as many turns as it needs. */
const TURN_BYTES = 64 * 1024
/** Frames joined into one write to the console. */
const JOINED_BYTES_MAX = 64 * 1024
/** Between two tellings of the time, as microsandbox does it. */
const CLOCK_MS = 60_000
const SIGKILL = 9
/** Programs of one client at once. */
const EXECS_MAX = 8192
/** For the console to take its last bytes. */
const FINISH_MS = 1000

/**
 * A booted agent with its clients.
 *
 * @example
 * import { createConnection } from 'node:net'
 * import { memoryPair, nodeSocket } from '@sandbox-ssh/protocol'
 * import { AgentRelay, sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * // The console of a virtual machine that has just started, as hypervisors give it out.
 * const vm = nodeSocket(createConnection('console.sock'))
 * const relay = await AgentRelay.open(vm, { bootMs: 30_000 })
 * const dial = async () => {
 *   const [near, far] = memoryPair()
 *   void relay.serve(far)
 *   return near
 * }
 * const one = await sandbox(dial).ssh().openClient()
 * const two = await sandbox(dial).ssh().openClient()
 * console.log((await one.exec('exit 1')).status, (await two.exec('exit 2')).status) // 1 2
 * await Promise.all([one.close(), two.close()])
 * await relay.close()
 */
export class AgentRelay {
  /** Resolves when it is over: with the reason, undefined after `close`. Never rejects. */
  readonly closed: Promise<AgentError | undefined>
  readonly #console: Transport
  readonly #booted: Booted
  readonly #budgetBytes: number
  readonly #onDropped: (why: string) => void
  readonly #clients = new Map<number, RelayClient>()
  /** Clients with frames for the guest, in the order of their turns. */
  readonly #turns: RelayClient[] = []
  /** Frames of the relay itself; they go first. */
  readonly #own: Uint8Array[] = []
  readonly #clock: ReturnType<typeof setInterval>
  #lastSlot = -1
  #writing = false
  #ending = false
  #settle: (reason: AgentError | undefined) => void = () => {}

  private constructor(
    console: Transport,
    decoder: FrameDecoder,
    booted: Booted,
    options: AgentRelayOptions,
  ) {
    this.#console = console
    this.#booted = booted
    this.#budgetBytes = options.budgetBytes ?? BUDGET_BYTES
    this.#onDropped = options.onDropped ?? (() => {})
    this.closed = new Promise((resolve) => {
      this.#settle = resolve
    })
    this.#clock = setInterval(() => this.#tellTime(), CLOCK_MS)
    this.#tellTime()
    void this.#pump(decoder)
  }

  /**
   * Meets the agent on its console. The relay owns the transport; on failure it is aborted.
   * @throws AgentError `timeout`, `aborted`, `closed`, `protocol`
   */
  static async open(console: Transport, options: AgentRelayOptions = {}): Promise<AgentRelay> {
    const decoder = new FrameDecoder()
    const isBooted = options.booted === true
    const meet = isBooted ? resume : boot
    const patience = options.bootMs ?? (isBooted ? RESUME_MS : BOOT_MS)
    try {
      const booted = await limited(meet(console, decoder), patience, options.signal)
      return new AgentRelay(console, decoder, booted, options)
    } catch (cause) {
      console.abort(cause)
      if (cause instanceof AgentError) throw cause
      throw new AgentError('closed', 'the console broke', { cause })
    }
  }

  /** True if the agent announced extensions: it is our guest program. */
  get isExtended(): boolean {
    return this.#booted.extended
  }

  /** Clients being served. */
  get clientCount(): number {
    return this.#clients.size
  }

  /**
   * Serves one client until it leaves, breaks a rule or costs too much; then what it started is
   * killed. The 129th is closed without a word, as by microsandbox's relay. Never rejects.
   */
  async serve(transport: Transport): Promise<void> {
    const slot = this.#ending ? undefined : this.#freeSlot()
    if (slot === undefined) {
      await transport.close().catch(() => {})
      transport.abort()
      return
    }
    const ids = { idMin: slot * STEP + 1, idMax: slot * STEP + STEP }
    const client = new RelayClient(transport, ids, this.#budgetBytes, (why) =>
      this.#onDropped(`a client was dropped: ${why}`),
    )
    this.#clients.set(slot, client)
    client.post(prologue(ids.idMin, ids.idMax, this.#booted.ready))
    try {
      await this.#read(client)
    } catch {
      // A client whose carrier broke has left.
    }
    this.#clients.delete(slot)
    await this.#part(client)
  }

  /** Ends it: clients see their connection end, the agent goes on. */
  async close(): Promise<void> {
    this.#end(undefined)
    await this.closed
  }

  async #read(client: RelayClient): Promise<void> {
    const decoder = new FrameDecoder()
    for (;;) {
      for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
        const verdict = judge(frame, client, this.#booted.generation)
        if (verdict.kind === 'drop') {
          client.drop(`it sent ${verdict.why}`)
          return
        }
        if (verdict.kind === 'skip') continue
        if (verdict.type === 'core.exec.request') {
          if (client.execs.size >= EXECS_MAX) {
            client.drop(`it has ${EXECS_MAX} programs running`)
            return
          }
          client.execs.add(frame.id)
        }
        this.#queue(client, frame.bytes)
        await client.room()
        if (client.gone) return
      }
      const chunk = await client.transport.read()
      if (chunk === undefined || client.gone) return
      decoder.push(chunk)
    }
  }

  /** Kills what the client has left running, and has the agent forget the rest. */
  async #part(client: RelayClient): Promise<void> {
    client.leave()
    for (const id of client.execs) {
      this.#own.push(encodeMessage(id, 'core.exec.signal', { signal: SIGKILL }))
    }
    const range = { id_start: client.idMin, id_end_exclusive: client.idMax }
    this.#own.push(encodeMessage(0, 'core.relay.client.disconnected', range))
    this.#write()
    await client.finish()
  }

  #queue(client: RelayClient, frame: Uint8Array): void {
    if (client.push(frame)) this.#turns.push(client)
    this.#write()
  }

  #write(): void {
    if (!this.#writing && !this.#ending) void this.#drain()
  }

  async #drain(): Promise<void> {
    this.#writing = true
    // One turn of the loop, so that frames made together go out together.
    await Promise.resolve()
    for (let batch = this.#batch(); batch.length > 0; batch = this.#batch()) {
      try {
        await this.#console.write(joined(batch))
      } catch (cause) {
        this.#end(new AgentError('closed', 'the console broke', { cause }))
        break
      }
    }
    this.#writing = false
  }

  #batch(): Uint8Array[] {
    const batch: Uint8Array[] = []
    let bytes = 0
    while (bytes < JOINED_BYTES_MAX && !this.#ending) {
      const frame = this.#own.shift() ?? this.#nextByTurns()
      if (frame === undefined) break
      batch.push(frame)
      bytes += frame.length
    }
    return batch
  }

  /** Deficit round robin: clients share the way to the guest by bytes, whatever their frames. */
  #nextByTurns(): Uint8Array | undefined {
    for (let client = this.#turns[0]; client !== undefined; client = this.#turns[0]) {
      if (client.nextBytes === 0) {
        this.#turns.shift()
        client.endTurns()
      } else if (client.credit >= client.nextBytes) {
        return client.take()
      } else {
        client.credit += TURN_BYTES
        this.#turns.push(client)
        this.#turns.shift()
      }
    }
    return undefined
  }

  /** Reads the guest as long as there is anything, whoever reads what becomes of it. */
  async #pump(decoder: FrameDecoder): Promise<void> {
    let reason: AgentError
    const sign = new RestartSign('core.init.resolved')
    try {
      for (;;) {
        for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
          this.#route(frame)
        }
        const chunk = await this.#console.read()
        if (chunk === undefined) break
        if (sign.isGivenBy(chunk, decoder)) throw restarted()
        decoder.push(chunk)
      }
      reason = new AgentError('closed', 'the guest closed its console')
    } catch (cause) {
      reason =
        cause instanceof AgentError
          ? cause
          : new AgentError('closed', 'the console broke', { cause })
    }
    this.#end(reason)
  }

  #route(frame: Frame): void {
    if (frame.id === 0) {
      const type = typeOf(frame)
      // A booting guest says this, not one whose clients we have: theirs is gone.
      if (type === 'core.init.resolved' || type === 'core.ready') {
        throw restarted()
      }
      return
    }
    const client = this.#clients.get(Math.floor((frame.id - 1) / STEP))
    if (client === undefined) return
    // A core.error about a bad follow-up ends nothing: the program runs on, and must be killed.
    if ((frame.flags & TERMINAL) !== 0 && client.execs.has(frame.id)) {
      if (typeOf(frame) !== 'core.error') client.execs.delete(frame.id)
    }
    client.post(frame.bytes)
  }

  /** A slot that was free longest: late frames for its former client have come by then. */
  #freeSlot(): number | undefined {
    for (let step = 1; step <= RELAY_CLIENTS_MAX; step++) {
      const slot = (this.#lastSlot + step) % RELAY_CLIENTS_MAX
      if (this.#clients.has(slot)) continue
      this.#lastSlot = slot
      return slot
    }
    return undefined
  }

  #tellTime(): void {
    const unixTimeNanos = BigInt(Date.now()) * 1_000_000n
    this.#own.push(encodeMessage(0, 'core.clock.sync', { unix_time_nanos: unixTimeNanos }))
    this.#write()
  }

  #end(reason: AgentError | undefined): void {
    if (this.#ending) return
    this.#ending = true
    clearInterval(this.#clock)
    for (const client of this.#clients.values()) client.leave()
    void this.#finish(reason)
  }

  async #finish(reason: AgentError | undefined): Promise<void> {
    await Promise.all([...this.#clients.values()].map((client) => client.finish()))
    const timer = setTimeout(() => this.#console.abort(reason), FINISH_MS)
    await this.#console.close().catch(() => {})
    clearTimeout(timer)
    this.#console.abort(reason)
    this.#settle(reason)
  }
}

function restarted(): AgentError {
  return new AgentError('closed', 'the guest has restarted')
}

function prologue(idMin: number, idMax: number, ready: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + ready.length)
  writeUint32(bytes, 0, idMin)
  writeUint32(bytes, 4, idMax)
  bytes.set(ready, 8)
  return bytes
}
