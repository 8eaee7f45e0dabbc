// The client against our own server, and against servers that misbehave.
// Also on: chromium
import { memoryPair, SshError, type Transport } from '@sandbox-ssh/protocol'
import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BufferPool } from '../src/buffers.ts'
import { openSftp } from '../src/client.ts'
import { isDirectory, isSymlink } from '../src/file-system.ts'
import { memoryFileSystem } from '../src/memory-file-system.ts'
import { frame, PacketReader } from '../src/packets.ts'
import { decodePath } from '../src/path.ts'
import { SftpError, STATUS } from '../src/status.ts'
import { collect } from '../src/streams.ts'
import * as wire from '../src/wire.ts'
import { session } from './session.ts'
import { fileSystemSuite } from './suites/file-system.ts'
import { rejection, within } from './within.ts'

fileSystemSuite(
  'a server of memory',
  async () => {
    const { sftp, dispose } = await session(memoryFileSystem())
    return { files: sftp.fileSystem, directory: '/', dispose }
  },
  { byteNames: true, fractionalTimes: false, linkCounts: false, errnos: false, nameBytesMax: 255 },
).run()

const text = new TextEncoder()

test('contents are written and read, whole and in part', async () => {
  const { sftp, dispose } = await session(memoryFileSystem())
  await sftp.write('a', 'hello world', { mode: 0o600 })
  assert.is(await sftp.readText('a'), 'hello world')
  assert.is((await sftp.stat('a')).mode, 0o100600)
  assert.is(await sftp.readText('a', { position: 6 }), 'world')
  assert.is(await sftp.readText('a', { position: 2, length: 3 }), 'llo')
  assert.is(await sftp.readText('a', { position: 100 }), '')
  await sftp.write('a', 'bye')
  assert.is(await sftp.readText('a'), 'bye')
  await sftp.write('a', '!', { append: true })
  assert.is(await sftp.readText('a'), 'bye!')
  const taken = (await rejection(sftp.write('a', 'x', { exclusive: true }))) as SftpError
  assert.is(taken.status, STATUS.FAILURE)
  assert.is(taken.message, 'File exists')
  const big = new Uint8Array(3_000_000).map((_, index) => index * 7)
  await sftp.write('big', big)
  assert.equal(await sftp.read('big'), big)
  await sftp.write('empty', '')
  assert.is((await sftp.read('empty')).length, 0)
  await dispose()
})

test('streams carry bytes in order, from and to any position', async () => {
  const { sftp, dispose } = await session(memoryFileSystem())
  const writer = (await sftp.writable('a')).getWriter()
  for (let i = 0; i < 100; i++) await writer.write(new Uint8Array(10_000).fill(i))
  await writer.close()
  const chunks: Uint8Array[] = []
  const reader = (await sftp.readable('a', { position: 5000 })).getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    chunks.push(value)
  }
  const all = collect(chunks, 995_000)
  assert.ok(all.every((byte, index) => byte === Math.floor((index + 5000) / 10_000)))
  const patch = (await sftp.writable('a', { position: 3 })).getWriter()
  await patch.write(text.encode('xyz'))
  await patch.close()
  assert.equal([...(await sftp.read('a', { length: 8 }))], [0, 0, 0, 120, 121, 122, 0, 0])
  const cancelled = await sftp.readable('a')
  await cancelled.cancel()
  const looked = (await sftp.readable('a')).getReader()
  assert.ok(((await looked.read()).value?.length ?? 0) > 0)
  await looked.cancel()
  const dropped = (await sftp.writable('b')).getWriter()
  await dropped.abort()
  await dispose()
})

test('appending through a stream keeps the order of its chunks', async () => {
  const { sftp, dispose } = await session(memoryFileSystem())
  const writer = (await sftp.writable('log', { append: true })).getWriter()
  for (let i = 0; i < 50; i++) void writer.write(text.encode(`${i}\n`))
  await writer.close()
  assert.is(await sftp.readText('log'), Array.from({ length: 50 }, (_, i) => `${i}\n`).join(''))
  await dispose()
})

test('handles read, write, truncate and sync at any position', async () => {
  const { sftp, dispose } = await session(memoryFileSystem())
  const file = await sftp.open('a', { read: true, write: true, create: true }, 0o640)
  await file.write(text.encode('0123456789'), 0)
  await file.truncate(5)
  const into = new Uint8Array(10)
  assert.is(await file.read(into, 2), 3)
  assert.is((await file.stat()).size, 5)
  await sftp.fsync(file)
  assert.ok((await file.statvfs()).blocks > 0)
  await file.close()
  assert.instance(await rejection(file.read(into, 0)), SftpError)
  await dispose()
})

