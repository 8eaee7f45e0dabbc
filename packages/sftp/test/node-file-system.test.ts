// The disk: the suite on a temporary directory.

import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { confinedFileSystem } from '../src/confined-file-system.ts'
import { nodeFileSystem } from '../src/node-file-system.ts'
import { fileSystemSuite } from './suites/file-system.ts'

const can = {
  byteNames: true,
  fractionalTimes: true,
  linkCounts: true,
  errnos: true,
  nameBytesMax: 255,
}

async function temporary(): Promise<{ path: string; dispose: () => Promise<void> }> {
  const path = await fs.realpath(await fs.mkdtemp(join(tmpdir(), 'sftp-test-')))
  return { path, dispose: () => fs.rm(path, { recursive: true }) }
}

fileSystemSuite(
  'disk',
  async () => {
    const { path, dispose } = await temporary()
    return { files: nodeFileSystem(fs, { directory: path }), directory: path, dispose }
  },
  can,
).run()

fileSystemSuite(
  'disk, confined',
  async () => {
    const { path, dispose } = await temporary()
    return { files: confinedFileSystem(nodeFileSystem(fs), path), directory: '/', dispose }
  },
  can,
).run()

test('relative paths start at the directory given', async () => {
  const { path, dispose } = await temporary()
  const files = nodeFileSystem(fs, { directory: path, home: '/root' })
  await files.mkdir('x')
  assert.is(await files.realpath('x'), join(path, 'x'))
  assert.is(await files.realpath('.'), path)
  assert.is(await files.homeDirectory?.(''), '/root')
  await dispose()
})

test('opening a FIFO does not wait for its other side', async () => {
  const { path, dispose } = await temporary()
  assert.is(spawnSync('mkfifo', [join(path, 'fifo')]).status, 0)
  const files = nodeFileSystem(fs, { directory: path })
  const file = await files.open('fifo', { read: true })
  await file.close()
  await dispose()
})

test('users and groups have the names of passwd(5)', async () => {
  const found = await nodeFileSystem(fs).usersGroupsById?.([0, 4_000_000_000], [0])
  assert.equal(found, { users: ['root', undefined], groups: ['root'] })
  assert.is(await nodeFileSystem(fs).homeDirectory?.('root'), '/root')
})

test.run()
