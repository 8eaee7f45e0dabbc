// Two machines joined by a simulated link on a virtual clock. Questions are answered at once by
// default; a test looks at the events and gives commands between steps.

import { modern } from '../../src/algorithms/modern.ts'
import { defaultCrypto } from '../../src/crypto/native.ts'
import type { CryptoProvider } from '../../src/crypto/provider.ts'
import { generateKey, type PrivateKey } from '../../src/keys/private-key.ts'
import { clientMachine } from '../../src/machine/client.ts'
import type { AuthVerdict, Event, Question } from '../../src/machine/event.ts'
import type { Machine } from '../../src/machine/machine.ts'
import type { MachineOptions } from '../../src/machine/options.ts'
import { serverMachine } from '../../src/machine/server.ts'
import { type Random, seededRandom } from './random.ts'

export interface LinkOptions {
  readonly seed?: number
  /** Largest piece delivered at once; pieces are of random size up to it. */
  readonly chunkBytesMax?: number
  /** After this many bytes from client to server, the link is cut. */
  readonly cutAfterBytes?: number
  /** Inverts the lowest bit of this byte on the way from client to server. */
  readonly flipAtByte?: number
  /** May change what is on its way, in either direction. */
  readonly alter?: (bytes: Uint8Array) => void
}

export interface PairOptions {
  readonly link?: LinkOptions
  readonly crypto?: CryptoProvider
  readonly client?: Partial<MachineOptions>
  readonly server?: Partial<MachineOptions>
  readonly acceptHostKey?: boolean
  /** Decides on authentication requests; accepts `user` by default. */
  readonly verdict?: (question: Extract<Question, { kind: 'authenticate' }>) => AuthVerdict
  /** Answers `authenticate-next`; by default tries `user` once. */
  readonly answer?: (machine: Machine, question: Question) => boolean
}

export const hostKey: PrivateKey = generateKey('ed25519')
export const user: PrivateKey = generateKey('ed25519')

/** One end: the machine, what it has told, and who answers its questions. */
export class End {
  readonly machine: Machine
  readonly events: Event[] = []
  readonly #answer: (question: Question) => void

  constructor(machine: Machine, answer: (question: Question) => void) {
    this.machine = machine
    this.#answer = answer
  }

  /** Takes all events there are, answering questions. */
  drain(): void {
    for (let event = this.machine.nextEvent(); event; event = this.machine.nextEvent()) {
      this.events.push(event)
      if (event.type === 'question') this.#answer(event)
    }
  }

  /** Events of one type, in order. */
  of<T extends Event['type']>(type: T): Extract<Event, { type: T }>[] {
    return this.events.filter((event) => event.type === type) as Extract<Event, { type: T }>[]
  }

  /** The error the machine ended with. */
  get error(): Error | undefined {
    return this.of('closed')[0]?.error
  }
}

export class Pair {
  readonly client: End
  readonly server: End
  nowMs = 0
  readonly #link: LinkOptions
  readonly #random: Random
  #sent = 0

  constructor(options: PairOptions = {}) {
    this.#link = options.link ?? {}
    this.#random = seededRandom(this.#link.seed ?? 1)
    const crypto = options.crypto ?? defaultCrypto()
    const common = {
      crypto,
      algorithms: modern(crypto),
      softwareVersion: 'sandbox-ssh_test',
      nowMs: 0,
    }
    const client = clientMachine({ username: 'ada', ...common, ...options.client })
    const server = serverMachine({
      hostKeys: [hostKey.publicKey],
      ...common,
      ...options.server,
    })
    this.client = new End(client, (question) => {
      if (options.answer?.(client, question)) return
      answerAsClient(client, question, options.acceptHostKey ?? true)
    })
    this.server = new End(server, (question) => {
      if (options.answer?.(server, question)) return
      answerAsServer(server, question, options.verdict ?? acceptUser)
    })
  }

  /** Delivers one random piece in each direction; false if there was nothing to deliver. */
  step(): boolean {
    this.client.drain()
    this.server.drain()
    const up = this.#deliver(this.client, this.server, true)
    const down = this.#deliver(this.server, this.client, false)
    return up || down
  }

  /** Steps until nothing moves. */
  settle(): this {
    while (this.step());
    return this
  }

  /** Settles and demands that both sides speak the connection protocol. */
  connect(): this {
    this.settle()
    for (const end of [this.client, this.server]) {
      if (end.error !== undefined) throw end.error
      if (end.of('authenticated').length !== 1) throw new Error('not authenticated')
    }
    return this
  }

  advance(ms: number): void {
    this.nowMs += ms
    this.client.machine.advance(this.nowMs)
    this.server.machine.advance(this.nowMs)
  }

  readonly #queues: Map<End, Uint8Array[]> = new Map()

  #deliver(from: End, to: End, up: boolean): boolean {
    const queue = this.#queues.get(from) ?? []
    this.#queues.set(from, queue)
    for (let out = from.machine.takeOutput(); out; out = from.machine.takeOutput()) {
      const bytes = out.slice()
      this.#link.alter?.(bytes)
      queue.push(bytes)
    }
    const chunk = queue.shift()
    if (chunk === undefined) return false
    const max = this.#link.chunkBytesMax ?? Number.POSITIVE_INFINITY
    let size = Math.min(
      chunk.length,
      max === Number.POSITIVE_INFINITY ? max : 1 + this.#random.below(max),
    )
    if (size < chunk.length) queue.unshift(chunk.subarray(size))
    const piece = chunk.slice(0, size)
    if (up) {
      const { cutAfterBytes, flipAtByte } = this.#link
      if (flipAtByte !== undefined && flipAtByte >= this.#sent && flipAtByte < this.#sent + size) {
        piece[flipAtByte - this.#sent]! ^= 1
      }
      if (cutAfterBytes !== undefined && this.#sent + size >= cutAfterBytes) {
        size = Math.max(0, cutAfterBytes - this.#sent)
        to.machine.receive(piece.slice(0, size))
        to.machine.receiveEnd()
        from.machine.receiveEnd()
        this.#queues.clear()
        this.client.drain()
        this.server.drain()
        return false
      }
      this.#sent += size
    }
    to.machine.receive(piece)
    return true
  }
}

function acceptUser(question: Extract<Question, { kind: 'authenticate' }>): AuthVerdict {
  const { request } = question
  const ok = request.method === 'publickey' && request.publicKey.equals(user.publicKey)
  return { type: ok ? 'accept' : 'reject' }
}

function answerAsClient(machine: Machine, question: Question, acceptHostKey: boolean): void {
  switch (question.kind) {
    case 'host-key':
      return machine.answerHostKey(question.id, acceptHostKey)
    case 'authenticate-next':
      return machine.answerAttempt(
        question.id,
        question.last === undefined
          ? { method: 'publickey', publicKey: user.publicKey, algorithm: 'ssh-ed25519' }
          : undefined,
      )
    case 'sign':
      return machine.answerSignature(question.id, user.sign(question.data, question.algorithm))
    default:
      throw new Error(`no answer to ${question.kind}`)
  }
}

function answerAsServer(
  machine: Machine,
  question: Question,
  verdict: (question: Extract<Question, { kind: 'authenticate' }>) => AuthVerdict,
): void {
  switch (question.kind) {
    case 'sign':
      return machine.answerSignature(question.id, hostKey.sign(question.data, question.algorithm))
    case 'authenticate':
      return machine.answerAuthentication(question.id, verdict(question))
    default:
      throw new Error(`no answer to ${question.kind}`)
  }
}
