/** TCP ports that this machine listens on. */
import { createServer, type Server } from 'node:net'
import { type Listener, nodeListener } from '@sandbox-ssh/protocol'
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

/** Starts listening; an empty host stands for all addresses. Throws CliError. */
export function listen(server: Server, { host, port }: ListenAddress): Promise<void> {
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
export function addressOf(server: Server): Address {
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
