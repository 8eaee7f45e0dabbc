// The server, packet by packet.
import { memoryPair, type SshError } from '@sandbox-ssh/protocol'
import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { SftpFileSystem } from '../src/file-system.ts'
import { memoryFileSystem } from '../src/memory-file-system.ts'
import { requestNames, sftpServer } from '../src/server.ts'
import { errnoError, STATUS } from '../src/status.ts'
import * as wire from '../src/wire.ts'
import { RawClient } from './raw-client.ts'
import { rejection, within } from './within.ts'

const ALL_EXTENSIONS = [
  'posix-rename@openssh.com',
  'statvfs@openssh.com',
  'fstatvfs@openssh.com',
  'hardlink@openssh.com',
  'fsync@openssh.com',
  'lsetstat@openssh.com',
  'limits@openssh.com',
  'expand-path@openssh.com',
  'copy-data',
  'home-directory',
  'users-groups-by-id@openssh.com',
]

type Members = { readonly [K in keyof SftpFileSystem]?: SftpFileSystem[K] | undefined }

/** `files` with some members replaced, or taken away. */
function changed(files: SftpFileSystem, members: Members): SftpFileSystem {
  return new Proxy(files, {
    get(target, name) {
      if (name in members) return Reflect.get(members, name)
      const member: unknown = Reflect.get(target, name)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}

/** Turns of the event loop until something holds. */
async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; !holds(); turn++) {
    assert.ok(turn < 2000, 'it never came to hold')
    await new Promise<void>((resolve) => setTimeout(resolve, 0))
  }
}

function extended(id: number, request: string, data: Uint8Array): Uint8Array {
  return wire.extended.encode({ id, request, data })
}

test('all extensions are announced, and those the files cannot do are not', async () => {
  const client = new RawClient(memoryFileSystem())
  assert.equal(await client.greet(), ALL_EXTENSIONS)
  await client.end()
  const poor = changed(memoryFileSystem(), {
    hardlink: undefined,
    statvfs: undefined,
    homeDirectory: undefined,
    usersGroupsById: undefined,
  })
  const other = new RawClient(poor)
  const names = await other.greet()
  assert.not.ok(names.includes('hardlink@openssh.com'))
  assert.not.ok(names.includes('statvfs@openssh.com'))
  assert.not.ok(names.includes('expand-path@openssh.com'))
  const data = wire.twoPaths.encode({ oldPath: 'a', newPath: 'b' })
  await other.send(extended(5, 'hardlink@openssh.com', data))
  assert.is((await other.status()).status, STATUS.OP_UNSUPPORTED)
  await other.end()
})

test('an unknown extension and an unknown request are unsupported, and the session goes on', async () => {
  const client = new RawClient(memoryFileSystem())
  await client.greet()
  await client.send(extended(7, 'nothing@example.com', new Uint8Array(3)))
  assert.equal(await client.status().then(({ id, status }) => [id, status]), [7, 8])
  await client.send(Uint8Array.of(99, 0, 0, 0, 8))
  assert.equal(await client.status().then(({ id, status }) => [id, status]), [8, 8])
  await client.end()
})

test('malformed packets end the session, files closed, without an answer', async () => {
  const cases: readonly (readonly [string, Uint8Array])[] = [
    ['a length past the end', Uint8Array.of(wire.FXP.STAT, 0, 0, 0, 1, 0, 0, 1, 0, 0x61)],
    ['bytes after the end', Uint8Array.of(...wire.stat.encode({ id: 1, path: 'a' }), 0)],
    ['no id', Uint8Array.of(wire.FXP.STAT, 0)],
    ['a second INIT', wire.init.encode({ version: 3, extensions: new Map() })],
  ]
  for (const [what, packet] of cases) {
    let closed = 0
    const files = memoryFileSystem()
    const counting = changed(files, {
      open: async (...parameters) => {
        const file = await files.open(...parameters)
        return { ...file, close: async () => void closed++ }
      },
    })
    const client = new RawClient(counting)
    await client.greet()
    await client.open('a', { write: true, create: true })
    await client.send(packet)
    const error = await rejection(within(2000, client.served))
    assert.is((error as SshError).code, 'SSH_PROTOCOL', what)
    assert.is(closed, 1, what)
  }
})

test('impossible lengths end the session before anything is allocated', async () => {
  for (const length of [0, 256 * 1024 + 1, 0xffffffff]) {
    const client = new RawClient(memoryFileSystem())
    await client.greet()
    const bytes = new Uint8Array(4)
    new DataView(bytes.buffer).setUint32(0, length)
    await client.transport.write(bytes)
    const error = await rejection(within(2000, client.served))
    assert.is((error as SshError).code, 'SSH_PROTOCOL')
  }
})

test('a session that begins with something else than INIT ends', async () => {
  const client = new RawClient(memoryFileSystem())
  await client.send(wire.stat.encode({ id: 1, path: 'a' }))
  assert.is(((await rejection(within(2000, client.served))) as SshError).code, 'SSH_PROTOCOL')
})

test('a stream that ends inside a packet is a lost connection', async () => {
  const client = new RawClient(memoryFileSystem())
  await client.greet()
  await client.transport.write(Uint8Array.of(0, 0, 0, 50, 1))
  await client.transport.close()
  const error = await rejection(within(2000, client.served))
  assert.is((error as SshError).code, 'SSH_CONNECTION_LOST')
})

test('any sequence of damaged requests is answered or ends the session, never hangs', async () => {
  const samples = [
    wire.open.encode({ id: 1, path: 'a', flags: { read: true, create: true }, attributes: {} }),
    wire.read.encode({ id: 2, handle: Uint8Array.of(0, 0, 0, 1), position: 0, length: 100 }),
    wire.write.encode({
      id: 3,
      handle: Uint8Array.of(0, 0, 0, 1),
      position: 9,
      data: new Uint8Array(9),
    }),
    wire.close.encode({ id: 4, handle: Uint8Array.of(0, 0, 0, 1) }),
    wire.opendir.encode({ id: 5, path: '/' }),
    wire.readdir.encode({ id: 6, handle: Uint8Array.of(0, 0, 0, 2) }),
    wire.setstat.encode({ id: 7, path: 'a', attributes: { size: 5, mode: 0o777 } }),
    wire.rename.encode({ id: 8, oldPath: 'a', newPath: 'b' }),
    wire.symlink.encode({ id: 9, first: 'a', second: 'c' }),
    extended(10, 'copy-data', new Uint8Array(40)),
    extended(11, 'users-groups-by-id@openssh.com', new Uint8Array(8)),
    extended(12, 'statvfs@openssh.com', wire.onePath.encode({ path: '/' })),
  ]
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.constantFrom(...samples), fc.nat(60), fc.nat(255), fc.boolean()), {
        maxLength: 20,
      }),
      async (steps) => {
        const client = new RawClient(memoryFileSystem({ capacityBytes: 2 ** 20 }))
        await client.greet()
        for (const [sample, at, byte, damage] of steps) {
          const packet = sample.slice()
          if (damage) packet[at % packet.length] = byte
          await client.send(packet).catch(() => {})
        }
        await client.transport.close().catch(() => {})
        const error = await within(5000, client.served, 'the server').then(
          () => undefined,
          (reason: unknown) => reason,
        )
        if (error !== undefined) assert.is((error as SshError).code, 'SSH_PROTOCOL')
      },
    ),
    { numRuns: 150 },
  )
})

