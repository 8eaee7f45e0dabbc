/** One TCP connection made for a client. */
import { isIP, Socket } from 'node:net'
import type { TcpConnect } from '../agent/messages.ts'
import { Credit } from './credit.ts'
import { errorNumber, errorText } from './errno.ts'
import { InputQueue } from './input-queue.ts'
import type { GuestSession, Reply } from './session.ts'
import { Source } from './source.ts'

/** The agent's limit for resolving and connecting. */
const CONNECT_MS = 30_000
/** For each address of a name that has several. */
const ATTEMPT_MS = 10_000
/** Largest piece of data in one frame. */
const FRAME_BYTES_MAX = 64 * 1024

/**
 * A connection. After its terminal message, or `close`, it is over; after both sides have ended it
 * waits for the client's `close`, as the agent does.
 */
export class TcpSession implements GuestSession {
  readonly #request: TcpConnect
  readonly #reply: Reply
  readonly #onEnd: () => void
  readonly #credit: Credit
  readonly #output: InputQueue
  readonly #socket: Socket
  readonly #timer: NodeJS.Timeout
  #connected = false
  #over = false
  #interrupt: () => void = () => {}

  /** Starts to connect. `onEnd` is called once, when the id is free. */
  constructor(request: TcpConnect, reply: Reply, onEnd: () => void) {
    this.#request = request
    this.#reply = reply
    this.#onEnd = onEnd
    this.#credit = new Credit(request.window)
    this.#output = new InputQueue(
      (chunk) => this.#write(chunk),
      () => this.#socket.end(),
    )
    this.#timer = setTimeout(() => this.#fail(`${this.#target()} timed out`), CONNECT_MS)
    this.#socket = new Socket({ allowHalfOpen: true })
    this.#socket.on('error', (error) => this.#failed(error))
    this.#socket.on('close', () => this.#interrupt())
    this.#socket.on('connect', () => this.#onConnect())
    this.#connect()
  }

  data(chunk: Uint8Array): void {
    this.#output.push(chunk)
  }

  eof(): void {
    this.#output.end()
  }

  credit(bytes: number): void {
    this.#credit.give(bytes)
  }

  inputDrained(): Promise<void> {
    return this.#output.drained()
  }

  inputRoom(): Promise<void> | undefined {
    return this.#output.full ? this.#output.room() : undefined
  }

  /** The client closed it, or is gone; nothing is said any more. */
  abandon(): void {
    this.#finish()
  }

  #connect(): void {
    const { host, port } = this.#request
    // Node takes the empty name for its own machine.
    if (host === '') {
      queueMicrotask(() => this.#failed(Object.assign(new Error(), { code: 'ENOTFOUND' })))
      return
    }
    try {
      this.#socket.connect({ host, port, autoSelectFamilyAttemptTimeout: ATTEMPT_MS })
      this.#socket.setNoDelay(true)
    } catch (error) {
      queueMicrotask(() => this.#failed(error instanceof Error ? error : new Error(String(error))))
    }
  }

  #onConnect(): void {
    clearTimeout(this.#timer)
    this.#connected = true
    this.#reply.post('core.tcp.connected', {})
    this.#output.open()
    void this.#pump(new Source(this.#socket))
  }

  async #pump(source: Source): Promise<void> {
    try {
      for (;;) {
        const chunk = await source.next()
        if (this.#over) return
        if (chunk === undefined) break
        for (let at = 0; at < chunk.length && !this.#over; ) {
          const count = await this.#credit.take(Math.min(chunk.length - at, FRAME_BYTES_MAX))
          if (this.#over) return
          await this.#reply.data('core.tcp.data', chunk.subarray(at, at + count))
          at += count
        }
      }
      this.#reply.post('core.tcp.eof', {})
    } catch (error) {
      this.#fail(`read TCP stream: ${errorText(error)}`)
    }
  }

  async #write(chunk: Uint8Array): Promise<void> {
    await new Promise<void>((resolve) => {
      if (this.#socket.destroyed) {
        resolve()
        return
      }
      this.#interrupt = resolve
      this.#socket.write(chunk, () => resolve())
    })
  }

  #failed(error: Error): void {
    if (!this.#connected) {
      this.#fail(`${this.#target()}: ${connectError(error, this.#request.host)}`)
      return
    }
    const verb = 'syscall' in error && error.syscall === 'write' ? 'write' : 'read'
    this.#fail(`${verb} TCP stream: ${errorText(error)}`)
  }

  #target(): string {
    return `connect ${this.#request.host}:${this.#request.port}`
  }

  #fail(error: string): void {
    if (this.#over) return
    this.#reply.post('core.tcp.failed', { error })
    this.#finish()
  }

  #finish(): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    this.#credit.close()
    this.#output.close()
    this.#socket.destroy()
    this.#onEnd()
  }
}

/** Why a connection could not be made, in the agent's words. */
function connectError(error: Error, host: string): string {
  // Several addresses were tried; the last failure is the one the agent tells.
  const last = error instanceof AggregateError ? error.errors.at(-1) : error
  const code = typeof last === 'object' && last !== null && 'code' in last ? last.code : undefined
  if (code === 'ENOTFOUND' || code === 'EAI_NONAME') {
    return 'failed to lookup address information: Name does not resolve'
  }
  if (code === 'EAI_AGAIN') return 'failed to lookup address information: Try again'
  if (isIP(host) === 0 && errorNumber(last) === undefined) {
    return `failed to lookup address information: ${String(code)}`
  }
  return errorText(last)
}
