// Trials of forwards of all kinds, with a peer at either end.

import { createServer } from 'node:net'
import { join } from 'node:path'
import {
  type Client,
  connect,
  nodeListener,
  nodeSocket,
  pinned,
  publickey,
  type Signer,
} from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { temporaryFolder } from '../peers/folder.ts'
import type {
  ForwardKind,
  Login,
  PeerClient,
  PeerServer,
  Place,
  RunningPeer,
} from '../peers/peer.ts'
import type { Keys } from './keys.ts'
import { withOurClient } from './our-client.ts'
import { accepting, withOurServer } from './our-server.ts'
import { connectTo, exchange, exchangeBySocks, exchangeWhole, listenWithEcho } from './sockets.ts'
import type { Trial } from './trial.ts'
import { told } from './use.ts'
import { username } from './user.ts'

/** Enough to need more window than there is at first. */
const data = bytes(3 << 20)

const anywhere = (kind: ForwardKind): Place =>
  kind.endsWith('Unix socket') ? { path: join(temporaryFolder(), 'socket') } : { port: 0 }

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
        const came = await through(client, login, kind, key.key).catch((error) => {
          throw new Error(`${error}\n${server.report()}`)
        })
        assert.is(sha256(came ?? new Uint8Array()), sha256(data), server.report())
      }),
  }))
}

async function through(
  client: PeerClient,
  login: Login,
  kind: ForwardKind,
  key: Signer,
): Promise<Uint8Array | undefined> {
  if (kind === '-J') {
    const inner = { auth: accepting(login.proof) }
    let came: Uint8Array | undefined
    await withOurServer(key, inner, async ({ port, connections }) => {
      const ended = await client.exec?.({ ...login, port, through: login }, 'cat; exit 7', data)
      if (ended === undefined || ended.code !== told(client, 7)) {
        throw new Error(`it ended with ${ended?.code}: ${ended?.problem}`)
      }
      assert.is(connections.length, 1)
      came = ended.stdout
    })
    return came
  }
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
    if (kind === '-D') return await throughSocks(client, login, echo.place, data)
    return await client.reach?.(login, echo.place, data)
  } finally {
    await echo.stop()
  }
}

async function throughSocks(
  client: PeerClient,
  login: Login,
  place: Place,
  sent: Uint8Array,
): Promise<Uint8Array | undefined> {
  const proxy = await client.socks?.(login)
  try {
    return proxy && (await exchangeBySocks(proxy.place, place as { port: number }, sent))
  } finally {
    await proxy?.stop()
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
        const came = await (kind === '-J'
          ? jumped(client, keys)
          : kind.startsWith('-R')
            ? listened(client, kind, peer)
            : reached(client, kind, peer))
        assert.is(sha256(came), sha256(data))
      }),
  }))
}

/** Through the server to one of ours. */
async function jumped(client: Client, keys: Keys): Promise<Uint8Array> {
  const { key } = keys.usual
  let came = new Uint8Array()
  await withOurServer(key, { auth: accepting(keys.usual) }, async ({ port }) => {
    const inner = await connect(await client.directTcpip('127.0.0.1', port), {
      ...{ username, hostKey: pinned(key.publicKey), auth: [publickey(key)] },
    })
    const { stdout, code } = await inner.run('cat; exit 7', { stdin: data })
    assert.is(code, 7)
    came = Uint8Array.from(stdout)
    await inner.close()
  })
  return came
}

async function listened(
  client: Client,
  kind: ForwardKind,
  { keepsListening = false, endsWhole = false }: PeerServer,
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
  const [came] = await Promise.all([(endsWhole ? exchangeWhole : exchange)(near, data), answer()])
  const closed = listener.close().then(
    () => true,
    () => false,
  )
  assert.is(await closed, !keepsListening)
  return came
}

async function reached(
  client: Client,
  kind: ForwardKind,
  { endsWhole = false }: PeerServer,
): Promise<Uint8Array> {
  const { place, stop } = await listenWithEcho(anywhere(kind))
  try {
    const channel =
      'path' in place
        ? await client.directStreamlocal(place.path)
        : await client.directTcpip('127.0.0.1', place.port)
    const sent = channel.write(data).then(() => (endsWhole ? undefined : channel.close()))
    const chunks: Uint8Array[] = []
    let received = 0
    for (let chunk = await channel.read(); chunk; chunk = await channel.read()) {
      chunks.push(chunk)
      received += chunk.length
      if (endsWhole && received >= data.length) break
    }
    await sent
    if (endsWhole) channel.abort()
    return Buffer.concat(chunks)
  } finally {
    await stop()
  }
}
