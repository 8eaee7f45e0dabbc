/** A guest's relay: a Unix socket whose every connection is a relay client. */
import { chmodSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { nodeSocket } from '@sandbox-ssh/protocol'
import type { GuestAgent } from './agent.ts'

/** A listening relay. */
export interface Relay {
  /** Stops listening; clients being served stay. */
  close(): Promise<void>
}

/**
 * Listens on a path (made for the owner alone), or on a socket that was inherited already
 * listening, and serves every connection. Like microsandbox's relay it takes 128 clients; the next
 * one is accepted and closed. `onLeft` is called whenever one has left.
 */
export async function listenRelay(
  guest: GuestAgent,
  where: { readonly path: string } | { readonly fd: number },
  onLeft: () => void = () => {},
): Promise<Relay> {
  const server = createServer({ allowHalfOpen: true }, (socket: Socket) => {
    void guest.serve(nodeSocket(socket)).then(onLeft)
  })
  await listening(server, where)
  // A connection that could not be accepted is its client's trouble, not the relay's.
  server.on('error', () => {})
  return {
    close: () => new Promise((resolve) => server.close(() => resolve())),
  }
}

async function listening(server: Server, where: { path: string } | { fd: number }): Promise<void> {
  const umask = process.umask(0o077)
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(where, () => {
        server.off('error', reject)
        resolve()
      })
    })
    if ('path' in where) chmodSync(where.path, 0o600)
  } finally {
    process.umask(umask)
  }
}
