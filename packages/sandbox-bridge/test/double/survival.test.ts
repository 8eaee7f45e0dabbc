// Whatever a client of the bridge does, the agent survives: random sequences against an agent as
// brittle as the real one. A failure names its seed; `SEED=n` runs that one alone.
// Time limit: 180 s

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AgentClient } from '../../src/agent/client.ts'
import { AgentError } from '../../src/agent/error.ts'
import type { AgentProcess } from '../../src/agent/process.ts'
import type { AgentTcp } from '../../src/agent/tcp.ts'
import { within } from '../within.ts'
import { BrittleAgent } from './brittle-agent.ts'
import { seeded, seeds } from './seeded.ts'

const SEEDS = seeds(35, 5)
const STEPS = 250

const READ_WRITE = {
  read: true,
  write: true,
  append: false,
  create: true,
  truncate: false,
  create_new: false,
}

/** Output a program may have had under way when it was stopped, and a good deal more. */
const HELD_BYTES_MAX = 1024 * 1024

/** A client that does anything, one step after the other, and waits for little of it. */
class Monkey {
  readonly #random: () => number
  readonly #agent: BrittleAgent
  readonly #pending = new Set<Promise<unknown>>()
  #client: AgentClient
  #programs: AgentProcess[] = []
  #connections: AgentTcp[] = []
  #handles: number[] = []
  /** What went wrong that is not the agent's saying no. */
  surprise: unknown

  constructor(random: () => number, agent: BrittleAgent, client: AgentClient) {
    this.#random = random
    this.#agent = agent
    this.#client = client
  }