test('handles are bounded, unknown ones refused, closed ones gone for good', async () => {
  const client = new RawClient(memoryFileSystem(), { handlesMax: 2 })
  await client.greet()
  const first = await client.open('a', { write: true, create: true })
  const second = await client.open('b', { write: true, create: true })
  await client.send(wire.opendir.encode({ id: 9, path: '/' }))
  assert.match((await client.status()).message, /Too many/)
  await client.send(wire.close.encode({ id: 10, handle: first }))
  assert.is((await client.status()).status, STATUS.OK)
  const third = await client.open('c', { write: true, create: true })
  assert.not.equal(third, first)
  for (const handle of [first, Uint8Array.of(9), new Uint8Array(300)]) {
    await client.send(wire.fstat.encode({ id: 11, handle }))
    assert.is((await client.status()).status, STATUS.FAILURE)
  }
  await client.send(wire.readdir.encode({ id: 12, handle: second }))
  assert.is((await client.status()).status, STATUS.FAILURE)
  await client.end()
})

/** `files` whose reads and writes wait for their gate, which has the position's name. */
function gated(files: SftpFileSystem): {
  readonly files: SftpFileSystem
  readonly gates: Map<number, () => void>
} {
  const gates = new Map<number, () => void>()
  const gate = (position: number): Promise<void> =>
    new Promise((resolve) => gates.set(position, resolve))
  const slow = changed(files, {
    open: async (...parameters) => {
      const file = await files.open(...parameters)
      return {
        ...file,
        async read(into, position) {
          await gate(position)
          return file.read(into, position)
        },
        async write(data, position) {
          await gate(position)
          await file.write(data, position)
        },
      }
    },
  })
  return { files: slow, gates }
}

