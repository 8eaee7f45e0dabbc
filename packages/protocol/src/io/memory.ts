/** Two transports joined back to back in this process. */
import { type Deferred, deferred, rejected } from '../deferred.ts'
import { SshError } from '../errors.ts'
import { Inbox } from './inbox.ts'
import type { Transport } from './transport.ts'

/** How much a memory pair holds. */
export interface MemoryPairOptions {
  /** Bytes one side may have written and the other not read before `write` waits. Default 256 KiB. */
  readonly capacityBytes?: number
  /** Told of every chunk that is written, at whichever end. */
  readonly onTraffic?: (() => void) | undefined
}

const CAPACITY_BYTES = 256 * 1024
/**
 * Everything here runs in microtasks, so two busy peers would never let a timer or a socket have
 * its turn. After so many bytes a read comes in a turn of the event loop of its own.
 */
const TURN_BYTES = 1024 * 1024

/**
 * A pair of transports: what one writes the other reads. Chunks are copied once, because a writer
 * may use its buffer again and a reader may keep what it got.
 * Throws RangeError if `capacityBytes` is not a positive integer.
 *
 * @example
 * import { memoryPair } from '@sandbox-ssh/protocol'
 *
 * const [left, right] = memoryPair({ capacityBytes: 4096 })
 * await left.write(new TextEncoder().encode('across'))
 * await left.close()
 * console.log(new TextDecoder().decode(await right.read()), await right.read()) // across undefined
 */
export function memoryPair(options: MemoryPairOptions = {}): [Transport, Transport] {
  const capacityBytes = options.capacityBytes ?? CAPACITY_BYTES
  if (!Number.isSafeInteger(capacityBytes) || capacityBytes < 1) {
    throw new RangeError('capacityBytes must be a positive integer')
  }
  const there = new Pipe(capacityBytes, options.onTraffic)
  const back = new Pipe(capacityBytes, options.onTraffic)
  const use: PairUse = { of: 'nobody' }
  const end = (incoming: Pipe, outgoing: Pipe): Transport =>
    new MemoryEnd(key, new PipeEnd(incoming, outgoing), use)
  return [end(back, there), end(there, back)]
}

/**
 * Whether this very object is an end of a `memoryPair`, and not something that wraps one.
 *
 * @example
 * import { isMemoryPair, memoryPair } from '@sandbox-ssh/protocol'
 *
 * const [left] = memoryPair()
 * console.log(isMemoryPair(left), isMemoryPair({ ...left })) // true false
 */
export function isMemoryPair(transport: Transport): boolean {
  return isEnd(transport)
}

/**
 * What an in-process session talks over instead of the end itself. From then on nobody can read or
 * write at either end but another such session: what is not encrypted is never seen by anything
 * that could carry it out of the process. Undefined for what is no end of a pair.
 * @throws TypeError if the pair has been read or written at, or the end has been taken already
 */
export function takeInProcess(transport: Transport): Transport | undefined {
  return take(transport)
}

/** The first use of a pair decides about all others. */
interface PairUse {
  of: 'nobody' | 'anybody' | 'in-process'
}

/** Known to this file alone, so that no end can be made of anything but two pipes of ours. */
const key = {}
/** Private fields tell ends apart; unlike a set of them, no changed prototype makes them lie. */
let isEnd: (value: unknown) => boolean
let take: (transport: Transport) => Transport | undefined

/** An end as users have it. */
class MemoryEnd implements Transport {
  static {
    isEnd = (value) => typeof value === 'object' && value !== null && #end in value
    take = (transport) => {
      if (!isEnd(transport)) return undefined
      const taken = transport as MemoryEnd
      if (taken.#use.of === 'anybody' || taken.#taken) {
        throw new TypeError('inProcess goes with a memory pair that nothing else has used')
      }
      taken.#use.of = 'in-process'
      taken.#taken = true
      return taken.#end
    }
  }

  readonly #end: Transport
  readonly #use: PairUse
  #taken = false

  constructor(token: object, end: Transport, use: PairUse) {
    if (token !== key) throw new TypeError('ends are made by memoryPair')
    this.#end = end
    this.#use = use
  }

