/** The guest's files: the suite every file system passes, and what is the agent's own. */
// Also on: bun
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { type Client, connect, generateKey, memoryPair, none, pinned } from '@sandbox-ssh/protocol'
import {
  memoryFileSystem,
  openSftp,
  type SftpFileSystem,
  STATUS,
  scpGet,
  scpPut,
} from '@sandbox-ssh/sftp'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { fileSystemSuite } from '../../sftp/test/suites/file-system.ts'
import { AgentError } from '../src/agent/error.ts'
import { guestFileSystem } from '../src/file-system.ts'
import { GuestConnection } from '../src/guest-connection.ts'
import { nativeSession } from '../src/native-session.ts'
import { serveGuest } from '../src/serve-guest.ts'
import { SshClient } from '../src/ssh-client.ts'
import { memorySandbox } from './memory-sandbox.ts'
import { within } from './within.ts'

interface GuestFiles {
  readonly files: SftpFileSystem
  readonly guest: GuestConnection
  readonly directory: string
  readonly dispose: () => Promise<void>
}

async function open(login = 'root', features?: readonly []): Promise<GuestFiles> {
  const { sandbox, directory } = memorySandbox(features === undefined ? {} : { features })
  const guest = new GuestConnection(() => sandbox.connectAgent(), sandbox.settings)
  const files = await guestFileSystem(guest, login)
  return { files, guest, directory, dispose: () => guest.close() }
}

fileSystemSuite('files of a guest', () => open(), {
  // The agent's paths are text.
  byteNames: false,
  fractionalTimes: false,
  linkCounts: false,
  errnos: true,
  nameBytesMax: 255,
}).run()

