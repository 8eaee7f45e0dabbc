// The relay's rules: ranges, 128 clients, strangers' handles, clients that break them.
// Also on: bun

import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { memoryPair, nodeSocket } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AgentClient } from '../../src/agent/client.ts'
import { encodeMessage } from '../../src/agent/envelope.ts'
import { AgentError } from '../../src/agent/error.ts'
import { encodeFrame } from '../../src/agent/frame.ts'
import { CLIENTS_MAX, guestAgent } from '../../src/guest/agent.ts'
import { listenRelay } from '../../src/guest/relay.ts'
import { fromHex } from '../recorded.ts'
import { rejection } from '../rejection.ts'
import { within } from '../within.ts'
import { bytesOf, clientOf, connectGuest, textOf } from './connect.ts'
import { RawClient } from './replay.ts'

const READ = {
  read: true,
  write: false,
  append: false,
  create: false,
  truncate: false,
  create_new: false,
}

const ping = (id: number): Uint8Array => encodeMessage(id, 'core.ping', {})

test('slots have the ranges of the real relay, and are free again at once', async () => {
  const guest = guestAgent()
  const [first, second] = [await RawClient.connect(guest), await RawClient.connect(guest)]
  assert.equal([first.idMin, first.idMax], [1, 33_554_431])
  assert.equal([second.idMin, second.idMax], [33_554_432, 67_108_862])
  first.leave()
  await within(1000, () => first.until(() => first.ended && guest.clientCount === 1))
  const third = await RawClient.connect(guest)
  assert.is(third.idMin, 1)
  for (const client of [second, third]) client.leave()
})

test('an id outside the range drops the client, the last one inside does not', async () => {
  const guest = guestAgent()
  for (const [offset, dropped] of [
    [0, true],
    [-1, false],
  ] as const) {
    const client = await RawClient.connect(guest)
    await client.send(ping(client.idMax + offset))
    await client.until(() => client.ended || client.words.length > 0)
    assert.is(client.ended, dropped)
    client.leave()
  }
  const client = await RawClient.connect(guest)
  await client.send(ping(0))
  await client.until(() => client.ended)
  assert.is(client.ended, true)
})

test('a frame length out of bounds drops the client', async () => {
  for (const hex of ['00000004000000010000', '00400001000000010000', 'ffffffff']) {
    const client = await RawClient.connect(guestAgent())
    await client.send(fromHex(hex))
    await client.until(() => client.ended)
    assert.is(client.ended, true, hex)
  }
})

test('what would end the real agent is answered, and the client goes on', async () => {
  const client = await RawClient.connect(guestAgent())
  await client.send(encodeFrame(1, 0, fromHex('a361760761746c636f72652e756e6b6e6f776e617041a0')))
  await client.send(encodeFrame(2, 0, fromHex('ff')))
  await client.send(encodeFrame(3, 2, fromHex('a3617601617469636f72652e70696e67617041a0')))
  await client.send(ping(4))
  await client.until(() => client.words.length === 4)
  const kinds = client
    .take()
    .map(({ type, payload }) => [type, (payload as { kind?: string }).kind])
  assert.equal(kinds, [
    ['core.error', 'unsupported_message_type'],
    ['core.error', 'malformed_message'],
    ['core.error', 'invalid_flags'],
    ['core.pong', undefined],
  ])
  client.leave()
})

test('the 129th client sees an end without a word', async () => {
  const guest = guestAgent()
  const clients = await Promise.all(Array.from({ length: CLIENTS_MAX }, () => clientOf(guest)))
  const error = await rejection(clientOf(guest))
  assert.is((error as AgentError).kind, 'closed')
  assert.match((error as AgentError).message, /128/)
  await Promise.all(clients.map((client) => client.close()))
  assert.is(guest.clientCount, 0)
  await (await clientOf(guest)).close()
})

test('a handle belongs to its client and ends with it', async () => {
  const { guest, client } = await connectGuest()
  const other = await clientOf(guest)
  const handle = await client.fs('OpenFile', { path: '/etc/passwd', options: READ })
  const stranger = (await rejection(other.fs('FStat', { handle }))) as AgentError
  assert.is(stranger.message, `fstat: handle ${handle} is owned by a different relay client`)
  assert.is((await client.fs('FStat', { handle })).path, '/etc/passwd')
  await client.close()
  const gone = (await rejection(other.fs('FStat', { handle }))) as AgentError
  assert.is(gone.message, `fstat: invalid handle: ${handle}`)
  await other.close()
})

test('a client has 1024 handles at most', async () => {
  const { client } = await connectGuest()
  const open = () => client.fs('OpenDir', { path: '/' })
  const handles = await Promise.all(Array.from({ length: 1024 }, open))
  assert.match(((await rejection(open())) as AgentError).message, /too many open .* 1024/)
  await client.fs('CloseHandle', { handle: handles[0] ?? 0 })
  await open()
  await client.close()
})

test('files are written and read in pieces, in order, and past their end', async () => {
  const { client } = await connectGuest()
  const folder = mkdtempSync(join(tmpdir(), 'guest-files-'))
  try {
    const options = { ...READ, write: true, create: true }
    const handle = await client.fs('OpenFile', { path: join(folder, 'file'), options })
    const pieces = Array.from({ length: 40 }, (_, index) => new Uint8Array(200_000).fill(index))
    // All at once: the order on the wire is the order on the disk.
    const writes = pieces.map((piece, index) => client.fsWrite(handle, index * 200_000, piece))
    const over = client.fsWrite(handle, 100, bytesOf('over'))
    await Promise.all([...writes, over])
    const reads = pieces.map((_, index) => client.fsRead(handle, index * 200_000, 200_000))
    const read = await Promise.all(reads)
    assert.is(new TextDecoder().decode(read[0]?.subarray(100, 104)), 'over')
    for (const [index, piece] of read.entries()) {
      assert.is(piece.length, 200_000)
      assert.is(piece.at(-1), index)
    }
    assert.is((await client.fsRead(handle, 7_999_999, 100)).length, 1)
    assert.is((await client.fsRead(handle, 9_000_000, 100)).length, 0)
    await client.fs('CloseHandle', { handle })
  } finally {
    rmSync(folder, { recursive: true })
    await client.close()
  }
})

