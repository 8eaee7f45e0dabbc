// A confined tree: nothing leads out of it, and everything inside works as if it were all there is.
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { confinedFileSystem } from '../src/confined-file-system.ts'
import type { SftpFileSystem } from '../src/file-system.ts'
import { memoryFileSystem } from '../src/memory-file-system.ts'
import { asSftpError } from '../src/status.ts'
import { session } from './session.ts'
import { rejection } from './within.ts'

const text = new TextEncoder()

async function put(files: SftpFileSystem, path: string, contents: string): Promise<void> {
  const file = await files.open(path, { write: true, create: true, truncate: true })
  await file.write(text.encode(contents), 0)
  await file.close()
}

async function get(files: SftpFileSystem, path: string): Promise<string> {
  const file = await files.open(path, { read: true })
  const bytes = new Uint8Array(100)
  const got = await file.read(bytes, 0)
  await file.close()
  return new TextDecoder().decode(bytes.subarray(0, got))
}

/** A jail with links that try to leave it, and secrets around it. */
async function jail(): Promise<{ outside: SftpFileSystem; inside: SftpFileSystem }> {
  const outside = memoryFileSystem()
  await outside.mkdir('/jail')
  await outside.mkdir('/jail/d')
  await outside.mkdir('/etc')
  await outside.mkdir('/jailed')
  await put(outside, '/etc/secret', 'secret')
  await put(outside, '/jailed/secret', 'secret')
  await outside.symlink('/etc', '/jail/absolute')
  await outside.symlink('../etc', '/jail/relative')
  await outside.symlink('../../../../etc/secret', '/jail/d/deep')
  await outside.symlink('..', '/jail/up')
  await outside.symlink('/etc/new', '/jail/dangling')
  await outside.symlink('../jailed', '/jail/sibling')
  return { outside, inside: confinedFileSystem(outside, '/jail') }
}

test('no path and no link reaches a file outside', async () => {
  const { outside, inside } = await jail()
  const before = await snapshot(outside)
  const escapes = [
    '/etc/secret',
    '../etc/secret',
    '/../etc/secret',
    'absolute/secret',
    'relative/secret',
    'd/deep',
    'up/etc/secret',
    'up/up/etc/secret',
    'd/../../etc/secret',
    'sibling/secret',
    '../jailed/secret',
  ]
  for (const path of escapes) {
    for (const act of [
      () => inside.open(path, { read: true }),
      () => inside.open(path, { write: true, truncate: true }),
      () => inside.stat(path),
      () => inside.setstat(path, { mode: 0o777 }),
      () => inside.opendir(`${path}/..`),
      // These take a link itself, which is inside; through it, they would be out.
      () => inside.rename(`${path}/.`, 'stolen'),
      () => inside.hardlink?.(`${path}/.`, 'stolen') ?? Promise.resolve(),
      () => inside.statvfs?.(path) ?? Promise.resolve(),
    ]) {
      assert.is(asSftpError(await rejection(act()))?.errno, 'ENOENT', path)
    }
  }
  assert.equal(await snapshot(outside), before)
})

test('what is made through a link that leads out is made inside', async () => {
  const { outside, inside } = await jail()
  await inside.mkdir('etc')
  await put(inside, 'dangling', 'inside')
  assert.is(await get(outside, '/jail/etc/new'), 'inside')
  await put(inside, 'relative/x', 'inside')
  assert.is(await get(outside, '/jail/etc/x'), 'inside')
  assert.is(asSftpError(await rejection(outside.stat('/etc/new')))?.errno, 'ENOENT')
  assert.is(asSftpError(await rejection(outside.stat('/etc/x')))?.errno, 'ENOENT')
})

test('real paths and homes are those of the inside', async () => {
  const { inside } = await jail()
  assert.is(await inside.realpath('.'), '/')
  assert.is(await inside.realpath('/../../..'), '/')
  assert.is(await inside.realpath('up/d/../d/./x'), '/d/x')
  assert.is(await inside.realpath('absolute'), '/etc')
  assert.is(await inside.homeDirectory?.(''), '/')
  assert.instance(await rejection(inside.homeDirectory?.('root') ?? Promise.resolve()), Error)
})

test('the root itself can be neither removed nor renamed', async () => {
  const { inside } = await jail()
  for (const path of ['/', '.', '..', 'd/..', 'up/.']) {
    assert.is(asSftpError(await rejection(inside.rmdir(path)))?.errno, 'EBUSY', path)
    assert.is(asSftpError(await rejection(inside.rename(path, 'x')))?.errno, 'EBUSY', path)
    assert.is(asSftpError(await rejection(inside.rename('d', path)))?.errno, 'EBUSY', path)
  }
})

test('links inside a ring end in ELOOP', async () => {
  const { inside } = await jail()
  await inside.symlink('b', 'a')
  await inside.symlink('a', 'b')
  assert.is(asSftpError(await rejection(inside.stat('a')))?.errno, 'ELOOP')
})

test('a root that is no directory confines nothing and opens nothing', async () => {
  const files = memoryFileSystem()
  await put(files, '/file', '')
  for (const root of ['/file', '/missing/inner']) {
    const inside = confinedFileSystem(files, root)
    assert.instance(await rejection(inside.stat('/')), Error)
  }
})

test('a server confined by its options shows the inside only', async () => {
  const { outside } = await jail()
  await put(outside, '/jail/file', 'inside')
  const { sftp, dispose } = await session(outside, { root: '/jail' })
  assert.is(await sftp.realpath('.'), '/')
  assert.is(await sftp.readText('/file'), 'inside')
  assert.instance(await rejection(sftp.read('/absolute/secret')), Error)
  assert.equal(
    (await sftp.list('/')).map(({ name }) => name),
    ['absolute', 'd', 'dangling', 'file', 'relative', 'sibling', 'up'],
  )
  await dispose()
})

/** Everything outside, to see that nothing changed. */
async function snapshot(files: SftpFileSystem): Promise<readonly unknown[]> {
  const seen: unknown[] = []
  for (const path of ['/etc/secret', '/jailed/secret']) {
    const { mode, size } = await files.stat(path)
    seen.push([path, mode, size, await get(files, path)])
  }
  return seen
}

test.run()