  read(): Promise<Uint8Array | undefined> {
    return this.#isOpen() ? this.#end.read() : refused()
  }

  write(chunk: Uint8Array): Promise<void> {
    return this.#isOpen() ? this.#end.write(chunk) : refused()
  }

  close(): Promise<void> {
    return this.#end.close()
  }

  abort(reason?: unknown): void {
    this.#end.abort(reason)
  }

  #isOpen(): boolean {
    if (this.#use.of === 'nobody') this.#use.of = 'anybody'
    return this.#use.of === 'anybody'
  }
}

function refused(): Promise<never> {
  const message = 'this memory pair is of an in-process session: both ends must ask for inProcess'
  return rejected(new SshError('SSH_TRANSPORT', message))
}

/** The two pipes of an end. */
class PipeEnd implements Transport {
  readonly #incoming: Pipe
  readonly #outgoing: Pipe

  constructor(incoming: Pipe, outgoing: Pipe) {
    this.#incoming = incoming
    this.#outgoing = outgoing
  }

  read(): Promise<Uint8Array | undefined> {
    return this.#incoming.read()
  }

  write(chunk: Uint8Array): Promise<void> {
    return this.#outgoing.write(chunk)
  }

  close(): Promise<void> {
    this.#outgoing.end()
    return Promise.resolve()
  }

  abort(reason?: unknown): void {
    const ours = reason ?? new SshError('SSH_ABORTED', 'the transport was aborted')
    const theirs = new SshError('SSH_TRANSPORT', 'the other end aborted the transport')
    this.#incoming.abort(ours, theirs)
    this.#outgoing.cut(theirs, ours)
  }
}

/** One direction. */
class Pipe {
  readonly #inbox = new Inbox()
  readonly #capacityBytes: number
  readonly #onTraffic: (() => void) | undefined
  readonly #writers: Deferred<void>[] = []
  #writeError: unknown
  #untilTurn = TURN_BYTES

  constructor(capacityBytes: number, onTraffic: (() => void) | undefined) {
    this.#capacityBytes = capacityBytes
    this.#onTraffic = onTraffic
  }

  read(): Promise<Uint8Array | undefined> {
    const next = this.#inbox.read()
    this.#release()
    if (this.#untilTurn > 0) return next
    this.#untilTurn = TURN_BYTES
    return nextTurn().then(() => next)
  }

  write(chunk: Uint8Array): Promise<void> {
    if (this.#writeError !== undefined) return rejected(this.#writeError)
    if (this.#inbox.ended) {
      return rejected(new SshError('SSH_TRANSPORT', 'the writing side has been closed'))
    }
    this.#onTraffic?.()
    this.#untilTurn -= chunk.length
    this.#inbox.push(chunk.slice())
    if (this.#inbox.bytes < this.#capacityBytes) return Promise.resolve()
    const writer = deferred<void>()
    this.#writers.push(writer)
    return writer.promise
  }

  end(): void {
    this.#inbox.end()
  }

  abort(readReason: unknown, writeReason: unknown): void {
    this.#inbox.abort(readReason)
    this.#writeError ??= writeReason
    for (const writer of this.#writers.splice(0)) writer.reject(writeReason)
  }

  /** The writer goes. What it had ended in good order stays readable, as with a socket. */
  cut(readReason: unknown, writeReason: unknown): void {
    if (!this.#inbox.ended) this.abort(readReason, writeReason)
    else this.#writeError ??= writeReason
  }

  #release(): void {
    if (this.#inbox.bytes >= this.#capacityBytes) return
    for (const writer of this.#writers.splice(0)) writer.resolve()
  }
}

/** `setImmediate` where the runtime has it, for a zero timeout may cost a millisecond. */
function nextTurn(): Promise<void> {
  const { setImmediate } = globalThis as { setImmediate?: (callback: () => void) => unknown }
  return new Promise((resolve) => {
    if (setImmediate === undefined) setTimeout(resolve, 0)
    else setImmediate(resolve)
  })
}