test('replies come as requests finish, and CLOSE waits for those on its handle', async () => {
  const { files, gates } = gated(memoryFileSystem())
  const client = new RawClient(files)
  await client.greet()
  const handle = await client.open('a', { read: true, write: true, create: true })
  const other = await client.open('b', { read: true, create: true })
  await client.send(
    wire.read.encode({ id: 3, handle, position: 0, length: 10 }),
    wire.read.encode({ id: 4, handle: other, position: 10, length: 10 }),
    wire.close.encode({ id: 5, handle }),
    wire.fstat.encode({ id: 6, handle: other }),
    wire.fstat.encode({ id: 7, handle }),
  )
  await until(() => gates.size === 2)
  gates.get(10)?.()
  assert.is((await client.status()).id, 4)
  assert.is((await client.next())[4], 6)
  gates.get(0)?.()
  assert.is((await client.status()).id, 3)
  assert.is((await client.status()).id, 5)
  const refused = await client.status()
  assert.equal([refused.id, refused.status], [7, STATUS.FAILURE])
  await client.end()
})

test('paramiko, pscp: replies about the data of one handle keep their order', async () => {
  const { files, gates } = gated(memoryFileSystem())
  const client = new RawClient(files)
  await client.greet()
  const handle = await client.open('a', { read: true, write: true, create: true })
  const other = await client.open('b', { write: true, create: true })
  const data = new Uint8Array(10)
  await client.send(
    wire.write.encode({ id: 2, handle, position: 0, data }),
    wire.write.encode({ id: 3, handle, position: 10, data }),
    wire.write.encode({ id: 4, handle: other, position: 20, data }),
    wire.read.encode({ id: 5, handle, position: 30, length: 10 }),
    wire.read.encode({ id: 6, handle, position: 40, length: 10 }),
  )
  // All are under way at once, whatever the order of the replies.
  await until(() => gates.size === 5)
  for (const position of [40, 30, 10, 20]) gates.get(position)?.()
  assert.is((await client.status()).id, 4)
  gates.get(0)?.()
  for (const id of [2, 3, 5, 6]) assert.is((await client.status()).id, id)
  await client.end()
})

test('pipelined requests about one path behave as if sent one by one', async () => {
  const client = new RawClient(memoryFileSystem())
  await client.greet()
  await client.send(
    wire.mkdir.encode({ id: 2, path: 'd', attributes: {} }),
    wire.open.encode({ id: 3, path: 'd/f', flags: { write: true, create: true }, attributes: {} }),
    wire.stat.encode({ id: 4, path: 'd/f' }),
    wire.rename.encode({ id: 5, oldPath: 'd', newPath: 'e' }),
    wire.stat.encode({ id: 6, path: 'e/f' }),
    wire.stat.encode({ id: 7, path: 'd/f' }),
    wire.remove.encode({ id: 8, path: 'e/f' }),
    wire.rmdir.encode({ id: 9, path: 'e' }),
  )
  const types = new Map<number, number>()
  for (let i = 0; i < 8; i++) {
    const packet = await client.next()
    const id = new DataView(packet.buffer, packet.byteOffset).getUint32(1)
    const isStatus = packet[0] === wire.FXP.STATUS
    types.set(id, isStatus ? wire.status.decode(packet).status : -(packet[0] ?? 0))
  }
  const ok = STATUS.OK
  assert.equal(
    [2, 3, 4, 5, 6, 7, 8, 9].map((id) => types.get(id)),
    [ok, -wire.FXP.HANDLE, -wire.FXP.ATTRS, ok, -wire.FXP.ATTRS, STATUS.NO_SUCH_FILE, ok, ok],
  )
  await client.end()
})