  async step(): Promise<void> {
    const actions = [
      () => this.#start(),
      () => this.#start(),
      () => this.#type(),
      () => this.#type(),
      () => this.#type(),
      () => this.#read(),
      () => this.#read(),
      () => this.#program()?.end(),
      () => this.#program()?.signal(Math.floor(this.#random() * 40)),
      () => this.#program()?.resize(this.#size(), this.#size()),
      () => this.#program()?.discardOutput(),
      () => this.#dial(),
      () => this.#send(),
      () => this.#send(),
      () => this.#pick(this.#connections)?.read(),
      () => this.#pick(this.#connections)?.close(),
      () => this.#pick(this.#connections)?.abort(),
      () => this.#file(),
      () => this.#client.ping(),
      () => this.#client.touch(),
    ]
    this.#watch(this.#pick(actions)?.())
    const held = Math.max(0, ...this.#programs.map(({ bufferedBytes }) => bufferedBytes))
    if (held > HELD_BYTES_MAX) this.surprise ??= new Error(`${held} bytes held for one program`)
    if (this.#random() < 0.01) await this.#reconnect()
    if (this.#random() < 0.3) await new Promise((resolve) => setTimeout(resolve, 1))
  }

  /** Ends everything that was started; the agent must still answer. */
  async finish(): Promise<void> {
    await within(5000, () => this.#client.ping())
    for (const program of this.#programs) {
      program.discardOutput()
      program.signal('KILL')
    }
    for (const connection of this.#connections) connection.abort()
    await within(5000, () => Promise.all(this.#pending))
    await within(5000, () => Promise.all(this.#programs.map((each) => each.exited.catch(() => {}))))
    assert.is(this.#client.openSessions, 0)
    await within(5000, () => this.#client.close())
  }

  /** Lets go of everything, whatever state it is in. */
  async leave(): Promise<void> {
    await this.#client.close()
  }

  async #start(): Promise<void> {
    const command = this.#pick(['deaf', 'cat', 'slow', 'yes', 'exit', 'missing']) ?? 'cat'
    const pty = this.#random() < 0.3 ? { columns: this.#size(), rows: this.#size() } : undefined
    const signal = this.#random() < 0.1 ? AbortSignal.timeout(2) : undefined
    this.#programs.push(await this.#client.exec({ command, args: ['3'], pty }, { signal }))
  }

  async #type(): Promise<void> {
    await this.#program()?.write(new Uint8Array(this.#bytes()).fill(97))
  }

  async #read(): Promise<void> {
    const program = this.#program()
    const count = Math.floor(this.#random() * 20)
    for (let index = 0; index < count; index++) {
      if ((await program?.read()) === undefined) break
    }
  }

  async #dial(): Promise<void> {
    const host = this.#pick(['cat', 'slow', 'deaf', 'refuse']) ?? 'cat'
    const connection = await this.#client.tcpConnect(host, 1)
    this.#connections.push(connection)
  }

  async #send(): Promise<void> {
    await this.#pick(this.#connections)?.write(new Uint8Array(this.#bytes() * 40))
  }

  async #file(): Promise<void> {
    const handle = this.#pick(this.#handles)
    const choice = this.#random()
    if (handle === undefined || choice < 0.2) {
      this.#handles.push(await this.#client.fs('OpenFile', { path: '/f', options: READ_WRITE }))
    } else if (choice < 0.5) {
      await this.#client.fsRead(handle, this.#bytes(), this.#bytes() % 200_000)
    } else if (choice < 0.8) {
      await this.#client.fsWrite(handle, 0, new Uint8Array(this.#bytes() % 200_000))
    } else {
      this.#handles = this.#handles.filter((each) => each !== handle)
      await this.#client.fs('CloseHandle', { handle })
    }
  }

  async #reconnect(): Promise<void> {
    await within(5000, () => this.#client.close())
    this.#programs = []
    this.#connections = []
    this.#handles = []
    this.#client = await within(5000, () => AgentClient.connect(this.#agent.accept()))
  }

  #watch(work: unknown): void {
    if (!(work instanceof Promise)) return
    const pending = work.catch((error: unknown) => {
      // The agent's refusals, and our own rules for callers, are not surprises.
      if (error instanceof AgentError && error.kind !== 'protocol') return
      if (error instanceof TypeError && /write after|another read/.test(error.message)) return
      this.surprise ??= error
    })
    this.#pending.add(pending)
    void pending.finally(() => this.#pending.delete(pending))
  }

  #program(): AgentProcess | undefined {
    return this.#pick(this.#programs)
  }

  #pick<T>(values: readonly T[]): T | undefined {
    return values[Math.floor(this.#random() * values.length)]
  }

  #size(): number {
    return Math.floor(this.#random() * 300)
  }

  /** Mostly a few bytes, now and then very many. */
  #bytes(): number {
    return Math.floor(this.#random() ** 4 * 300_000)
  }
}

test('random clients neither kill nor block the agent', async () => {
  for (const seed of SEEDS) {
    const random = seeded(seed)
    const agent = new BrittleAgent(random)
    const monkey = new Monkey(random, agent, await AgentClient.connect(agent.accept()))
    try {
      for (let step = 0; step < STEPS; step++) await monkey.step()
      await monkey.finish()
      const { dead, blocked, broken } = agent
      const found = [dead, blocked, ...broken].filter((each) => each !== undefined)
      assert.equal(found, [], found.join('; '))
      assert.is(monkey.surprise, undefined)
      assert.ok(agent.queuedBytesMax < 8 * 1024 * 1024, `${agent.queuedBytesMax} bytes waited`)
    } catch (error) {
      throw new Error(`SEED=${seed}: ${error instanceof Error ? error.message : error}`, {
        cause: error,
      })
    } finally {
      await monkey.leave()
      agent.stop()
    }
  }
})

test('the agent would have noticed: each thing it dies of or blocks on is seen', async () => {
  const flood = async (command: string, pty: boolean): Promise<string | undefined> => {
    const agent = new BrittleAgent(() => 0)
    const client = await AgentClient.connect(agent.accept())
    const terminal = pty ? { columns: 80, rows: 24 } : undefined
    const program = await client.exec({ command, pty: terminal })
    // Past the pacing, as a client without it would.
    for (let index = 0; index < 20; index++) await program.send(new Uint8Array(4096))
    await client.ping()
    await client.close()
    agent.stop()
    return agent.blocked
  }
  assert.match((await flood('deaf', false)) ?? '', /deaf at/)
  assert.match((await flood('deaf', true)) ?? '', /terminal/)
})

test.run()
