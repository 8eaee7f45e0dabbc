// Ports and Unix sockets that OpenSSH listens on for us and connects us to, and the same for its
// client by a server of ours.
// Time limit: 120 s

import { existsSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import {
  ChannelOpenError,
  nodeListener,
  nodeSocket,
  type RemoteListener,
  type ServerOptions,
} from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { features } from '../feature.ts'
import { connectTo } from '../peers/connect.ts'
import { startDaemon } from '../peers/daemon.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { freePort, OpenSsh, type Sshd, startSshd } from '../peers/openssh.ts'
import { startOwnServer } from '../peers/own-server.ts'

const MiB = 1 << 20

/** Sends everything, ends, and collects what comes back until the end. */
function exchange(socket: Socket, data: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const received: Buffer[] = []
    socket.on('data', (chunk) => received.push(chunk))
    socket.once('end', () => resolve(Buffer.concat(received)))
    socket.once('error', reject)
    socket.setTimeout(20_000, () => socket.destroy(new Error('nothing came for 20 s')))
    socket.end(data)
  })
}

/** Sends back what each connection of a forward sends. */
async function echo(listener: RemoteListener): Promise<void> {
  for await (const { transport } of listener) void transport.readable.pipeTo(transport.writable)
}

const dial = (target: { port: number; host: string } | { path: string }): Socket =>
  connect({ ...target, allowHalfOpen: true })

async function listening(server: Server, target: object): Promise<Server> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(target, resolve)
  })
  return server
}

const ours = features('OpenSSH', 'server', 'forwarding')

let starting: Promise<Sshd> | undefined
const sshd = (): Promise<Sshd> => {
  starting ??= startSshd(['StreamLocalBindUnlink yes'])
  return starting
}
ours.after(async () => {
  await (await starting)?.daemon.stop()
})

ours('a port that sshd chose brings connections, and is free once closed', async () => {
  const client = await connectTo(await sshd())
  const listener = await client.listen('localhost', 0)
  assert.ok(listener.port > 0)
  const echoing = echo(listener)
  const data = bytes(MiB)
  const targets = Array.from({ length: 5 }, () => ({ host: '127.0.0.1', port: listener.port }))
  for (const received of await Promise.all(targets.map((to) => exchange(dial(to), data)))) {
    assert.is(sha256(received), sha256(data))
  }
  await listener.close()
  await echoing
  const again = await client.listen('localhost', listener.port)
  assert.is(again.port, listener.port)
  await client.close()
})

ours('a Unix socket is listened on and connected to', async () => {
  const client = await connectTo(await sshd())
  const path = join(temporaryFolder(), 'socket')
  const listener = await client.listenStreamlocal(path)
  void echo(listener)
  const data = bytes(MiB)
  assert.is(sha256(await exchange(dial({ path }), data)), sha256(data))
  const channel = await client.directStreamlocal(path)
  await channel.write(data.subarray(0, 1000))
  await channel.close()
  assert.is(
    sha256(new Uint8Array(await new Response(channel.readable).arrayBuffer())),
    sha256(data.subarray(0, 1000)),
  )
  await listener.close()
  await client.close()
})

ours('what sshd refuses is an error', async () => {
  const client = await connectTo(await sshd())
  const taken = await listening(createServer(), { port: 0, host: '127.0.0.1' })
  const { port } = taken.address() as { port: number }
  try {
    await client.listen('127.0.0.1', port)
    assert.unreachable('the port was taken')
  } catch (error) {
    assert.is((error as { code?: string }).code, 'SSH_REQUEST_REFUSED')
  }
  taken.close()
  try {
    await client.directStreamlocal('/nowhere/socket')
    assert.unreachable('there is no such socket')
  } catch (error) {
    assert.instance(error, ChannelOpenError)
  }
  await client.close()
})

ours.run()

const theirs = features('OpenSSH', 'client', 'forwarding')

/** A server of ours and an ssh that forwards through it until the body has ended. */
async function forwarded(
  options: Partial<ServerOptions>,
  args: readonly string[],
  body: () => Promise<void>,
): Promise<void> {
  const server = await startOwnServer(options)
  const openssh = new OpenSsh(server)
  try {
    const { daemon } = await startDaemon(
      openssh.command(['-N', '-o', 'LogLevel=DEBUG1', '-o', 'ExitOnForwardFailure=yes', ...args]),
      /remote forward success/,
    )
    try {
      await body()
    } finally {
      await daemon.stop()
    }
  } finally {
    await server.stop()
  }
}

theirs('-R with a port and with port 0', async () => {
  const target = await listening(
    createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)),
    { port: 0, host: '127.0.0.1' },
  )
  const { port: targetPort } = target.address() as { port: number }
  const fixed = await freePort()
  const data = bytes(MiB)
  const servers: Server[] = []
  const tcpipForward: ServerOptions['tcpipForward'] = ({ port }) => {
    const server = createServer({ allowHalfOpen: true })
    servers.push(server)
    return nodeListener(server.listen(port, '127.0.0.1'))
  }
  for (const asked of [fixed, 0]) {
    await forwarded({ tcpipForward }, ['-R', `${asked}:127.0.0.1:${targetPort}`], async () => {
      const address = servers.at(-1)?.address()
      assert.type(address, 'object')
      const { port } = address as { port: number }
      const received = await exchange(dial({ host: '127.0.0.1', port }), data)
      assert.is(sha256(received), sha256(data))
    })
    // With the connection of ssh its port goes too.
    const last = servers.at(-1)
    if (last?.listening) await new Promise((resolve) => last.once('close', resolve))
  }
  target.close()
})

theirs('-R and -L with Unix sockets', async () => {
  const folder = temporaryFolder()
  const target = await listening(
    createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)),
    { path: join(folder, 'target') },
  )
  const data = bytes(MiB)
  const options: Partial<ServerOptions> = {
    streamlocalForward: ({ path }) =>
      nodeListener(createServer({ allowHalfOpen: true }).listen(path)),
    directStreamlocal: ({ path }) => nodeSocket(dial({ path })),
  }
  const remote = join(folder, 'remote')
  const local = join(folder, 'local')
  const args = [
    '-R',
    `${remote}:${join(folder, 'target')}`,
    '-L',
    `${local}:${join(folder, 'target')}`,
  ]
  await forwarded(options, args, async () => {
    assert.ok(existsSync(remote))
    for (const path of [remote, local]) {
      assert.is(sha256(await exchange(dial({ path }), data)), sha256(data))
    }
  })
  target.close()
})

theirs('-R is refused by default', async () => {
  const refused = await forwarded({}, ['-R', '0:127.0.0.1:9'], async () => {}).catch(
    (error: Error) => error.message,
  )
  assert.match(refused ?? 'it succeeded', /remote port forwarding failed/)
})

theirs.run()