test('requests in flight are bounded, however many are sent', async () => {
  let running = 0
  let most = 0
  const files = memoryFileSystem()
  const slow = changed(files, {
    async lstat(path) {
      running++
      most = Math.max(most, running)
      await new Promise<void>((resolve) => setTimeout(resolve, 1))
      running--
      return files.lstat(path)
    },
  })
  const client = new RawClient(slow)
  await client.greet()
  const count = 1000
  const sending = client.send(
    ...Array.from({ length: count }, (_, id) => wire.lstat.encode({ id, path: '/' })),
  )
  for (let i = 0; i < count; i++) await within(5000, client.next())
  await sending
  assert.ok(most > 1 && most <= 128, `${most} at once`)
  await client.end()
})

test('reads are cut to what a packet holds, and past the end there is EOF', async () => {
  const files = memoryFileSystem()
  const file = await files.open('a', { write: true, create: true })
  await file.write(new Uint8Array(600_000), 0)
  const client = new RawClient(files)
  await client.greet()
  const handle = await client.open('a', { read: true })
  await client.send(wire.read.encode({ id: 2, handle, position: 0, length: 0xffffffff }))
  assert.is(wire.data.decode(await client.next()).data.length, 255 * 1024)
  for (const position of [600_000, 2 ** 40]) {
    await client.send(wire.read.encode({ id: 3, handle, position, length: 10 }))
    assert.is((await client.status()).status, STATUS.EOF)
  }
  await client.send(wire.read.encode({ id: 4, handle, position: 2 ** 63, length: 10 }))
  assert.is((await client.status()).status, STATUS.BAD_MESSAGE)
  await client.send(wire.read.encode({ id: 5, handle, position: 0, length: 0 }))
  assert.is(wire.data.decode(await client.next()).data.length, 0)
  await client.end()
})

test('a listing has dots, owners and real types, in several replies', async () => {
  const files = memoryFileSystem({ users: new Map([[0, 'root']]), groups: new Map([[0, 'wheel']]) })
  await files.mkdir('d')
  for (let i = 0; i < 250; i++) {
    await (await files.open(`d/f${i}`, { write: true, create: true })).close()
  }
  await files.symlink('f0', 'd/link')
  const client = new RawClient(files)
  await client.greet()
  await client.send(wire.opendir.encode({ id: 2, path: 'd' }))
  const { handle } = wire.handle.decode(await client.next())
  const entries: wire.NameEntry[] = []
  let replies = 0
  for (;;) {
    await client.send(wire.readdir.encode({ id: 3, handle }))
    const packet = await client.next()
    if (packet[0] === wire.FXP.STATUS) {
      assert.is(wire.status.decode(packet).status, STATUS.EOF)
      break
    }
    replies++
    entries.push(...wire.name.decode(packet).entries)
  }
  assert.ok(replies >= 3)
  assert.is(new Set(entries.map(({ name }) => name)).size, 253)
  assert.equal(
    entries.slice(0, 2).map(({ name }) => name),
    ['.', '..'],
  )
  const line = (name: string): string =>
    entries.find((entry) => entry.name === name)?.longname ?? ''
  assert.match(line('.'), /^drwxr-xr-x {3}2 root {5}wheel /)
  assert.match(line('link'), /^lrwxrwxrwx {3}1 root {5}wheel .* link$/)
  assert.match(line('f0'), /^-rw-r--r-- {3}1 root/)
  await client.end()
})

