/** A `Deno.Conn` (TCP, Unix, TLS, vsock) as a transport. */
import { rejected } from '../deferred.ts'
import { SshError } from '../errors.ts'
import type { Transport } from './transport.ts'

/** What is needed of a `Deno.Conn`. */
export interface DenoConn {
  read(buffer: Uint8Array): Promise<number | null>
  write(chunk: Uint8Array): Promise<number>
  closeWrite(): Promise<void>
  close(): void
}

const BLOCK_BYTES = 64 * 1024
/** Ask for less than this and the system calls dominate. */
const READ_BYTES_MIN = 16 * 1024

/**
 * A transport over a Deno connection, which it takes over and closes once both directions ended.
 * Failures reject with SshError `SSH_TRANSPORT`, the original being the `cause`.
 *
 * @example
 * // Run with Deno.
 * import { connect, denoConn, generateKey, none, pinned, serve } from '@sandbox-ssh/protocol'
 *
 * const hostKey = generateKey('ed25519')
 * const listener = Deno.listen({ hostname: '127.0.0.1', port: 0 })
 * const [conn, incoming] = await Promise.all([
 *   Deno.connect({ hostname: '127.0.0.1', port: listener.addr.port }),
 *   listener.accept(),
 * ])
 * const [server, client] = await Promise.all([
 *   serve(denoConn(incoming), { hostKeys: [hostKey], auth: { none: () => true }, exec: () => 7 }),
 *   connect(denoConn(conn), { username: 'ada', hostKey: pinned(hostKey.publicKey), auth: [none()] }),
 * ])
 * console.log(server.username, (await client.run('anything')).code) // ada 7
 * await client.close()
 * listener.close()
 */
export function denoConn(conn: DenoConn): Transport {
  return new DenoTransport(conn)
}

class DenoTransport implements Transport {
  readonly #conn: DenoConn
  /** Chunks handed out are views of it, hence it is replaced, never overwritten. */
  #block = new Uint8Array(BLOCK_BYTES)
  #used = 0
  #readEnded = false
  #writes: Promise<void> = Promise.resolve()
  #closing: Promise<void> | undefined
  #writeEnded = false
  #released = false
  #failure: unknown

  constructor(conn: DenoConn) {
    this.#conn = conn
  }

  async read(): Promise<Uint8Array | undefined> {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#readEnded) return undefined
    if (BLOCK_BYTES - this.#used < READ_BYTES_MIN) {
      this.#block = new Uint8Array(BLOCK_BYTES)
      this.#used = 0
    }
    const room = this.#block.subarray(this.#used)
    for (;;) {
      const length = await this.#conn.read(room).catch((cause: unknown) => this.#fail(cause))
      if (this.#failure !== undefined) throw this.#failure
      if (length === null) {
        this.#readEnded = true
        this.#releaseIfDone()
        return undefined
      }
      if (length === 0) continue
      this.#used += length
      return room.subarray(0, length)
    }
  }

  write(chunk: Uint8Array): Promise<void> {
    if (this.#closing !== undefined) {
      return rejected(new SshError('SSH_TRANSPORT', 'the writing side has been closed'))
    }
    return this.#inOrder(async () => {
      let at = 0
      while (at < chunk.length) at += await this.#conn.write(chunk.subarray(at))
    })
  }

  close(): Promise<void> {
    this.#closing ??= this.#inOrder(async () => {
      await this.#conn.closeWrite()
      this.#writeEnded = true
      this.#releaseIfDone()
    })
    return this.#closing
  }

  abort(reason?: unknown): void {
    this.#failure ??= reason ?? new SshError('SSH_ABORTED', 'the transport was aborted')
    this.#release()
  }

  /** A connection may write only part of a chunk, so the next must wait for the whole of it. */
  #inOrder(action: () => Promise<void>): Promise<void> {
    const done = this.#writes.then(async () => {
      if (this.#failure !== undefined) throw this.#failure
      await action().catch((cause: unknown) => this.#fail(cause))
      if (this.#failure !== undefined) throw this.#failure
    })
    this.#writes = done.catch(() => {})
    return done
  }

  #fail(cause: unknown): never {
    const what = cause instanceof Error ? cause.message : 'unknown'
    this.#failure ??= new SshError('SSH_TRANSPORT', `the transport failed: ${what}`, { cause })
    throw this.#failure
  }

  #releaseIfDone(): void {
    if (this.#readEnded && this.#writeEnded) this.#release()
  }

  #release(): void {
    if (this.#released) return
    this.#released = true
    try {
      this.#conn.close()
    } catch {
      // Already closed: then there is nothing to release.
    }
  }
}
