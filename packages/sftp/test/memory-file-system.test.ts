// The file system in memory: the suite, and what is its own.
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { confinedFileSystem } from '../src/confined-file-system.ts'
import { memoryFileSystem } from '../src/memory-file-system.ts'
import { asSftpError } from '../src/status.ts'
import { fileSystemSuite } from './suites/file-system.ts'

const can = {
  byteNames: true,
  fractionalTimes: true,
  linkCounts: true,
  errnos: true,
  nameBytesMax: 255,
}

fileSystemSuite('memory', async () => ({ files: memoryFileSystem(), directory: '/' }), can).run()

fileSystemSuite(
  'memory, confined',
  async () => {
    const files = memoryFileSystem()
    await files.mkdir('/jail')
    return { files: confinedFileSystem(files, '/jail'), directory: '/' }
  },
  can,
).run()

test('a full memory is ENOSPC, and removing makes room again', async () => {
  const files = memoryFileSystem({ capacityBytes: 1000 })
  const file = await files.open('a', { write: true, create: true })
  await file.write(new Uint8Array(900), 0)
  const error = await file.write(new Uint8Array(200), 900).catch(asSftpError)
  assert.is(error?.errno, 'ENOSPC')
  assert.is((await file.setstat({ size: 2 ** 50 }).catch(asSftpError))?.errno, 'ENOSPC')
  await file.close()
  await files.remove('a')
  const other = await files.open('b', { write: true, create: true })
  await other.write(new Uint8Array(1000), 0)
  await other.close()
})

test('relative paths start at home, and the umask holds', async () => {
  const files = memoryFileSystem({ home: '/home/ada', umask: 0o077 })
  await files.mkdir('x', 0o777)
  assert.is((await files.stat('/home/ada/x')).mode & 0o777, 0o700)
  assert.is(await files.realpath('.'), '/home/ada')
  assert.is(await files.homeDirectory?.(''), '/home/ada')
})

test.run()