test('read-only mode refuses everything that changes, and nothing else', async () => {
  const files = memoryFileSystem()
  await (await files.open('a', { write: true, create: true })).close()
  const client = new RawClient(files, { readOnly: true })
  await client.greet()
  const two = wire.twoPaths.encode({ oldPath: 'a', newPath: 'b' })
  const refused = [
    wire.open.encode({ id: 2, path: 'a', flags: { write: true }, attributes: {} }),
    wire.open.encode({ id: 2, path: 'a', flags: { read: true, create: true }, attributes: {} }),
    wire.open.encode({ id: 2, path: 'a', flags: { read: true, truncate: true }, attributes: {} }),
    wire.setstat.encode({ id: 2, path: 'a', attributes: { mode: 0 } }),
    wire.remove.encode({ id: 2, path: 'a' }),
    wire.mkdir.encode({ id: 2, path: 'd', attributes: {} }),
    wire.rmdir.encode({ id: 2, path: 'd' }),
    wire.rename.encode({ id: 2, oldPath: 'a', newPath: 'b' }),
    wire.symlink.encode({ id: 2, first: 'a', second: 'b' }),
    extended(2, 'posix-rename@openssh.com', two),
    extended(2, 'hardlink@openssh.com', two),
    extended(2, 'lsetstat@openssh.com', wire.pathAttributes.encode({ path: 'a', attributes: {} })),
  ]
  for (const packet of refused) {
    await client.send(packet)
    assert.is((await client.status()).status, STATUS.PERMISSION_DENIED)
  }
  const handle = await client.open('a', { read: true })
  await client.send(wire.write.encode({ id: 3, handle, position: 0, data: new Uint8Array(1) }))
  assert.is((await client.status()).status, STATUS.PERMISSION_DENIED)
  await client.send(wire.read.encode({ id: 4, handle, position: 0, length: 1 }))
  assert.is((await client.status()).status, STATUS.EOF)
  await client.end()
})

test('denied and not allowed requests are refused and not announced', async () => {
  const denying = new RawClient(memoryFileSystem(), { deny: ['stat', 'statvfs'] })
  assert.not.ok((await denying.greet()).includes('statvfs@openssh.com'))
  await denying.send(wire.stat.encode({ id: 2, path: '/' }))
  assert.is((await denying.status()).status, STATUS.PERMISSION_DENIED)
  await denying.send(wire.lstat.encode({ id: 3, path: '/' }))
  assert.is((await denying.next())[0], wire.FXP.ATTRS)
  await denying.end()
  const allowing = new RawClient(memoryFileSystem(), { allow: ['stat'], deny: [] })
  assert.equal(await allowing.greet(), [])
  await allowing.send(wire.stat.encode({ id: 2, path: '/' }))
  assert.is((await allowing.next())[0], wire.FXP.ATTRS)
  await allowing.send(wire.lstat.encode({ id: 3, path: '/' }))
  assert.is((await allowing.status()).status, STATUS.PERMISSION_DENIED)
  await allowing.end()
  const wrong = new RawClient(memoryFileSystem(), { deny: ['shred'] })
  assert.instance(await rejection(wrong.served), TypeError)
  assert.ok(requestNames.includes('users-groups-by-id'))
})

test('SYMLINK is read in the order its client writes it', async () => {
  const orders: readonly (readonly [string | undefined, boolean])[] = [
    [undefined, true],
    ['SSH-2.0-OpenSSH_9.2p1 Debian-2', true],
    ['SSH-2.0-sandbox-ssh_0.1.0', true],
    ['SSH-2.0-paramiko_2.12.0', true],
    ['SSH-2.0-libssh2_1.10.0', true],
    ['SSH-2.0-Go', true],
    ['SSH-2.0-libssh_0.10.6', false],
    ['SSH-2.0-AsyncSSH_2.10.1', false],
    ['SSH-2.0-ssh2js1.17.0', false],
    ['SSH-2.0-Erlang/4.15', false],
    ['SSH-2.0-Twisted_22.4.0', false],
  ]
  for (const [identification, targetFirst] of orders) {
    const files = memoryFileSystem()
    const options = identification === undefined ? {} : { clientIdentification: identification }
    const client = new RawClient(files, options)
    await client.greet()
    const [first, second] = targetFirst ? ['target', 'link'] : ['link', 'target']
    await client.send(wire.symlink.encode({ id: 2, first, second }))
    assert.is((await client.status()).status, STATUS.OK)
    assert.is(await files.readlink('link'), 'target', identification ?? 'unknown')
    await client.end()
  }
})