test('directories are made, listed, and removed with everything in them', async () => {
  const { sftp, dispose } = await session(memoryFileSystem())
  await sftp.mkdirs('/a/b/c')
  await sftp.mkdirs('/a/b/c')
  await sftp.write('/a/file', 'x')
  assert.instance(await rejection(sftp.mkdirs('/a/file/d')), SftpError)
  for (let i = 0; i < 300; i++) await sftp.write(`/a/b/f${i}`, '')
  await sftp.write('/keep', 'me')
  await sftp.symlink('/keep', '/a/b/link')
  await sftp.symlink('/', '/a/b/c/root')
  const names: string[] = []
  for await (const entry of sftp.readdir('/a/b')) names.push(entry.name)
  assert.is(names.length, 302)
  const listed = await sftp.list('/a')
  assert.equal(
    listed.map(({ name }) => name),
    ['b', 'file'],
  )
  assert.match(listed[0]?.longname ?? '', /^drwxr-xr-x .* b$/)
  assert.ok(isDirectory(listed[0]?.attributes ?? {}))
  await sftp.removeAll('/a')
  assert.not.ok(await sftp.exists('/a'))
  assert.is(await sftp.readText('/keep'), 'me')
  await dispose()
})

test('renaming replaces unless told not to', async () => {
  const { sftp, dispose } = await session(memoryFileSystem())
  await sftp.write('a', 'A')
  await sftp.write('b', 'B')
  assert.instance(await rejection(sftp.rename('a', 'b', { overwrite: false })), SftpError)
  await sftp.rename('a', 'b')
  assert.is(await sftp.readText('b'), 'A')
  await dispose()
})

test('links of both kinds, real paths and homes', async () => {
  const { sftp, dispose } = await session(memoryFileSystem({ home: '/home/ada' }))
  await sftp.write('a', 'A')
  await sftp.symlink('a', 'l')
  await sftp.hardlink('a', 'h')
  assert.is(await sftp.readlink('l'), 'a')
  assert.ok(isSymlink(await sftp.lstat('l')))
  assert.is(await sftp.readText('h'), 'A')
  assert.is(await sftp.realpath('l'), '/home/ada/a')
  assert.is(await sftp.realpath('.'), '/home/ada')
  assert.is(await sftp.homeDirectory(), '/home/ada')
  assert.is(await sftp.expandPath('~/x'), '/home/ada/x')
  assert.is(await sftp.expandPath('~'), '/home/ada')
  assert.is(await sftp.expandPath('x'), '/home/ada/x')
  assert.instance(await rejection(sftp.expandPath('~nobody/x')), SftpError)
  await dispose()
})

test('symbolic links are made in the order the server expects', async () => {
  for (const identification of ['SSH-2.0-OpenSSH_9.2', 'SSH-2.0-AsyncSSH_2.10.1']) {
    const files = memoryFileSystem()
    const { sftp, dispose } = await session(
      files,
      { clientIdentification: identification },
      { serverIdentification: identification },
    )
    await sftp.symlink('target', 'link')
    assert.is(await files.readlink('link'), 'target')
    await dispose()
  }
})

test('limits, statvfs, names of users, and copies at the server', async () => {
  const { sftp, dispose } = await session(
    memoryFileSystem({ users: new Map([[7, 'ada']]), groups: new Map([[8, 'staff']]) }),
    { handlesMax: 100 },
  )
  assert.equal(await sftp.limits(), {
    packetBytesMax: 262_144,
    readBytesMax: 261_120,
    writeBytesMax: 261_120,
    handlesMax: 100,
  })
  assert.is((await sftp.statvfs('/')).nameBytesMax, 255)
  assert.equal(await sftp.usersGroupsById([7, 9], [8]), {
    users: ['ada', undefined],
    groups: ['staff'],
  })
  const big = new Uint8Array(700_000).map((_, index) => index)
  await sftp.write('a', big)
  await sftp.copyData('a', 'b')
  assert.equal(await sftp.read('b'), big)
  assert.instance(await rejection(sftp.copyData('a', 'a')), SftpError)
  await dispose()
})

test('names that are not UTF-8 are listed, opened and removed', async () => {
  const { sftp, dispose } = await session(memoryFileSystem())
  const name = decodePath(Uint8Array.of(0xff, 0x61, 0xc3))
  await sftp.write(name, 'x')
  assert.equal(
    (await sftp.list('/')).map((entry) => entry.name),
    [name],
  )
  assert.is(await sftp.readText(name), 'x')
  await sftp.remove(name)
  assert.instance(await rejection(sftp.stat('a\ud800')), TypeError)
  await dispose()
})

test('what a server does not offer is not asked of it', async () => {
  const { sftp, dispose } = await session(memoryFileSystem(), { allow: ['stat'] })
  const error = (await rejection(sftp.hardlink('a', 'b'))) as SftpError
  assert.is(error.status, STATUS.OP_UNSUPPORTED)
  assert.match(error.message, /hardlink@openssh.com/)
  await dispose()
})

test('many requests at once are answered each with its own', async () => {
  const { sftp, dispose } = await session(memoryFileSystem())
  await Promise.all(Array.from({ length: 300 }, (_, i) => sftp.write(`f${i}`, String(i))))
  const texts = await Promise.all(Array.from({ length: 300 }, (_, i) => sftp.readText(`f${i}`)))
  assert.equal(
    texts,
    Array.from({ length: 300 }, (_, i) => String(i)),
  )
  await dispose()
})

