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

/** A socket that can end one direction without the other. */
export function connectTo(place: Place): Socket {
  return connect({ ...addressOf(place), allowHalfOpen: true })
}

function addressOf(place: Place): Place & { readonly host?: string; readonly port: number } {
  // Node takes a path before a port.
  return 'path' in place ? { ...place, port: 0 } : { ...place, host: '127.0.0.1' }
}
