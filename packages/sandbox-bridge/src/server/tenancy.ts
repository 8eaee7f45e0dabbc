/** How many connections are in which sandbox, and which ones run for their sake. */
import type { AgentClient } from '../agent/client.ts'
import type { SandboxRun } from '../carriers/named.ts'
import type { Sandbox } from '../sandbox.ts'
import type { Stay } from './site.ts'

/** What bounds connections, and how long a sandbox runs on without any. */
export interface TenancyOptions {
  /** Connections at once in one sandbox. */
  readonly connectionsMax: number
  /** Start sandboxes that are stopped. */
  readonly start: boolean
  /** Milliseconds for which a sandbox goes on after its last connection, if it runs for ours. */
  readonly lingerMs: number
  readonly onStarting?: ((name: string) => void) | undefined
  /** Told what went wrong when nobody waited for it. */
  readonly onError?: ((error: unknown) => void) | undefined
}

/** A sandbox with connections, or one that had some a moment ago. */
interface Room {
  readonly sandbox: Sandbox
  connections: number
  /** Under way, for all who wait for it. */
  starting: Promise<SandboxRun> | undefined
  /** Started here: its `end` stops it. */
  run: SandboxRun | undefined
  /** An embedded sandbox lives as long as somebody is connected to it: this is somebody. */
  held: Promise<AgentClient> | undefined
  timer: ReturnType<typeof setTimeout> | undefined
}

/** Keeps the books of all sandboxes of a server, by the name that its users give them. */
export class Tenancy {
  readonly #options: TenancyOptions
  readonly #rooms = new Map<string, Room>()
  /** Those let go of, until that is over. */
  readonly #ending = new Map<string, Promise<void>>()

  constructor(options: TenancyOptions) {
    this.#options = options
  }

  /** A place for one more connection; undefined if all are taken. */
  enter(name: string, sandbox: Sandbox): Stay | undefined {
    let room = this.#rooms.get(name)
    if (room === undefined) {
      const none = { starting: undefined, run: undefined, held: undefined, timer: undefined }
      room = { sandbox, connections: 0, ...none }
      this.#rooms.set(name, room)
    }
    if (room.connections >= this.#options.connectionsMax) return undefined
    room.connections++
    clearTimeout(room.timer)
    const entered = room
    let left = false
    return {
      connect: () => this.#connect(name, entered),
      leave: () => {
        if (left) return
        left = true
        entered.connections--
        if (entered.connections === 0) this.#letGoLater(name, entered)
      },
    }
  }

  /** Lets go of all at once; what was started here is stopped unless others use it. */
  async close(): Promise<void> {
    for (const [name, room] of this.#rooms) {
      clearTimeout(room.timer)
      this.#letGo(name, room)
    }
    await Promise.all(this.#ending.values())
  }

  async #connect(name: string, room: Room): Promise<AgentClient> {
    const { sandbox } = room
    // Not while it is being stopped.
    await this.#ending.get(name)
    if (this.#options.start) {
      room.starting ??= this.#run(name, room)
      await room.starting
    }
    const agent = await sandbox.connectAgent()
    if (sandbox.label.startsWith('local:')) this.#hold(room)
    return agent
  }

  async #run(name: string, room: Room): Promise<SandboxRun> {
    try {
      const run = await room.sandbox.run({ onStarting: () => this.#options.onStarting?.(name) })
      if (run.started) room.run = run
      return run
    } finally {
      // It may die: whoever comes next looks again.
      room.starting = undefined
    }
  }

  #hold(room: Room): void {
    if (room.held !== undefined) return
    const held = room.sandbox.connectAgent()
    room.held = held
    const forget = (): void => {
      if (room.held === held) room.held = undefined
    }
    held.then(({ closed }) => closed.then(forget), forget)
  }

  #letGoLater(name: string, room: Room): void {
    const { starting, run, held } = room
    const keeps = starting !== undefined || run !== undefined || held !== undefined
    if (!keeps || this.#options.lingerMs === 0) return this.#letGo(name, room)
    room.timer = setTimeout(() => this.#letGo(name, room), this.#options.lingerMs)
  }

  /** Whoever comes from now on has a room of his own. */
  #letGo(name: string, room: Room): void {
    if (this.#rooms.get(name) === room) this.#rooms.delete(name)
    const before = this.#ending.get(name)
    const ending = this.#end(room, before)
      .catch((error) => this.#options.onError?.(error))
      .finally(() => {
        if (this.#ending.get(name) === ending) this.#ending.delete(name)
      })
    this.#ending.set(name, ending)
  }

  async #end(room: Room, before: Promise<void> | undefined): Promise<void> {
    await before
    const agent = await room.held?.catch(() => undefined)
    await agent?.close()
    await room.starting?.catch(() => {})
    // Others may use it by other ways, which not every system tells of.
    await room.run?.end('leave')
  }
}