test('after the end everything rejects, and closing twice is fine', async () => {
  const { sftp, dispose } = await session(memoryFileSystem())
  await dispose()
  await sftp.close()
  assert.is(((await rejection(sftp.stat('/'))) as SshError).code, 'SSH_CONNECTION_LOST')
})

test('an abort ends the session at once', async () => {
  const { sftp, served } = await session(memoryFileSystem())
  const waiting = sftp.stat('/')
  sftp.abort()
  assert.is(((await rejection(waiting)) as SshError).code, 'SSH_ABORTED')
  assert.instance(await rejection(within(2000, served)), Error)
})

/** A server made of bytes: greets, then answers each request as told. */
async function scripted(
  answer: (packet: Uint8Array, transport: Transport) => Promise<void>,
  greeting: Uint8Array = wire.version.encode({ version: 3, extensions: new Map() }),
): Promise<Transport> {
  const [left, right] = memoryPair()
  const reader = new PacketReader(right, new BufferPool())
  void (async () => {
    await reader.next()
    await right.write(frame(greeting))
    for (let packet = await reader.next(); packet !== undefined; packet = await reader.next()) {
      await answer(packet, right)
    }
    await right.close()
  })().catch(() => {})
  return left
}

test('a server that speaks another version or no SFTP is refused', async () => {
  const older = await scripted(
    async () => {},
    wire.version.encode({ version: 2, extensions: new Map() }),
  )
  assert.match(((await rejection(openSftp(older))) as Error).message, /version 2/)
  const text = await scripted(
    async () => {},
    Uint8Array.from('Please login', (c) => c.charCodeAt(0)),
  )
  assert.is(((await rejection(openSftp(text))) as SshError).code, 'SSH_PROTOCOL')
  const [left, right] = memoryPair()
  await right.close()
  assert.is(((await rejection(openSftp(left))) as SshError).code, 'SSH_CONNECTION_LOST')
})

test('opening can be given up', async () => {
  const [left] = memoryPair()
  const opening = openSftp(left, { signal: AbortSignal.timeout(10) })
  assert.is(((await rejection(within(2000, opening))) as SshError).code, 'SSH_TIMEOUT')
})

test('a server that answers what was not asked, or too much, loses the session', async () => {
  const answers: readonly ((id: number) => Uint8Array)[] = [
    (id) => wire.status.encode({ id: id + 1, status: 0, message: '', language: '' }),
    (id) => wire.name.encode({ id, entries: [] }),
    () => Uint8Array.of(1, 2),
    (id) => Uint8Array.of(wire.FXP.ATTRS, 0, 0, 0, id, 255),
    (id) => wire.status.encode({ id, status: 0, message: '', language: '' }),
  ]
  for (const make of answers) {
    const transport = await scripted(async (packet, peer) => {
      await peer.write(frame(make(packet[4] ?? 0)))
    })
    const sftp = await openSftp(transport)
    const error = await rejection(within(2000, sftp.stat('/')))
    assert.is((error as SshError).code, 'SSH_PROTOCOL')
    sftp.abort()
  }
})

test('more data than was asked for is an error, not memory', async () => {
  const transport = await scripted(async (packet, peer) => {
    const id = packet[4] ?? 0
    const reply =
      packet[0] === wire.FXP.OPEN
        ? wire.handle.encode({ id, handle: Uint8Array.of(1) })
        : wire.data.encode({ id, data: new Uint8Array(100_000) })
    await peer.write(frame(reply))
  })
  const sftp = await openSftp(transport)
  const error = await rejection(within(2000, sftp.read('a', { length: 10 })))
  assert.is((error as SshError).code, 'SSH_PROTOCOL')
  sftp.abort()
})

test("a server's message cannot play with a terminal", async () => {
  const transport = await scripted(async (packet, peer) => {
    const id = packet[4] ?? 0
    const message = '\u001b]0;owned\u0007no'
    await peer.write(frame(wire.status.encode({ id, status: 4, message, language: '' })))
  })
  const sftp = await openSftp(transport)
  assert.is(((await rejection(sftp.stat('/'))) as Error).message, '\\x1b]0;owned\\x07no')
  sftp.abort()
})

test('any bytes from a server end in an error of ours, never in a hang', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 60 }), async (noise) => {
      const transport = await scripted(async (packet, peer) => {
        const reply = Uint8Array.of(noise[0] ?? 0, ...packet.subarray(1, 5), ...noise.subarray(1))
        await peer.write(frame(reply))
      })
      const sftp = await openSftp(transport)
      const error = await within(2000, sftp.stat('/')).catch((reason: unknown) => reason)
      if (error instanceof Error) assert.instance(error, SshError)
      sftp.abort()
    }),
    { numRuns: 200 },
  )
})

test.run()
