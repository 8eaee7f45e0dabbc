// Both ends of what is forwarded, as sockets of this machine.

import { connect, createServer, type Socket } from 'node:net'
import type { Place } from '../peers/peer.ts'

/** Something that listens. */
export interface Listening {
  /** With the port that was chosen, if that was 0. */
  readonly place: Place
  readonly stop: () => Promise<void>
}

/** Sends back what comes, and ends when that ends. */
export async function listenWithEcho(place: Place): Promise<Listening> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    // Who goes away has had what they wanted.
    socket.on('error', () => {}).pipe(socket)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(addressOf(place), resolve)
  })
  const address = server.address()
  return {
    place: typeof address === 'object' && address !== null ? { port: address.port } : place,
    async stop() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

/** Sends data, ends, and gives all that comes back until the other side ends too. */
export async function exchange(place: Place, data: Uint8Array): Promise<Buffer> {
  const socket = connectTo(place)
  socket.end(data)
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** The same where one direction cannot end by itself: until so much has come back. */
export async function exchangeWhole(place: Place, data: Uint8Array): Promise<Buffer> {
  const socket = connectTo(place)
  socket.write(data)
  const chunks: Buffer[] = []
  let received = 0
  for await (const chunk of socket) {
    chunks.push(chunk as Buffer)
    received += (chunk as Buffer).length
    if (received >= data.length) break
  }
  return Buffer.concat(chunks)
}

/** The same, at a place that somebody who speaks SOCKS 5 (RFC 1928) at another one reaches. */
export async function exchangeBySocks(
  proxy: Place,
  { port }: { readonly port: number },
  data: Uint8Array,
): Promise<Buffer> {
  const socket = connectTo(proxy)
  // Once no authentication is agreed on, a name of a host and the port; then the data.
  const version = 5
  const host = Buffer.from('127.0.0.1')
  socket.write(Buffer.of(version, 1, 0))
  const request = Buffer.of(version, 1, 0, 3, host.length, ...host, port >> 8, port & 255)
  let received = Buffer.alloc(0)
  let isAsked = false
  let isSent = false
  for await (const chunk of socket) {
    received = Buffer.concat([received, chunk as Buffer])
    if (!isAsked && received.length >= 2) {
      if (received[0] !== version || received[1] !== 0) throw new Error('it does not speak SOCKS 5')
      socket.write(request)
      isAsked = true
    }
    // The answer is as long as the address of IPv4 that it names.
    if (!isSent && received.length >= 12) {
      if (received[3] !== 0) throw new Error(`SOCKS refuses: ${received[3]}`)
      socket.end(data)
      isSent = true
    }
  }
  return received.subarray(12)
}

/** A socket that can end one direction without the other. */
export function connectTo(place: Place): Socket {
  return connect({ ...addressOf(place), allowHalfOpen: true })
}

function addressOf(place: Place): Place & { readonly host?: string; readonly port: number } {
  // Node takes a path before a port.
  return 'path' in place ? { ...place, port: 0 } : { ...place, host: '127.0.0.1' }
}
