// The profile without encryption and a socket, which has it for neither side.

import { createConnection, createServer } from 'node:net'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  type ClientOptions,
  connect,
  generateKey,
  nodeSocket,
  none,
  pinned,
  type ServerOptions,
  serve,
  type Transport,
} from '../src/index.ts'
import { rejection } from './within.ts'

const hostKey = generateKey('ed25519')
const serverOptions: ServerOptions = { hostKeys: [hostKey], auth: { none: () => true } }
const clientOptions: ClientOptions = {
  username: 'ada',
  hostKey: pinned(hostKey.publicKey),
  auth: [none()],
}
const inProcess = { inProcess: true } as const

test('a server on a socket does not come up with it, and says why', async () => {
  const server = createServer({ allowHalfOpen: true })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0
  const accepted = new Promise<Transport>((resolve) =>
    server.once('connection', (socket) => resolve(nodeSocket(socket))),
  )
  const ours = nodeSocket(createConnection({ port, host: '127.0.0.1' }))
  const theirs = await accepted
  for (const attempt of [
    () => connect(ours, { ...clientOptions, ...inProcess }),
    () => serve(theirs, { ...serverOptions, ...inProcess }),
  ]) {
    assert.match(String(await rejection(attempt())), 'the rest is encrypted')
  }
  ours.abort()
  theirs.abort()
  server.close()
})

test.run()
