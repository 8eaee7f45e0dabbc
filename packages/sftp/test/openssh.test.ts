// The client against OpenSSH's sftp-server, over its stdin and stdout.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { nodeStreams } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openSftp, type SftpClient } from '../src/client.ts'
import { memoryFileSystem } from '../src/memory-file-system.ts'
import { nodeFileSystem } from '../src/node-file-system.ts'
import { decodePath } from '../src/path.ts'
import { type SftpError, STATUS } from '../src/status.ts'
import { fileSystemSuite } from './suites/file-system.ts'
import { rejection, within } from './within.ts'

const program = [
  '/usr/lib/openssh/sftp-server',
  '/usr/libexec/openssh/sftp-server',
  '/usr/libexec/sftp-server',
].find(existsSync)

interface Session {
  readonly sftp: SftpClient
  readonly directory: string
  readonly dispose: () => Promise<void>
}

/** An sftp-server that starts in an empty directory. */
async function start(path: string): Promise<Session> {
  const directory = await fs.realpath(await fs.mkdtemp(join(tmpdir(), 'sftp-test-')))
  const child = spawn(path, ['-d', directory], { stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const sftp = await openSftp(nodeStreams(child.stdout, child.stdin))
  return {
    sftp,
    directory,
    async dispose() {
      await sftp.close()
      assert.is(await within(5000, exited), 0)
      await fs.rm(directory, { recursive: true })
    },
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

if (program === undefined) {
  test.skip('OpenSSH has no sftp-server on this machine', () => {})
} else {
  // sftp-server answers everything but few errnos with FAILURE, and reading from a write-only handle
  // is the only thing where that shows.
  fileSystemSuite(
    'sftp-server',
    async () => {
      const { sftp, directory, dispose } = await start(program)
      return { files: sftp.fileSystem, directory, dispose }
    },
    {
      byteNames: true,
      fractionalTimes: false,
      linkCounts: false,
      errnos: false,
      nameBytesMax: 255,
    },
  ).run()

  test('100 MiB go there and back with equal hashes', async () => {
    const { sftp, directory, dispose } = await start(program)
    const original = new Uint8Array(100 * 2 ** 20)
    for (let at = 0; at < original.length; at += 4) {
      const mixed = Math.imul(at, 2_654_435_761)
      original[at] = mixed
      original[at + 1] = mixed >>> 8
      original[at + 2] = mixed >>> 16
      original[at + 3] = mixed >>> 24
    }
    await sftp.write('big', original)
    assert.is(sha256(await fs.readFile(join(directory, 'big'))), sha256(original))
    assert.is(sha256(await sftp.read('big')), sha256(original))
    const local = nodeFileSystem(fs, { directory })
    await sftp.get('big', local, 'copy')
    await sftp.put(local, 'copy', 'again')
    assert.is(sha256(await fs.readFile(join(directory, 'again'))), sha256(original))
    await dispose()
  })

  test('a tree of 2,000 small files goes there and back', async () => {
    const { sftp, directory, dispose } = await start(program)
    const near = memoryFileSystem()
    await near.mkdir('tree')
    for (let i = 0; i < 2000; i++) {
      if (i % 100 === 0) await near.mkdir(`tree/${i / 100}`)
      const file = await near.open(`tree/${Math.floor(i / 100)}/${i}`, {
        write: true,
        create: true,
      })
      await file.write(new TextEncoder().encode(`file ${i}`.repeat(i % 50)), 0)
      await file.close()
    }
    const there = await sftp.put(near, 'tree', 'tree', { recursive: true })
    assert.is(there.files, 2000)
    assert.is(await fs.readFile(join(directory, 'tree/7/747'), 'utf8'), 'file 747'.repeat(47))
    const back = memoryFileSystem()
    assert.equal(await sftp.get('tree', back, 'tree', { recursive: true }), there)
    assert.is((await back.stat('tree/19/1949')).size, 'file 1949'.length * 49)
    await sftp.removeAll('tree')
    assert.equal(await fs.readdir(directory), [])
    await dispose()
  })

  test('a directory of 10,000 entries is listed whole', async () => {
    const { sftp, directory, dispose } = await start(program)
    const names = Array.from({ length: 10_000 }, (_, i) => `entry-${i}`)
    for (const name of names) await fs.writeFile(join(directory, name), '')
    assert.equal(
      (await sftp.list('.')).map(({ name }) => name),
      names.sort(),
    )
    await dispose()
  })

  test('extensions of OpenSSH are used as it means them', async () => {
    const { sftp, directory, dispose } = await start(program)
    await sftp.write('a', 'A')
    await sftp.write('b', 'B')
    await sftp.rename('a', 'b')
    assert.is(await sftp.readText('b'), 'A')
    await sftp.hardlink('b', 'c')
    assert.is((await fs.stat(join(directory, 'c'))).nlink, 2)
    await sftp.symlink('b', 'l')
    assert.is(await fs.readlink(join(directory, 'l')), 'b')
    await sftp.lsetstat('l', { atime: 100, mtime: 200 })
    assert.is((await fs.lstat(join(directory, 'l'))).mtimeMs, 200_000)
    const file = await sftp.open('b', { read: true, write: true })
    await sftp.fsync(file)
    assert.ok((await file.statvfs()).blocks > 0)
    await file.close()
    assert.ok((await sftp.statvfs('/')).files >= 0)
    assert.is((await sftp.limits()).packetBytesMax, 256 * 1024)
    if (sftp.extensions.has('expand-path@openssh.com')) {
      assert.ok((await sftp.expandPath('~/x')).endsWith('/x'))
    }
    if (sftp.extensions.has('copy-data')) {
      await sftp.copyData('b', 'd')
      assert.is(await sftp.readText('d'), 'A')
    }
    if (sftp.extensions.has('users-groups-by-id@openssh.com')) {
      assert.equal((await sftp.usersGroupsById([0], [0])).users, ['root'])
    }
    if (sftp.extensions.has('home-directory')) {
      assert.is(await sftp.homeDirectory('root'), '/root')
    }
    await dispose()
  })

  test('names of any bytes, sparse files, and errors', async () => {
    const { sftp, directory, dispose } = await start(program)
    const name = decodePath(Uint8Array.of(0xff, 0x0a, 0xc3))
    await sftp.write(name, 'x')
    assert.equal(
      (await sftp.list('.')).map((entry) => entry.name),
      [name],
    )
    assert.is(await sftp.readText(name), 'x')
    await sftp.remove(name)
    const file = await sftp.open('sparse', { write: true, create: true })
    await file.write(Uint8Array.of(1), 5_000_000)
    await file.close()
    await sftp.get('sparse', nodeFileSystem(fs, { directory }), 'copy')
    assert.is((await fs.stat(join(directory, 'copy'))).size, 5_000_001)
    const missing = (await rejection(sftp.read('no'))) as SftpError
    assert.is(missing.status, STATUS.NO_SUCH_FILE)
    await dispose()
  })

  test('files of unknown size, as in /proc, are read to their end', async () => {
    const { sftp, dispose } = await start(program)
    const near = memoryFileSystem()
    await sftp.get('/proc/cpuinfo', near, 'cpuinfo')
    assert.ok((await near.stat('cpuinfo')).size > 100)
    assert.match(await sftp.readText('/proc/version'), /Linux/)
    await dispose()
  })
}

test.run()
