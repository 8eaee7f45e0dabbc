// Trials of forwards of all kinds, with a peer at either end.

import { createServer } from 'node:net'
import { join } from 'node:path'
import { type Client, nodeListener, nodeSocket } from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { temporaryFolder } from '../peers/folder.ts'
import type { ForwardKind, PeerClient, PeerServer, Place, RunningPeer } from '../peers/peer.ts'
import type { Keys } from './keys.ts'
import { withOurClient } from './our-client.ts'
import { accepting, withOurServer } from './our-server.ts'
import { connectTo, exchange, listenWithEcho } from './sockets.ts'
import type { Trial } from './trial.ts'
import { username } from './user.ts'

/** Enough to need more window than there is at first. */
const data = bytes(3 << 20)

const anywhere = (kind: ForwardKind): Place =>
  kind.endsWith('TCP port') ? { port: 0 } : { path: join(temporaryFolder(), 'socket') }

/** A client has our server connect, or listen. */
export function forwardsOfClient(client: PeerClient, keys: Keys): readonly Trial[] {
  const key = keys.usual
  const options = {
    auth: accepting(key),
    directTcpip: ({ port }: { readonly port: number }) => nodeSocket(connectTo({ port })),
    directStreamlocal: (place: { readonly path: string }) => nodeSocket(connectTo(place)),
    tcpipForward: ({ host, port }: { readonly host: string; readonly port: number }) =>
      nodeListener(createServer({ allowHalfOpen: true }).listen(port, host)),
    streamlocalForward: ({ path }: { readonly path: string }) =>
      nodeListener(createServer({ allowHalfOpen: true }).listen(path)),
  }
  return (client.forwards ?? []).map((kind) => ({
    area: 'Other clients of our server: forwards',
    name: kind,
    run: () =>
      withOurServer(key.key, options, async (server) => {
        const login = { port: server.port, username, hostKey: key.key, proof: key }
        const came = await through(client, login, kind).catch((error) => {
          throw new Error(`${error}\n${server.report()}`)
        })
        assert.is(sha256(came ?? new Uint8Array()), sha256(data), server.report())
      }),
  }))
}

async function through(
  client: PeerClient,
  login: Parameters<NonNullable<PeerClient['reach']>>[0],
  kind: ForwardKind,
): Promise<Uint8Array | undefined> {
  if (kind.startsWith('-R')) {
    const forward = await client.listen?.(login, anywhere(kind))
    if (forward === undefined) return undefined
    try {
      return await exchange(forward.place, data)
    } finally {
      await forward.stop()
    }
  }
  const echo = await listenWithEcho(anywhere(kind))
  try {
    return await client.reach?.(login, echo.place, data)
  } finally {
    await echo.stop()
  }
}

/** A server connects, or listens, for our client. */
export function forwardsOfServer(
  peer: PeerServer,
  server: RunningPeer,
  keys: Keys,
): readonly Trial[] {
  return (peer.forwards ?? []).map((kind) => ({
    area: 'Our client of other servers: forwards',
    name: kind,
    run: () =>
      withOurClient(server, keys, {}, async (client) => {
        const came = await (kind.startsWith('-R')
          ? listened(client, kind, peer.keepsListening)
          : reached(client, kind))
        assert.is(sha256(came), sha256(data))
      }),
  }))
}

async function listened(
  client: Client,
  kind: ForwardKind,
  keepsListening = false,
): Promise<Uint8Array> {
  const place = anywhere(kind)
  const listener =
    'path' in place
      ? await client.listenStreamlocal(place.path)
      : await client.listen('127.0.0.1', place.port)
  const answer = async (): Promise<void> => {
    const transport = (await listener.accept())?.transport
    for (let chunk = await transport?.read(); chunk; chunk = await transport?.read()) {
      await transport?.write(chunk)
    }
    await transport?.close()
  }
  const near = 'path' in place ? place : { port: listener.port }
  const [came] = await Promise.all([exchange(near, data), answer()])
  const closed = listener.close().then(
    () => true,
    () => false,
  )
  assert.is(await closed, !keepsListening)
  return came
}

async function reached(client: Client, kind: ForwardKind): Promise<Uint8Array> {
  const { place, stop } = await listenWithEcho(anywhere(kind))
  try {
    const channel =
      'path' in place
        ? await client.directStreamlocal(place.path)
        : await client.directTcpip('127.0.0.1', place.port)
    const sent = channel.write(data).then(() => channel.close())
    const chunks: Uint8Array[] = []
    for (let chunk = await channel.read(); chunk; chunk = await channel.read()) chunks.push(chunk)
    await sent
    return Buffer.concat(chunks)
  } finally {
    await stop()
  }
}
