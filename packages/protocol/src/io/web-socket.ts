/** A WebSocket carrying raw bytes in binary messages, as a transport. */
import { deferred, rejected } from '../deferred.ts'
import { SshError } from '../errors.ts'
import { Inbox } from './inbox.ts'
import type { Transport } from './transport.ts'

/** What is needed of a `WebSocket`, of a browser or of a server library that imitates one. */
export interface WebSocketLike {
  binaryType: string
  readonly readyState: number
  readonly bufferedAmount: number
  send(data: Uint8Array<ArrayBuffer>): void
  close(code?: number, reason?: string): void
  addEventListener(type: string, listener: (event: WebSocketEvent) => void): void
}

/** What is needed of its events. */
export interface WebSocketEvent {
  readonly type: string
  /** Of a message. */
  readonly data?: unknown
  /** Of the end. */
  readonly code?: number
}

const CONNECTING = 0
const OPEN = 1
/** Unsent bytes above which `write` waits. */
const BUFFERED_BYTES_MAX = 256 * 1024
const POLL_MS = 5
/**
 * A WebSocket cannot slow its peer, but SSH windows bound what a well-behaved one has under way.
 * One that goes past this is cut off.
 */
const RECEIVED_BYTES_MAX = 64 * 1024 * 1024

/**
 * A transport over a WebSocket, which may still be connecting. WebSockets know neither
 * back-pressure nor half-close: `write` polls `bufferedAmount`, what arrives before it is read is
 * kept up to 64 MiB, and `close` ends both directions. Failures are SshError `SSH_TRANSPORT`.
 *
 * @example
 * import { connect, knownHosts, parsePrivateKey, publickey, webSocket } from '@sandbox-ssh/protocol'
 *
 * // Behind the URL is a proxy of bytes to an SSH server; `box` has the texts of two files.
 * const client = await connect(webSocket(new WebSocket('wss://proxy.example/box')), {
 *   username: 'ada',
 *   hostKey: knownHosts(box.hosts, 'box'),
 *   auth: [publickey(await parsePrivateKey(box.key))],
 * })
 * console.log((await client.run('uname')).text().trim()) // Linux …
 * await client.close()
 */
export function webSocket(socket: WebSocketLike): Transport {
  return new WebSocketTransport(socket)
}

class WebSocketTransport implements Transport {
  readonly #socket: WebSocketLike
  readonly #inbox = new Inbox()
  readonly #opened = deferred<void>()
  readonly #ended = deferred<void>()
  #writes: Promise<void> = Promise.resolve()
  #closing: Promise<void> | undefined
  #failure: unknown
  #endedCleanly = false

  constructor(socket: WebSocketLike) {
    this.#socket = socket
    socket.binaryType = 'arraybuffer'
    socket.addEventListener('open', () => this.#opened.resolve())
    socket.addEventListener('message', ({ data }) => this.#message(data))
    socket.addEventListener('error', () => this.#fail('the WebSocket reported an error'))
    socket.addEventListener('close', ({ code }) => this.#closed(code ?? 1000))
    if (socket.readyState === OPEN) this.#opened.resolve()
    else if (socket.readyState !== CONNECTING) this.#closed(1000)
  }

  read(): Promise<Uint8Array | undefined> {
    return this.#inbox.read()
  }

  write(chunk: Uint8Array): Promise<void> {
    if (this.#closing !== undefined) {
      return rejected(new SshError('SSH_TRANSPORT', 'the writing side has been closed'))
    }
    return this.#inOrder(async () => {
      // A browser's `send` copies, but not everyone who looks like one does.
      this.#socket.send(chunk.slice())
      while (this.#socket.bufferedAmount > BUFFERED_BYTES_MAX && this.#failure === undefined) {
        await new Promise((resolve) => setTimeout(resolve, POLL_MS))
      }
      if (this.#failure !== undefined) throw this.#failure
    })
  }

  close(): Promise<void> {
    if (this.#endedCleanly) return Promise.resolve()
    this.#closing ??= this.#inOrder(async () => {
      this.#socket.close(1000)
      await this.#ended.promise
    })
    return this.#closing
  }

  abort(reason?: unknown): void {
    const failure = reason ?? new SshError('SSH_ABORTED', 'the transport was aborted')
    this.#failure ??= failure
    this.#inbox.abort(failure)
    this.#opened.reject(failure)
    this.#ended.reject(failure)
    this.#socket.close()
  }

  #inOrder(action: () => Promise<void>): Promise<void> {
    const done = this.#writes.then(async () => {
      await this.#opened.promise
      if (this.#failure !== undefined) throw this.#failure
      await action()
    })
    this.#writes = done.catch(() => {})
    return done
  }

  #message(data: unknown): void {
    if (!(data instanceof ArrayBuffer)) {
      this.#fail('a text message came where only binary ones are allowed')
      this.#socket.close(1003)
      return
    }
    if (this.#inbox.bytes + data.byteLength > RECEIVED_BYTES_MAX) {
      this.#fail(`more than ${RECEIVED_BYTES_MAX} bytes came before they were read`)
      this.#socket.close(1009)
      return
    }
    this.#inbox.push(new Uint8Array(data))
  }

  #closed(code: number): void {
    // 1000 is normal, 1001 going away, 1005 no code given: the peer meant to end.
    const clean = code === 1000 || code === 1001 || code === 1005 || this.#closing !== undefined
    this.#endedCleanly = clean && this.#failure === undefined
    if (!clean) this.#fail(`the WebSocket was closed with code ${code}`)
    this.#failure ??= new SshError('SSH_TRANSPORT', 'the WebSocket is closed')
    this.#inbox.end()
    this.#ended.resolve()
    this.#opened.reject(this.#failure)
  }

  #fail(what: string): void {
    this.#failure ??= new SshError('SSH_TRANSPORT', `the transport failed: ${what}`)
    this.#inbox.fail(this.#failure)
    this.#opened.reject(this.#failure)
    this.#ended.resolve()
  }
}
