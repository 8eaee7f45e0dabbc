/** Ports on this side that lead to the other: what `ssh -L` and `ssh -D` do. */
import {
  type Channel,
  type Client,
  type IncomingConnection,
  type Listener,
  SshError,
  splice,
  type Transport,
} from '@sandbox-ssh/protocol'
import { readSocksRequest } from './socks.ts'

/** How long a client may take to say where it wants to be connected to. */
const SOCKS_MS = 10_000
/** Connections at once on one port, unless told otherwise. */
const CONNECTIONS_MAX = 256

/** A destination as the other side sees it. */
export interface ForwardTarget {
  /** A name or an address; `127.0.0.1` is the sandbox itself. */
  readonly host: string
  readonly port: number
}

/** How connections are passed on. */
export interface ForwardOptions {
  /** Connections at once; further ones are dropped. Default 256. */
  readonly connectionsMax?: number | undefined
  /** Told of connections that could not be passed on. */
  readonly onError?: ((error: unknown, target: ForwardTarget | undefined) => void) | undefined
}

/** What is needed of a client. */
export type ForwardClient = Pick<Client, 'directTcpip'>

/**
 * Passes every connection that comes in on to `target`, each side ending by itself. Resolves once
 * the listener was closed; connections go on until their ends or that of the client. Rejects if
 * listening fails.
 *
 * @example
 * import { createConnection, createServer } from 'node:net'
 * import { nodeListener } from '@sandbox-ssh/protocol'
 * import { forwardTo } from '@sandbox-ssh/sandbox-bridge'
 *
 * // A port here leads to a port there, which sends back what it gets.
 * const listener = await nodeListener(createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1'))
 * const forwarding = forwardTo(client, listener, { host: '127.0.0.1', port: 7 })
 * const socket = createConnection(listener.port ?? 0, '127.0.0.1').end('there and back')
 * let text = ''
 * for await (const chunk of socket) text += chunk
 * console.log(text) // there and back
 * await listener.close()
 * await forwarding
 */
export async function forwardTo(
  client: ForwardClient,
  listener: Listener,
  target: ForwardTarget,
  options: ForwardOptions = {},
): Promise<void> {
  await acceptAll(listener, options, target, async (connection) => {
    const { transport } = connection
    const channel = await open(client, target, connection)
    await splice(channel, transport, channel.closed)
  })
}

/**
 * Serves SOCKS 4, 4a and 5 on a listener: each client says where it wants to be connected to. Names
 * are looked up on the other side. Resolves and rejects as `forwardTo`.
 *
 * @example
 * import { createConnection, createServer } from 'node:net'
 * import { nodeListener } from '@sandbox-ssh/protocol'
 * import { forwardSocks } from '@sandbox-ssh/sandbox-bridge'
 *
 * const listener = await nodeListener(createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1'))
 * const forwarding = forwardSocks(client, listener)
 * // SOCKS 4: connect to port 7 of 127.0.0.1; the answer begins with 0 and 90 if that worked.
 * const socket = createConnection(listener.port ?? 0, '127.0.0.1')
 * socket.end(new Uint8Array([4, 1, 0, 7, 127, 0, 0, 1, 0]))
 * const [answer] = await socket.toArray()
 * console.log(answer[0], answer[1]) // 0 90
 * await listener.close()
 * await forwarding
 */
export async function forwardSocks(
  client: ForwardClient,
  listener: Listener,
  options: ForwardOptions = {},
): Promise<void> {
  await acceptAll(listener, options, undefined, async (connection) => {
    const request = await withinLimit(connection.transport, readSocksRequest(connection.transport))
    const { host, port } = request
    let channel: Channel
    try {
      channel = await open(client, { host, port }, connection)
    } catch (error) {
      await request.refuse(error)
      throw new ForwardError({ host, port }, error)
    }
    await request.accept()
    await splice(channel, request.transport, channel.closed)
  })
}

function open(
  client: ForwardClient,
  { host, port }: ForwardTarget,
  { originatorHost, originatorPort }: IncomingConnection,
): Promise<Channel> {
  return client.directTcpip(host, port, { host: originatorHost, port: originatorPort })
}

async function acceptAll(
  listener: Listener,
  { connectionsMax = CONNECTIONS_MAX, onError }: ForwardOptions,
  target: ForwardTarget | undefined,
  pass: (connection: IncomingConnection) => Promise<void>,
): Promise<void> {
  let open = 0
  const failed = (error: unknown, transport: Transport): void => {
    const known = error instanceof ForwardError ? error.target : target
    onError?.(error instanceof ForwardError ? error.cause : error, known)
    // Flushed first: a refusal by SOCKS is an answer.
    transport.close().then(
      () => transport.abort(),
      () => transport.abort(),
    )
  }
  for (let next = await listener.accept(); next !== undefined; next = await listener.accept()) {
    const { transport } = next
    if (open >= connectionsMax) {
      failed(new SshError('SSH_LIMIT', `${open} connections are open`), transport)
      continue
    }
    open++
    pass(next)
      .catch((error: unknown) => failed(error, transport))
      .finally(() => {
        open--
      })
  }
}

/** A client that says nothing must not hold its place for ever. */
async function withinLimit<T>(transport: Transport, work: Promise<T>): Promise<T> {
  const error = new SshError('SSH_TIMEOUT', 'no request to the proxy came in time')
  const timer = setTimeout(() => transport.abort(error), SOCKS_MS)
  try {
    return await work
  } finally {
    clearTimeout(timer)
  }
}

/** What failed, with where it was meant to go. */
class ForwardError extends Error {
  readonly target: ForwardTarget

  constructor(target: ForwardTarget, cause: unknown) {
    super('a connection could not be passed on', { cause })
    this.target = target
  }
}
