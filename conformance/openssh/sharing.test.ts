// One connection of ssh's shared by many of its clients: ControlMaster and its commands.

import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { nodeListener, nodeSocket } from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { features } from '../feature.ts'
import { commands } from '../others/our-server.ts'
import { type Daemon, startDaemon } from '../peers/daemon.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { freePort, OpenSsh } from '../peers/openssh.ts'
import { type OwnServer, startOwnServer } from '../peers/own-server.ts'
import { type Ran, run } from '../peers/run.ts'

const client = features('OpenSSH', 'client', 'connection sharing')

interface Shared {
  readonly own: OwnServer
  readonly master: Daemon
  /** Runs ssh with these options as one more user of the connection. */
  readonly ssh: (args: readonly string[], command?: string, stdin?: Uint8Array) => Promise<Ran>
}

/** A server of ours that forwards anything, and a master connected to it. */
async function withMaster(body: (shared: Shared) => Promise<void>): Promise<void> {
  const own = await startOwnServer({
    session: commands,
    directTcpip: ({ port }) =>
      nodeSocket(connect({ port, host: '127.0.0.1', allowHalfOpen: true })),
    tcpipForward: ({ port }) =>
      nodeListener(createServer({ allowHalfOpen: true }).listen(port, '127.0.0.1')),
  })
  const socket = join(temporaryFolder(), 'control')
  const openssh = new OpenSsh(own, [`ControlPath ${socket}`])
  try {
    const { daemon: master } = await startDaemon(
      openssh.command(['-M', '-N', '-o', 'LogLevel=DEBUG1']),
      /Entering interactive session/,
    )
    const ssh: Shared['ssh'] = (args, command, stdin) =>
      run(openssh.command(args, command === undefined ? [] : [command]), { stdin: stdin ?? '' })
    try {
      await body({ own, master, ssh })
    } finally {
      await master.stop()
    }
  } finally {
    await own.stop()
  }
}

/** Sends back what each connection sends, on a free loopback port. */
async function withEcho(body: (port: number) => Promise<void>): Promise<void> {
  const server = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    await body((server.address() as { port: number }).port)
  } finally {
    server.close()
  }
}

/** What comes back from a port, or undefined if nobody listens there. */
function answerOf(port: number, data: Uint8Array): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket: Socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    const chunks: Buffer[] = []
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.once('end', () => resolve(Buffer.concat(chunks)))
    socket.once('error', () => resolve(undefined))
    socket.end(data)
  })
}

client('twenty sessions at once on one connection, each with its own exit status', () =>
  withMaster(async ({ own, ssh }) => {
    const data = bytes(200_000)
    const codes = Array.from({ length: 20 }, (_, index) => index)
    const rans = await Promise.all(codes.map((code) => ssh([], `cat; exit ${code}`, data)))
    assert.equal(
      rans.map(({ code }) => code),
      codes,
    )
    for (const { stdout } of rans) assert.is(sha256(stdout), sha256(data))
    assert.is(own.connections.length, 1)
  }),
)

client('-O forward and -O cancel with -L, while sessions go on', () =>
  withMaster(async ({ own, ssh }) => {
    await withEcho(async (target) => {
      const port = await freePort()
      const forward = `${port}:127.0.0.1:${target}`
      const data = bytes(300_000)
      const added = await ssh(['-O', 'forward', '-L', forward])
      assert.is(added.code, 0, added.stderr)
      assert.is(sha256((await answerOf(port, data)) ?? data.subarray(1)), sha256(data))
      assert.is((await ssh([], 'exit 3')).code, 3)
      const cancelled = await ssh(['-O', 'cancel', '-L', forward])
      assert.is(cancelled.code, 0, cancelled.stderr)
      assert.is(await answerOf(port, data), undefined)
      assert.is(own.connections.length, 1)
    })
  }),
)

client('-O forward and -O cancel with -R', () =>
  withMaster(async ({ ssh }) => {
    await withEcho(async (target) => {
      const port = await freePort()
      const forward = `${port}:127.0.0.1:${target}`
      const data = bytes(300_000)
      const added = await ssh(['-O', 'forward', '-R', forward])
      assert.is(added.code, 0, added.stderr)
      assert.is(sha256((await answerOf(port, data)) ?? data.subarray(1)), sha256(data))
      const cancelled = await ssh(['-O', 'cancel', '-R', forward])
      assert.is(cancelled.code, 0, cancelled.stderr)
      assert.is(await answerOf(port, data), undefined)
    })
  }),
)

client('-O check and -O exit', () =>
  withMaster(async ({ own, ssh }) => {
    const [connection] = own.connections
    assert.match((await ssh(['-O', 'check'])).stderr, /Master running/)
    const left = await ssh(['-O', 'exit'])
    assert.is(left.code, 0, left.stderr)
    await connection?.closed
    assert.is.not((await ssh(['-O', 'check'])).code, 0)
  }),
)
client.run()