test('a FIFO nobody writes to stops no one', async () => {
  const { client } = await connectGuest()
  const folder = mkdtempSync(join(tmpdir(), 'guest-fifo-'))
  try {
    const path = join(folder, 'fifo')
    const made = await client.exec({ command: 'mkfifo', args: [path] })
    await made.exited
    for (let index = 0; index < 8; index++) {
      const handle = await within(2000, () => client.fs('OpenFile', { path, options: READ }))
      const error = await within(2000, () => rejection(client.fsRead(handle, 0, 10)))
      assert.match((error as AgentError).message, /^read: seek: Invalid seek \(os error 29\)/)
    }
    const writing = { ...READ, read: false, write: true }
    const handle = client.fs('OpenFile', { path, options: writing })
    await within(2000, () => handle)
  } finally {
    rmSync(folder, { recursive: true })
    await client.close()
  }
})

test('a directory too large for one reply is an error, and can be read in parts', async () => {
  const { client } = await connectGuest()
  const folder = mkdtempSync(join(tmpdir(), 'guest-large-'))
  try {
    const name = 'n'.repeat(200)
    for (let index = 0; index < 9000; index++) writeFileSync(join(folder, `${name}${index}`), '')
    const error = (await rejection(client.fs('List', { path: folder }))) as AgentError
    assert.match(error.message, /too large/)
    const handle = await client.fs('OpenDir', { path: folder })
    const seen = new Set<string>()
    for (;;) {
      const entries = await client.fs('ReadDir', { handle, limit: 0xffff_ffff })
      if (entries.length === 0) break
      for (const { path } of entries) seen.add(path)
    }
    assert.is(seen.size, 9000)
  } finally {
    rmSync(folder, { recursive: true })
    await client.close()
  }
})

test('TCP passes megabytes both ways, half-closes, and holds up no one', async () => {
  const { client } = await connectGuest()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let count = 0
    socket.on('data', (chunk) => {
      count += chunk.length
    })
    socket.on('end', () => socket.end(`${count}`))
  })
  const deaf = createServer((socket) => socket.pause())
  try {
    const ports = await Promise.all([server, deaf].map(listening))
    const stuck = await client.tcpConnect('127.0.0.1', ports[1] ?? 0)
    const writing = rejection(stuck.write(new Uint8Array(32 * 1024 * 1024)))
    const tcp = await client.tcpConnect('localhost', ports[0] ?? 0)
    await within(10_000, () => tcp.write(new Uint8Array(3_000_000)))
    await tcp.close()
    assert.is(await within(5000, () => textOf(() => tcp.read())), '3000000')
    stuck.abort()
    assert.instance(await within(2000, () => writing), AgentError)
    await within(2000, () => client.ping())
    assert.is(client.openSessions, 0)
  } finally {
    server.close()
    deaf.close()
    await client.close()
  }
})

test('TCP output nobody reads makes the sender wait', async () => {
  const { client } = await connectGuest()
  let sent = 0
  const server = createServer((socket) => {
    socket.on('error', () => {})
    const more = (): void => {
      sent += 65_536
      if (sent < 512 * 1024 * 1024) socket.write(new Uint8Array(65_536), more)
    }
    more()
  })
  try {
    const tcp = await client.tcpConnect('127.0.0.1', await listening(server))
    await within(5000, () => client.exec({ command: 'sleep', args: ['0.3'] }).then((p) => p.exited))
    const before = sent
    assert.ok(before < 64 * 1024 * 1024, `${before} bytes sent`)
    await within(5000, () => client.ping())
    tcp.abort()
  } finally {
    server.close()
    await client.close()
  }
})

test('a socket for the owner alone serves many clients', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'guest-relay-'))
  const path = join(folder, 'agent.sock')
  const guest = guestAgent()
  const relay = await listenRelay(guest, { path })
  try {
    assert.is(statSync(path).mode & 0o777, 0o600)
    const clients = await Promise.all(
      [1, 2, 3].map(() => AgentClient.connect(nodeSocket(connect(path)))),
    )
    const texts = clients.map(async (client, index) =>
      textOf(await client.exec({ command: 'echo', args: [`${index}`] })),
    )
    assert.equal(await Promise.all(texts), ['0\n', '1\n', '2\n'])
    await Promise.all(clients.map((client) => client.close()))
  } finally {
    await relay.close()
    rmSync(folder, { recursive: true, force: true })
  }
})

test('a client that sends and never reads is not read without bound', async () => {
  const guest = guestAgent()
  const [ours, theirs] = memoryPair({ capacityBytes: 64 * 1024 })
  void guest.serve(theirs)
  let sent = 0
  let waiting = false
  const flood = (async () => {
    for (let id = 1; id < 2_000_000; id++) {
      const writing = ours.write(ping(id))
      waiting = true
      await writing
      waiting = false
      sent++
    }
  })().catch(() => {})
  const other = await clientOf(guest)
  for (let index = 0; index < 50; index++) await within(5000, () => other.ping())
  await within(5000, () => other.exec({ command: 'sleep', args: ['0.5'] }).then((p) => p.exited))
  assert.ok(sent < 400_000 && waiting, `${sent} pings taken`)
  ours.abort()
  await flood
  await other.close()
})

async function listening(server: ReturnType<typeof createServer>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

test.run()