{
  const test = suite('files of a guest, beyond the suite')
  const add = (title: string, body: (context: GuestFiles) => Promise<void>): void =>
    test(title, () =>
      within(20_000, async () => {
        const context = await open()
        try {
          await body(context)
        } finally {
          await context.dispose()
        }
      }),
    )

  add('relative paths start at home', async ({ files, directory }) => {
    assert.is(await files.realpath('.'), directory)
    assert.is(await files.realpath(''), directory)
    assert.is(await files.homeDirectory?.(''), directory)
    writeFileSync(join(directory, 'here'), 'x')
    assert.is((await files.stat('here')).size, 1)
  })

  add('closing waits for the agent only where something was written', async (context) => {
    const { files, guest, directory } = context
    writeFileSync(join(directory, 'here'), 'x')
    const agent = await guest.agent()
    const [read, written] = [
      await files.open('here', { read: true }),
      await files.open('here', { write: true }),
    ]
    let release = (): void => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const fs = agent.fs.bind(agent)
    const slow: typeof agent.fs = async (op, fields) => {
      if (op === 'CloseHandle') await held
      return fs(op, fields)
    }
    Object.assign(agent, { fs: slow })
    await read.close()
    let isClosed = false
    const closing = written.close().then(() => {
      isClosed = true
    })
    await files.stat('here')
    assert.is(isClosed, false)
    release()
    await closing
  })

  add('a FIFO is not opened, nothing waits for it', async ({ files, directory }) => {
    execFileSync('mkfifo', [join(directory, 'pipe')])
    await rejects(files.open('pipe', { read: true }), STATUS.FAILURE, /pipe/)
    symlinkSync('pipe', join(directory, 'link'))
    await rejects(files.open('link', { write: true }), STATUS.FAILURE, /pipe/)
    // Truncating opens, in the agent.
    await rejects(files.setstat('link', { size: 0 }), STATUS.BAD_MESSAGE)
    await rejects(files.setstat('pipe', { size: 0, mode: 0o600 }), STATUS.BAD_MESSAGE)
    await files.setstat('pipe', { mode: 0o600 })
  })

  add('devices that open at once are opened', async ({ files, directory }) => {
    symlinkSync('/dev/zero', join(directory, 'zeros'))
    const zeros = await files.open('zeros', { read: true })
    assert.is(await zeros.read(new Uint8Array(100), 0), 100)
    await zeros.close()
    const nothing = await files.open('/dev/null', { write: true })
    await nothing.write(new Uint8Array(100), 0)
    await nothing.close()
  })

  add('no other device is opened by an agent that would wait for it', async () => {
    const { files, dispose } = await open('root', [])
    await rejects(files.open('/dev/ptmx', { read: true }), STATUS.FAILURE, /device/)
    await (await files.open('/dev/../dev/zero', { read: true })).close()
    await dispose()
  })

  add('a name that is not UTF-8 is refused, not replaced', async ({ files }) => {
    await rejects(files.open('a\udcff', { write: true, create: true }), STATUS.BAD_MESSAGE, /UTF-8/)
    await rejects(files.symlink('a\udcff', 'link'), STATUS.BAD_MESSAGE, /UTF-8/)
    assert.equal(await list(files, '.'), [])
  })

  add('mkdir does not make parents', async ({ files, directory }) => {
    await rejects(files.mkdir('a/b'), STATUS.NO_SUCH_FILE)
    writeFileSync(join(directory, 'file'), '')
    await rejects(files.mkdir('file/b'), STATUS.NO_SUCH_FILE)
  })

  add('files can be made and emptied without the right to write', async ({ files, directory }) => {
    const made = await files.open('new', { read: true, create: true }, 0o640)
    await rejects(made.write(Uint8Array.of(1), 0), STATUS.NO_SUCH_FILE)
    await made.close()
    assert.is(statSync(join(directory, 'new')).mode & 0o777, 0o640)
    writeFileSync(join(directory, 'full'), 'text')
    await (await files.open('full', { read: true, truncate: true })).close()
    assert.is(statSync(join(directory, 'full')).size, 0)
  })

  add('appending and truncating together', async ({ files, directory }) => {
    writeFileSync(join(directory, 'log'), 'old')
    const file = await files.open('log', { append: true, truncate: true, create: true })
    await file.write(new TextEncoder().encode('one'), 0)
    await file.write(new TextEncoder().encode('two'), 0)
    await file.close()
    assert.is(readFileSync(join(directory, 'log'), 'utf8'), 'onetwo')
  })

  add('hard links and sizes of file systems come from programs', async ({ files, directory }) => {
    writeFileSync(join(directory, '-a b'), 'x')
    await files.hardlink?.('-a b', 'second')
    assert.is(statSync(join(directory, 'second')).nlink, 2)
    await rejects(files.hardlink?.('-a b', 'second'), STATUS.FAILURE, /exists/)
    mkdirSync(join(directory, 'dir'))
    await rejects(files.hardlink?.('-a b', 'dir'), STATUS.FAILURE, /exists/)
    await rejects(files.hardlink?.('missing', 'third'), STATUS.NO_SUCH_FILE)
    const stat = await files.statvfs?.('.')
    assert.ok(stat !== undefined && stat.blocks > 0 && stat.fragmentSize >= 512)
    await rejects(files.statvfs?.('missing'), STATUS.NO_SUCH_FILE)
  })

  add('a file is synced by a program, under whatever name', async ({ files, directory }) => {
    const file = await files.open('file', { write: true, create: true })
    await file.write(Uint8Array.of(1), 0)
    await file.sync?.()
    await files.rename('file', 'other')
    await file.sync?.()
    await file.close()
    assert.is(statSync(join(directory, 'other')).size, 1)
    assert.type(file.sync, 'function')
  })

  add('names for ids come from the tables of the guest', async ({ files }) => {
    const names = await files.usersGroupsById?.([0, 4_000_000_000], [0])
    assert.equal(names, { users: ['root', undefined], groups: ['root'] })
  })

  add('handles are counted and given back', async ({ files, directory }) => {
    writeFileSync(join(directory, 'file'), 'x')
    const opened = []
    for (;;) {
      try {
        opened.push(await files.open('file', { read: true }))
      } catch (error) {
        assert.match(String(error), /Too many open files/)
        break
      }
      assert.ok(opened.length <= 1024)
    }
    assert.ok(opened.length > 500)
    await rejects(files.opendir('.'), STATUS.FAILURE, /Too many/)
    await Promise.all(opened.map((file) => file.close()))
    await (await files.opendir('.')).close()
  })

  if (process.getuid?.() === 0) {
    test('what another user makes is his', () =>
      within(20_000, async () => {
        const { files, directory, dispose } = await open('65534')
        try {
          chmodSync(directory, 0o777)
          const shared = join(directory, 'shared')
          mkdirSync(shared)
          chownSync(shared, 0, 12_345)
          chmodSync(shared, 0o2777)
          const at = (name: string): string => join(directory, name)
          await (await files.open(at('file'), { write: true, create: true })).close()
          await (await files.open(at('read'), { read: true, create: true })).close()
          await (await files.open(at('shared/file'), { write: true, create: true })).close()
          await files.mkdir(at('dir'))
          await files.symlink('nowhere', at('link'))
          for (const name of ['file', 'read', 'dir', 'link', 'shared/file']) {
            assert.is(lstatSync(at(name)).uid, 65_534, name)
          }
          await rejects(files.open('/etc/shadow', { read: true }), STATUS.PERMISSION_DENIED)
          await rejects(files.mkdir('/root/mine'), STATUS.PERMISSION_DENIED)
          // A set-gid directory hands its group down.
          assert.is(lstatSync(at('shared/file')).gid, 12_345)
        } finally {
          await dispose()
        }
      }))
  }

  if (process.getuid?.() === 0) {
    test('another user has what the kernel lets him, with or without an sftp-server inside', () =>
      within(20_000, async () => {
        for (const hidden of [false, true]) {
          const { sandbox, directory } = memorySandbox()
          const agent = await sandbox.connectAgent()
          const fs = agent.fs.bind(agent)
          agent.fs = (op, fields, call) =>
            hidden && op === 'Stat' && 'path' in fields && fields.path.endsWith('/sftp-server')
              ? Promise.reject(new AgentError('fs', 'stat: nothing (os error 2)', { errno: 2 }))
              : fs(op, fields, call)
          const guest = new GuestConnection(() => Promise.resolve(agent))
          const { client, done } = await enter(guest, '65534')
          const sftp = await openSftp(client)
          chmodSync(directory, 0o777)
          await sftp.write(join(directory, 'mine'), 'text')
          assert.is(lstatSync(join(directory, 'mine')).uid, 65_534)
          await rejects(sftp.read('/etc/shadow'), STATUS.PERMISSION_DENIED)
          await rejects(sftp.setstat('/etc/passwd', { mode: 0o777 }), STATUS.PERMISSION_DENIED)
          await rejects(sftp.list('/root'), STATUS.PERMISSION_DENIED)
          await client.close()
          await done
        }
      }))
  }

  test('SFTP through a client: large files both ways, a large directory, an end', () =>
    within(60_000, async () => {
      const { sandbox, directory, clientCount } = memorySandbox()
      const client = await SshClient.open(sandbox, {})
      const sftp = await client.sftp()
      const data = new Uint8Array(5_000_000).map((_, index) => index * 7 + (index >> 8))
      await sftp.write('data', data)
      assert.equal(readFileSync(join(directory, 'data')), Buffer.from(data))
      assert.equal(Buffer.from(await sftp.read('data')), Buffer.from(data))
      for (let index = 0; index < 1000; index++) writeFileSync(join(directory, `f${index}`), '')
      assert.is((await sftp.list('.')).filter(({ name }) => /^f\d+$/.test(name)).length, 1000)
      await client.close()
      assert.is(clientCount(), 0)
    }))

  test("scp's old protocol without an scp in the guest", () =>
    within(20_000, async () => {
      const { sandbox, directory } = memorySandbox()
      const agent = await sandbox.connectAgent()
      const fs = agent.fs.bind(agent)
      // This machine's scp is hidden from the bridge, which must then do without.
      agent.fs = (op, fields, call) =>
        op === 'Stat' && 'path' in fields && /\/scp$/.test(fields.path)
          ? Promise.reject(new AgentError('fs', 'stat: nothing (os error 2)', { errno: 2 }))
          : fs(op, fields, call)
      const guest = new GuestConnection(() => Promise.resolve(agent))
      const { client, done } = await enter(guest, 'root')
      const from = join(directory, 'from')
      writeFileSync(from, 'by scp')
      const local = memoryFileSystem()
      await scpGet(client, from, local, '/copy')
      await scpPut(client, local, '/copy', join(directory, 'back'))
      assert.is(readFileSync(join(directory, 'back'), 'utf8'), 'by scp')
      const missing = await client.run(`scp -f '${directory}/missing'`, { stdin: '\0' })
      assert.is(missing.code, 1)
      await client.close()
      await done
    }))

  test('an unknown user gets no files, and is told', () =>
    within(20_000, async () => {
      const { sandbox } = memorySandbox()
      const session = await nativeSession(sandbox, { user: 'nobody-of-that-name' })
      const channel = await session.client.subsystem('sftp')
      assert.is(await channel.read(), undefined)
      await session.close()
    }))

  test.run()
}

/** A client of a guest, let in without a question. */
async function enter(
  guest: GuestConnection,
  username: string,
): Promise<{ client: Client; done: Promise<void> }> {
  const key = generateKey('ed25519')
  const [ours, theirs] = memoryPair()
  const serving = serveGuest(theirs, guest, { hostKeys: [key], auth: { none: () => true } })
  const hostKey = pinned(key.publicKey)
  const client = await connect(ours, { username, hostKey, auth: [none()] })
  return { client, done: serving.then(({ closed }) => closed.then(() => guest.close())) }
}

async function list(files: SftpFileSystem, path: string): Promise<string[]> {
  const directory = await files.opendir(path)
  const names: string[] = []
  for (let entries = await directory.read(100); entries !== undefined; ) {
    names.push(...entries.map(({ name }) => name).filter((name) => name !== '.' && name !== '..'))
    entries = await directory.read(100)
  }
  await directory.close()
  return names
}

async function rejects(
  work: Promise<unknown> | undefined,
  status: number,
  message: RegExp = /./,
): Promise<void> {
  try {
    await work
  } catch (error) {
    assert.is((error as { status?: number }).status, status, String(error))
    assert.match(String(error), message)
    return
  }
  assert.unreachable('it did not fail')
}