test('errors carry the status of their errno and the real text', async () => {
  const texts = [
    ['ENOENT', STATUS.NO_SUCH_FILE, 'No such file or directory'],
    ['EACCES', STATUS.PERMISSION_DENIED, 'Permission denied'],
    ['ENOSPC', STATUS.FAILURE, 'No space left on device'],
    ['ENAMETOOLONG', STATUS.BAD_MESSAGE, 'File name too long'],
    ['ENOSYS', STATUS.OP_UNSUPPORTED, 'Function not implemented'],
  ] as const
  for (const [errno, status, text] of texts) {
    const nodeStyle = Object.assign(new Error(`${errno}: secret detail`), { code: errno })
    for (const error of [errnoError(errno), nodeStyle]) {
      const files = changed(memoryFileSystem(), { stat: () => Promise.reject(error) })
      const client = new RawClient(files)
      await client.greet()
      await client.send(wire.stat.encode({ id: 2, path: 'a' }))
      const reply = await client.status()
      assert.equal([reply.status, reply.message], [status, text])
      await client.end()
    }
  }
})

test('a fault of the file system is a bare failure to the client, and told to onError', async () => {
  const fault = new Error('database password is hunter2')
  const heard: unknown[] = []
  const files = changed(memoryFileSystem(), { stat: () => Promise.reject(fault) })
  const client = new RawClient(files, { onError: (error) => heard.push(error) })
  await client.greet()
  await client.send(wire.stat.encode({ id: 2, path: 'a' }))
  const reply = await client.status()
  assert.equal([reply.status, reply.message], [STATUS.FAILURE, 'Failure'])
  assert.equal(heard, [fault])
  await client.end()
})

test('a client that stops reading is not served without bound', async () => {
  const files = memoryFileSystem()
  const file = await files.open('a', { write: true, create: true })
  await file.write(new Uint8Array(300_000), 0)
  let reads = 0
  const counting = changed(files, {
    open: async (...parameters) => {
      const opened = await files.open(...parameters)
      return {
        ...opened,
        read(into, position) {
          reads++
          return opened.read(into, position)
        },
      }
    },
  })
  const client = new RawClient(counting)
  await client.greet()
  const handle = await client.open('a', { read: true })
  const packet = wire.read.encode({ id: 2, handle, position: 0, length: 255 * 1024 })
  const sending = client.send(...Array.from({ length: 500 }, () => packet))
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setTimeout(resolve, 1))
  // 4 MiB in flight and 256 KiB in the pipe.
  assert.ok(reads < 20, `${reads} reads`)
  client.transport.abort()
  await sending.catch(() => {})
  assert.instance(await rejection(within(2000, client.served)), Error)
})

test('a handler serves a file system made for each session, and tells how it went', async () => {
  const made: string[] = []
  const heard: unknown[] = []
  const handler = sftpServer(
    (session: { transport: RawClient['transport']; username: string }) => {
      made.push(session.username)
      return memoryFileSystem()
    },
    { onError: (error) => heard.push(error) },
  )
  const [left, right] = memoryPair()
  const status = handler({ transport: right, username: 'ada' })
  await left.close()
  assert.is(await status, 0)
  const [bad, worse] = memoryPair()
  const failing = handler({ transport: worse, username: 'bob' })
  await bad.write(Uint8Array.of(0, 0, 0, 0))
  assert.is(await failing, 1)
  assert.equal(made, ['ada', 'bob'])
  assert.is((heard[0] as SshError).code, 'SSH_PROTOCOL')
})

test.run()
