/** TCP ports that this machine listens on. */
import { createServer, type Server, type Socket } from 'node:net'
import { type Listener, nodeListener, nodeSocket } from '@sandbox-ssh/protocol'
import type { AcceptedConnection } from '@sandbox-ssh/sandbox-bridge'
import { CliError } from './failure.ts'
import type { ListenAddress } from './forward-spec.ts'
import type { Output } from './output.ts'

/** An address with its port, as Node tells it. */
export interface Address {
  readonly address: string
  readonly port: number
}

/** A port that listens, and which it is. */
export interface OpenPort {
  readonly listener: Listener
  readonly address: Address
}

/** Listens for connections to be passed on. Throws CliError naming the address and the reason. */
export async function openPort(wanted: ListenAddress): Promise<OpenPort> {
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  await listen(server, wanted)
  return { listener: await nodeListener(server), address: addressOf(server) }
}

/** A port of an SSH server: `accept` also tells which of our addresses was connected to. */
export interface ServerPort {
  readonly listener: {
    accept(): Promise<AcceptedConnection | undefined>
    close(): Promise<void>
  }
  readonly address: Address
}

/**
 * Listens for SSH clients. Failing to accept one is told and does not end it: that may pass. Who
 * accepts must do so at once, as nothing bounds what waits here but the system.
 * @throws CliError naming the address and the reason
 */
export async function openServerPort(
  wanted: ListenAddress,
  onError: (error: Error) => void,
): Promise<ServerPort> {
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  const waiting: AcceptedConnection[] = []
  let wake = (): void => undefined
  let closed = false
  server.on('connection', (socket) => {
    // Without a listener a reset before the first read would end the program.
    socket.on('error', () => undefined)
    waiting.push(accepted(socket))
    wake()
  })
  await listen(server, wanted)
  server.on('error', onError)
  return {
    address: addressOf(server),
    listener: {
      accept: async () => {
        while (waiting.length === 0 && !closed) {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
        }
        return waiting.shift()
      },
      close: async () => {
        closed = true
        server.close()
        for (const { transport } of waiting.splice(0)) transport.abort()
        wake()
      },
    },
  }
}

function accepted(socket: Socket): AcceptedConnection {
  const peer = {
    clientHost: socket.remoteAddress ?? '',
    clientPort: socket.remotePort ?? 0,
    serverHost: socket.localAddress ?? '',
    serverPort: socket.localPort ?? 0,
  }
  return {
    transport: nodeSocket(socket),
    originatorHost: peer.clientHost,
    originatorPort: peer.clientPort,
    peer,
  }
}

/** Starts listening; an empty host stands for all addresses. Throws CliError. */
function listen(server: Server, { host, port }: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException): void => {
      const why = LISTEN_FAILURES.get(cause.code ?? '') ?? cause.message
      const where = formatAddress({ address: host === '' ? '*' : host, port })
      reject(new CliError(`cannot listen on ${where}: ${why}`, { cause }))
    }
    server.once('error', failed)
    server.once('listening', () => {
      server.off('error', failed)
      resolve()
    })
    server.listen(host === '' ? { port } : { host, port })
  })
}

const LISTEN_FAILURES: ReadonlyMap<string, string> = new Map([
  ['EADDRINUSE', 'the port is in use'],
  ['EACCES', 'permission denied'],
  ['EADDRNOTAVAIL', 'this machine has no such address'],
  ['ENOTFOUND', 'no such host'],
])

/** The address that a server listens on. */
function addressOf(server: Server): Address {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new CliError('not a TCP listener')
  return address
}

/** `127.0.0.1:22`, `[::1]:22`. */
export function formatAddress({ address, port }: Address): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** Warns if others than this machine's own programs can connect; `risk` says what they can then do. */
export function warnUnlessLoopback(output: Output, listening: Address, risk: string): void {
  if (isLoopback(listening.address)) return
  output.warn(`${formatAddress(listening)} can be reached from other machines: ${risk}`)
}

function isLoopback(address: string): boolean {
  return address === '::1' || /^(?:::ffff:)?127\./.test(address)
}
