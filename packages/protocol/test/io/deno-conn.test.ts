// On Deno with real connections; elsewhere with one that behaves like them, over memory.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { SshError } from '../../src/errors.ts'
import { type DenoConn, denoConn } from '../../src/io/deno-conn.ts'
import { memoryPair } from '../../src/io/memory.ts'
import type { Transport } from '../../src/io/transport.ts'
import { transportSuite } from '../suites/transport.ts'
import { rejection } from '../within.ts'

interface Listener {
  accept(): Promise<DenoConn>
  close(): void
  readonly addr: { readonly port: number }
}
interface DenoNamespace {
  listen(options: { hostname: string; port: number }): Listener
  connect(options: { hostname: string; port: number }): Promise<DenoConn>
}
const { Deno } = globalThis as { Deno?: DenoNamespace }

if (Deno !== undefined) {
  transportSuite(
    'Deno.Conn',
    async () => {
      const listener = Deno.listen({ hostname: '127.0.0.1', port: 0 })
      const [accepted, connected] = await Promise.all([
        listener.accept(),
        Deno.connect({ hostname: '127.0.0.1', port: listener.addr.port }),
      ])
      listener.close()
      return [denoConn(accepted), denoConn(connected)]
    },
    { halfClose: true, bufferedBytesMax: 16 * 1024 * 1024 },
  )
}

/** Reads into the caller's buffer and writes only part of what it is given, as a Deno.Conn does. */
class PartialConn implements DenoConn {
  readonly #transport: Transport
  #rest: Uint8Array = new Uint8Array(0)
  closed = 0

  constructor(transport: Transport) {
    this.#transport = transport
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    if (this.#rest.length === 0) {
      const chunk = await this.#transport.read()
      if (chunk === undefined) return null
      this.#rest = chunk
    }
    const length = Math.min(buffer.length, this.#rest.length)
    buffer.set(this.#rest.subarray(0, length))
    this.#rest = this.#rest.subarray(length)
    return length
  }

  async write(chunk: Uint8Array): Promise<number> {
    const part = chunk.subarray(0, 10_000)
    await this.#transport.write(part)
    return part.length
  }

  closeWrite(): Promise<void> {
    return this.#transport.close()
  }

  close(): void {
    this.closed++
    this.#transport.abort(new Error('BadResource'))
  }
}

transportSuite(
  'a connection like that of Deno',
  async () => {
    const [left, right] = memoryPair()
    return [denoConn(new PartialConn(left)), denoConn(new PartialConn(right))]
  },
  { halfClose: true, bufferedBytesMax: 400_000 },
)

test('the connection is released once both directions ended, and once only', async () => {
  const [left, right] = memoryPair()
  const conn = new PartialConn(left)
  const transport = denoConn(conn)
  await transport.close()
  assert.is(conn.closed, 0)
  await right.close()
  assert.is(await transport.read(), undefined)
  assert.is(conn.closed, 1)
  transport.abort()
  assert.is(conn.closed, 1)
})

test('a failure is a transport error with its cause', async () => {
  const [left, right] = memoryPair()
  const transport = denoConn(new PartialConn(left))
  right.abort()
  const error = (await rejection(transport.read())) as SshError
  assert.is(error.code, 'SSH_TRANSPORT')
  assert.ok(error.cause instanceof Error)
})

test.run()
