// Over real sockets and pipes of this Node.

import { spawn } from 'node:child_process'
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SshError } from '../../src/errors.ts'
import { nodeSocket } from '../../src/io/node-socket.ts'
import { nodeStreams } from '../../src/io/node-streams.ts'
import { readAll, transportSuite } from '../suites/transport.ts'
import { rejection, within } from '../within.ts'

/** Two ends of a TCP connection over loopback. */
async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: false })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve))
  const { port } = server.address() as AddressInfo
  const connected = createConnection({ host: '127.0.0.1', port })
  const pair: [Socket, Socket] = [await accepted, connected]
  server.close()
  return pair
}

transportSuite(
  'Node socket',
  async () => {
    const [left, right] = await socketPair()
    return [nodeSocket(left), nodeSocket(right)]
  },
  { halfClose: true, bufferedBytesMax: 16 * 1024 * 1024 },
)

test('a refused connection rejects the first read, with the cause', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  const transport = nodeSocket(createConnection({ host: '127.0.0.1', port }))
  const error = (await rejection(transport.read())) as SshError
  assert.instance(error, SshError)
  assert.is(error.code, 'SSH_TRANSPORT')
  assert.is((error.cause as { code?: string }).code, 'ECONNREFUSED')
  assert.is(await rejection(transport.write(new Uint8Array(1))), error)
})

test('a reset by the peer rejects a pending read and a stalled write', async () => {
  const [left, right] = await socketPair()
  const transport = nodeSocket(left)
  const writing = rejection(
    (async () => {
      for (;;) await transport.write(new Uint8Array(1024 * 1024))
    })(),
  )
  const reading = rejection(transport.read())
  right.resetAndDestroy()
  const errors = (await within(5000, Promise.all([writing, reading]))) as SshError[]
  assert.equal(
    errors.map(({ code }) => code),
    ['SSH_TRANSPORT', 'SSH_TRANSPORT'],
  )
})

test('a socket that had ended before is at its end', async () => {
  const [left, right] = await socketPair()
  right.end()
  left.resume()
  await new Promise((resolve) => left.once('end', resolve))
  assert.is(await within(5000, nodeSocket(left).read()), undefined)
  right.destroy()
})

test('a socket that had been destroyed fails instead of hanging', async () => {
  const [left, right] = await socketPair()
  left.destroy()
  right.destroy()
  await new Promise((resolve) => setImmediate(resolve))
  const error = (await within(5000, rejection(nodeSocket(left).read()))) as SshError
  assert.is(error.code, 'SSH_TRANSPORT')
})

test('the pipes of a child process carry bytes both ways and end', async () => {
  const child = spawn('cat')
  const transport = nodeStreams(child.stdout, child.stdin)
  const data = new Uint8Array(500_000).map((_, at) => at % 251)
  const reading = readAll(transport)
  await transport.write(data)
  await transport.close()
  assert.equal(await within(10_000, reading), data)
})

test('writing to a program that has ended rejects and crashes nothing', async () => {
  const child = spawn('true')
  const transport = nodeStreams(child.stdout, child.stdin)
  await readAll(transport)
  await new Promise((resolve) => child.once('close', resolve))
  void transport.write(new Uint8Array(100_000))
  const error = await within(
    5000,
    rejection(
      (async () => {
        for (;;) await transport.write(new Uint8Array(100_000))
      })(),
    ),
  )
  assert.is((error as SshError).code, 'SSH_TRANSPORT')
})

test('a readable with an encoding is refused, for its bytes are lost', async () => {
  const child = spawn('echo', ['x'])
  child.stdout.setEncoding('utf8')
  const transport = nodeStreams(child.stdout, child.stdin)
  assert.is(((await rejection(transport.read())) as SshError).code, 'SSH_TRANSPORT')
  transport.abort()
})

test.run()
