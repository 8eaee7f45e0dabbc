/**
 * What every SftpFileSystem must do. An implementation's test gives an empty directory and says what
 * it can; the suite leaves nothing behind that matters.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { FileAttributes, SftpFile, SftpFileSystem } from '../../src/file-system.ts'
import { isDirectory, isFile, isSymlink } from '../../src/file-system.ts'
import { decodePath, joinPath } from '../../src/path.ts'
import { asSftpError, STATUS } from '../../src/status.ts'

/** What the suite may expect beyond the members an implementation has. */
export interface FileSystemSubject {
  readonly files: SftpFileSystem
  /** An empty directory, as an absolute path without links. */
  readonly directory: string
  /** Gives everything back. */
  readonly dispose?: () => Promise<void>
}

export interface FileSystemCapabilities {
  /** Keeps names that are not UTF-8. */
  readonly byteNames: boolean
  /** Keeps fractions of seconds. */
  readonly fractionalTimes: boolean
  /** Reports link counts. */
  readonly linkCounts: boolean
  /** Tells errno names of errors, not only statuses. */
  readonly errnos: boolean
  /** Longer than this is too long a name. */
  readonly nameBytesMax: number
}

const text = new TextEncoder()

/** Registers the suite for one implementation; the caller runs it. */
export function fileSystemSuite(
  name: string,
  open: () => Promise<FileSystemSubject>,
  can: FileSystemCapabilities,
): ReturnType<typeof suite> {
  const tests = suite(name)
  const test = (
    title: string,
    run: (files: SftpFileSystem, at: (name: string) => string) => Promise<void>,
  ): void => {
    tests(`${name}: ${title}`, async () => {
      const subject = await open()
      try {
        await run(subject.files, (inner) => joinPath(subject.directory, inner))
      } finally {
        await subject.dispose?.()
      }
    })
  }

  async function fails(errno: string, promise: Promise<unknown>): Promise<void> {
    let error: unknown
    try {
      await promise
    } catch (caught) {
      error = caught
    }
    const known = asSftpError(error)
    assert.ok(known, `expected ${errno}, got ${String(error)}`)
    if (can.errnos) assert.is(known?.errno, errno)
    else assert.is(known?.status, STATUS_OF[errno])
  }

  async function put(files: SftpFileSystem, path: string, contents: string): Promise<void> {
    const file = await files.open(path, { write: true, create: true, truncate: true })
    await file.write(text.encode(contents), 0)
    await file.close()
  }

  async function get(files: SftpFileSystem, path: string): Promise<string> {
    const file = await files.open(path, { read: true })
    const bytes = await readAll(file)
    await file.close()
    return new TextDecoder().decode(bytes)
  }

  async function list(files: SftpFileSystem, path: string): Promise<Map<string, FileAttributes>> {
    const directory = await files.opendir(path)
    const found = new Map<string, FileAttributes>()
    for (;;) {
      const some = await directory.read(3)
      if (some === undefined) break
      for (const { name: entry, attributes } of some) {
        if (entry === '.' || entry === '..') continue
        assert.not.ok(found.has(entry), `${entry} twice`)
        found.set(entry, attributes)
      }
    }
    await directory.close()
    return found
  }

  test('a file is made, written, read and measured', async (files, at) => {
    const file = await files.open(at('a'), { read: true, write: true, create: true }, 0o640)
    await file.write(text.encode('hello world'), 0)
    await file.write(text.encode('W'), 6)
    const into = new Uint8Array(20)
    assert.is(await file.read(into, 0), 11)
    assert.is(new TextDecoder().decode(into.subarray(0, 11)), 'hello World')
    assert.is(await file.read(into, 11), 0)
    assert.is(await file.read(into, 1000), 0)
    const stat = await file.stat()
    assert.is(stat.size, 11)
    assert.ok(isFile(stat))
    assert.is(stat.mode & 0o777, 0o640)
    await file.close()
    assert.is((await files.stat(at('a'))).size, 11)
  })

  test('a write past the end leaves zeros before it', async (files, at) => {
    const file = await files.open(at('a'), { read: true, write: true, create: true })
    await file.write(text.encode('x'), 100_000)
    const bytes = await readAll(file)
    assert.is(bytes.length, 100_001)
    assert.is(
      bytes.findIndex((byte) => byte !== 0),
      100_000,
    )
    await file.close()
  })

  test('opening follows its flags', async (files, at) => {
    await fails('ENOENT', files.open(at('a'), { read: true }))
    await fails('ENOENT', files.open(at('no/a'), { write: true, create: true }))
    await put(files, at('a'), 'one')
    await fails('EEXIST', files.open(at('a'), { write: true, create: true, exclusive: true }))
    await (await files.open(at('a'), { write: true, create: true })).close()
    assert.is(await get(files, at('a')), 'one')
    await (await files.open(at('a'), { write: true, truncate: true })).close()
    assert.is(await get(files, at('a')), '')
    await (await files.open(at('b'), { write: true, create: true, exclusive: true })).close()
    assert.is(await get(files, at('b')), '')
  })

  test('appending goes to the end whatever the position', async (files, at) => {
    await put(files, at('a'), 'one')
    const file = await files.open(at('a'), { write: true, append: true })
    await file.write(text.encode('two'), 0)
    await file.write(text.encode('three'), 0)
    await file.close()
    assert.is(await get(files, at('a')), 'onetwothree')
  })

  test('reads and writes need the right to them', async (files, at) => {
    await put(files, at('a'), 'one')
    const reader = await files.open(at('a'), { read: true })
    await fails('EBADF', reader.write(text.encode('x'), 0))
    await reader.close()
    const writer = await files.open(at('a'), { write: true })
    await fails('EBADF', writer.read(new Uint8Array(1), 0))
    await writer.close()
    assert.is(await get(files, at('a')), 'one')
  })

  test('overlapping reads and writes of different parts all count', async (files, at) => {
    const file = await files.open(at('a'), { read: true, write: true, create: true })
    const parts = Array.from({ length: 20 }, (_, index) => index)
    await Promise.all(
      parts.map((part) => file.write(new Uint8Array(1000).fill(part + 1), part * 1000)),
    )
    await Promise.all(
      parts.map(async (part) => {
        const into = new Uint8Array(1000)
        assert.is(await file.read(into, part * 1000), 1000)
        assert.ok(into.every((byte) => byte === part + 1))
      }),
    )
    await file.close()
  })

  test('attributes change by path and by handle', async (files, at) => {
    await put(files, at('a'), 'hello')
    await files.setstat(at('a'), { size: 3 })
    assert.is(await get(files, at('a')), 'hel')
    await files.setstat(at('a'), { size: 5 })
    assert.is(await get(files, at('a')), 'hel\0\0')
    await files.setstat(at('a'), { mode: 0o751 })
    const times = can.fractionalTimes
      ? { atime: 1_000_000_000.5, mtime: 1_100_000_000.25 }
      : { atime: 1_000_000_000, mtime: 1_100_000_000 }
    await files.setstat(at('a'), times)
    const stat = await files.stat(at('a'))
    assert.is(stat.mode & 0o7777, 0o751)
    assert.is(stat.atime, times.atime)
    assert.is(stat.mtime, times.mtime)
    const file = await files.open(at('a'), { read: true, write: true })
    await file.setstat({ size: 1, mode: 0o600, atime: 5, mtime: 6 })
    const after = await file.stat()
    assert.is(after.size, 1)
    assert.is(after.mode & 0o7777, 0o600)
    assert.is(after.mtime, 6)
    await file.close()
    await files.setstat(at('a'), { uid: stat.uid, gid: stat.gid })
    await fails('ENOENT', files.setstat(at('no'), { mode: 0o600 }))
  })

  test('directories are made, listed and removed', async (files, at) => {
    await files.mkdir(at('d'), 0o750)
    const stat = await files.stat(at('d'))
    assert.ok(isDirectory(stat))
    assert.is(stat.mode & 0o777, 0o750)
    await fails('EEXIST', files.mkdir(at('d')))
    await fails('ENOENT', files.mkdir(at('no/d')))
    for (let i = 0; i < 10; i++) await put(files, at(`d/f${i}`), String(i))
    await files.mkdir(at('d/sub'))
    const found = await list(files, at('d'))
    assert.equal([...found.keys()].sort(), [
      ...Array.from({ length: 10 }, (_, i) => `f${i}`),
      'sub',
    ])
    assert.ok(isDirectory(found.get('sub') ?? {}))
    assert.is(found.get('f3')?.size, 1)
    await fails('ENOTEMPTY', files.rmdir(at('d')))
    await fails('ENOTDIR', files.rmdir(at('d/f0')))
    for (const name of found.keys()) {
      if (name !== 'sub') await files.remove(at(`d/${name}`))
    }
    await files.rmdir(at('d/sub'))
    await files.rmdir(at('d'))
    await fails('ENOENT', files.stat(at('d')))
    await fails('ENOENT', files.opendir(at('d')))
    await fails('ENOENT', files.rmdir(at('d')))
  })

  test('an empty directory lists nothing', async (files, at) => {
    await files.mkdir(at('d'))
    assert.is((await list(files, at('d'))).size, 0)
  })

  test('a file is not a directory, nor the other way', async (files, at) => {
    await put(files, at('a'), '')
    await files.mkdir(at('d'))
    await fails('ENOTDIR', files.opendir(at('a')))
    await fails('ENOTDIR', files.stat(at('a/b')))
    await fails('EISDIR', files.open(at('d'), { write: true }))
    await fails('EISDIR', files.remove(at('d')))
    await fails('ENOENT', files.remove(at('no')))
  })

  test('renaming moves, and takes no name that is in use', async (files, at) => {
    await put(files, at('a'), 'A')
    await put(files, at('b'), 'B')
    await fails('EEXIST', files.rename(at('a'), at('b')))
    assert.is(await get(files, at('b')), 'B')
    await files.rename(at('a'), at('c'))
    await fails('ENOENT', files.stat(at('a')))
    assert.is(await get(files, at('c')), 'A')
    await files.mkdir(at('d'))
    await fails('EEXIST', files.rename(at('c'), at('d')))
    await files.rename(at('d'), at('e'))
    assert.ok(isDirectory(await files.stat(at('e'))))
    await files.mkdir(at('f'))
    await fails('EEXIST', files.rename(at('e'), at('f')))
    await fails('ENOENT', files.rename(at('no'), at('x')))
  })

  test('posix renaming replaces in one step', async (files, at) => {
    if (files.posixRename === undefined) return
    await put(files, at('a'), 'A')
    await put(files, at('b'), 'B')
    await files.posixRename(at('a'), at('b'))
    assert.is(await get(files, at('b')), 'A')
    await fails('ENOENT', files.stat(at('a')))
    await files.mkdir(at('d'))
    await put(files, at('d/x'), '')
    await files.mkdir(at('e'))
    await files.posixRename(at('d'), at('e'))
    assert.is((await list(files, at('e'))).size, 1)
    await fails('EINVAL', files.posixRename(at('e'), at('e/below')))
  })

  test('symbolic links are kept, followed and not followed', async (files, at) => {
    await put(files, at('a'), 'A')
    await files.symlink('a', at('l'))
    assert.is(await files.readlink(at('l')), 'a')
    assert.ok(isSymlink(await files.lstat(at('l'))))
    assert.ok(isFile(await files.stat(at('l'))))
    assert.is(await get(files, at('l')), 'A')
    await fails('EEXIST', files.symlink('x', at('l')))
    await fails('EINVAL', files.readlink(at('a')))
    await files.symlink('nowhere', at('dangling'))
    await fails('ENOENT', files.stat(at('dangling')))
    await files.lstat(at('dangling'))
    await fails(
      'EEXIST',
      files.open(at('dangling'), { write: true, create: true, exclusive: true }),
    )
    await files.symlink('loop', at('loop'))
    await fails('ELOOP', files.stat(at('loop')))
    await files.remove(at('l'))
    assert.is(await get(files, at('a')), 'A')
  })

  test('real paths are absolute and free of links', async (files, at) => {
    await files.mkdir(at('d'))
    await put(files, at('d/f'), '')
    await files.symlink('d', at('l'))
    assert.is(await files.realpath(at('l/../d/./f')), at('d/f'))
    assert.is(await files.realpath(at('l/f')), at('d/f'))
    assert.is(await files.realpath(at('l/new')), at('d/new'))
    await fails('ENOENT', files.realpath(at('no/new')))
    assert.ok((await files.realpath('.')).startsWith('/'))
    assert.is(await files.realpath('/'), '/')
    assert.is(await files.realpath('/..'), '/')
  })

  test('hard links share a file', async (files, at) => {
    if (files.hardlink === undefined) return
    await put(files, at('a'), 'A')
    await files.hardlink(at('a'), at('b'))
    await put(files, at('b'), 'changed')
    assert.is(await get(files, at('a')), 'changed')
    if (can.linkCounts) assert.is((await files.stat(at('a'))).linkCount, 2)
    await fails('EEXIST', files.hardlink(at('a'), at('b')))
    await files.remove(at('a'))
    assert.is(await get(files, at('b')), 'changed')
  })

  test("a link's own attributes change", async (files, at) => {
    if (files.lsetstat === undefined) return
    await put(files, at('a'), '')
    await files.setstat(at('a'), { atime: 1, mtime: 2 })
    await files.symlink('a', at('l'))
    await files.lsetstat(at('l'), { atime: 3, mtime: 4 })
    assert.is((await files.lstat(at('l'))).mtime, 4)
    assert.is((await files.stat(at('l'))).mtime, 2)
  })

  test('the file system tells its size', async (files, at) => {
    if (files.statvfs === undefined) return
    const found = await files.statvfs(at(''))
    assert.ok(found.blockSize > 0 && found.blocks > 0 && found.blocksFree <= found.blocks)
  })

  test('sync and fstatvfs answer', async (files, at) => {
    const file = await files.open(at('a'), { write: true, create: true })
    await file.write(text.encode('x'), 0)
    await file.sync?.()
    await file.statvfs?.()
    await file.close()
  })

  test('copyData copies parts and the whole', async (files, at) => {
    if (files.copyData === undefined) return
    await put(files, at('a'), 'hello world')
    const source = await files.open(at('a'), { read: true })
    const target = await files.open(at('b'), { write: true, create: true })
    await files.copyData(source, 6, 5, target, 2)
    await files.copyData(source, 0, 0, target, 10)
    await source.close()
    await target.close()
    assert.is(await get(files, at('b')), '\0\0world\0\0\0hello world')
  })

  test('names of any kind come back as they went', async (files, at) => {
    const names = ['sp ace', 'new\nline', 'ünïcödé', '日本', '-dash', '$HOME', '"q\'', 'a\\b', '…']
    const bytes = ['\x80', 'x\xffy', '\xc3', '\xed\xa0\x80', '\xf0\x9f\x98'].map((latin) =>
      decodePath(Uint8Array.from(latin, (character) => character.charCodeAt(0))),
    )
    const all = can.byteNames ? [...names, ...bytes] : names
    for (const name of all) await put(files, at(name), name)
    assert.equal([...(await list(files, at(''))).keys()].sort(), [...all].sort())
    for (const name of all) await files.remove(at(name))
    assert.is((await list(files, at(''))).size, 0)
  })

  test('links may hold any bytes', async (files, at) => {
    const target = can.byteNames ? decodePath(Uint8Array.of(0x61, 0xff, 0x2f, 0xc3)) : 'ü/ö'
    await files.symlink(target, at('l'))
    assert.is(await files.readlink(at('l')), target)
  })

  test('a name too long is refused', async (files, at) => {
    const name = 'n'.repeat(can.nameBytesMax + 1)
    await fails('ENAMETOOLONG', files.mkdir(at(name)))
    await files.mkdir(at(name.slice(1)))
  })

  test('a handle outlives its name', async (files, at) => {
    await put(files, at('a'), 'alive')
    const file = await files.open(at('a'), { read: true })
    await files.remove(at('a'))
    assert.is(new TextDecoder().decode(await readAll(file)), 'alive')
    await file.close()
  })

  return tests
}

/** What a peer hears of each errno. */
const STATUS_OF: Readonly<Record<string, number>> = {
  ENOENT: STATUS.NO_SUCH_FILE,
  ENOTDIR: STATUS.NO_SUCH_FILE,
  EBADF: STATUS.NO_SUCH_FILE,
  ELOOP: STATUS.NO_SUCH_FILE,
  EINVAL: STATUS.BAD_MESSAGE,
  ENAMETOOLONG: STATUS.BAD_MESSAGE,
  EEXIST: STATUS.FAILURE,
  ENOTEMPTY: STATUS.FAILURE,
  EISDIR: STATUS.FAILURE,
}

async function readAll(file: SftpFile): Promise<Uint8Array> {
  const parts: number[] = []
  const into = new Uint8Array(65_536)
  for (;;) {
    const got = await file.read(into, parts.length)
    if (got === 0) return Uint8Array.from(parts)
    for (let i = 0; i < got; i++) parts.push(into[i] as number)
  }
}
