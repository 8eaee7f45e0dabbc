// Moving bytes: whatever the file system and the order of replies, the copy equals the original, or
// the error says up to where it does.
// Also on: chromium
import { memoryPair, SshError } from '@sandbox-ssh/protocol'
import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openSftp } from '../src/client.ts'
import type { SftpFileSystem } from '../src/file-system.ts'
import { memoryFileSystem } from '../src/memory-file-system.ts'
import { serveSftp } from '../src/server.ts'
import { TransferError } from '../src/transfer.ts'
import { copyTree } from '../src/tree.ts'
import { session } from './session.ts'
import { randomOf, type Unruliness, unrulyFileSystem } from './unruly-file-system.ts'
import { rejection, within } from './within.ts'

/** Bytes that differ everywhere, so that a misplaced block shows. */
function pattern(length: number, seed = 1): Uint8Array {
  const random = randomOf(seed)
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at += 4) {
    const word = Math.floor(random() * 2 ** 32)
    for (let i = 0; i < 4 && at + i < length; i++) bytes[at + i] = word >>> (8 * i)
  }
  return bytes
}

async function put(files: SftpFileSystem, path: string, bytes: Uint8Array): Promise<void> {
  const file = await files.open(path, { write: true, create: true, truncate: true })
  await file.write(bytes, 0)
  await file.close()
}

async function get(files: SftpFileSystem, path: string): Promise<Uint8Array> {
  const file = await files.open(path, { read: true })
  const bytes = new Uint8Array((await file.stat()).size)
  let at = 0
  while (at < bytes.length) at += await file.read(bytes.subarray(at), at)
  await file.close()
  return bytes
}

/** `files` whose attributes tell a wrong size. */
function lying(files: SftpFileSystem, size: number): SftpFileSystem {
  return new Proxy(files, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name)
      if (name === 'stat') {
        return async (path: string) => ({ ...(await files.stat(path)), size })
      }
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}

const unruliness: fc.Arbitrary<Unruliness> = fc.record({
  seed: fc.integer(),
  short: fc.constantFrom(0, 0.2, 0.9),
  turns: fc.nat(2),
  fail: fc.constant(0),
})
const size = fc.oneof(
  fc.nat(10),
  fc.nat(1_000_000),
  fc.constantFrom(32_768, 261_119, 261_120, 261_121, 522_240),
)

test('get and put give equal bytes whatever the order and size of replies', async () => {
  await fc.assert(
    fc.asyncProperty(size, unruliness, fc.integer(), async (length, how, seed) => {
      const original = pattern(length, seed)
      const far = memoryFileSystem()
      const { sftp, dispose } = await session(unrulyFileSystem(far, how))
      const near = memoryFileSystem()
      await put(near, 'original', original)
      await sftp.put(near, 'original', 'copy')
      assert.equal(hash(await get(far, 'copy')), hash(original))
      await sftp.get('copy', near, 'back')
      assert.equal(hash(await get(near, 'back')), hash(original))
      assert.equal(hash(await sftp.read('copy')), hash(original))
      await dispose()
    }),
    { numRuns: 30 },
  )
})

test('the declared size is a hint: EOF is the truth', async () => {
  for (const length of [0, 1, 1000, 300_000, 1_000_000]) {
    for (const told of [0, 1, length, length + 5, length * 2, 5_000_000]) {
      const far = memoryFileSystem()
      await put(far, 'file', pattern(length))
      const { sftp, dispose } = await session(lying(far, told))
      const near = memoryFileSystem()
      await sftp.get('file', near, 'copy')
      assert.equal(hash(await get(near, 'copy')), hash(pattern(length)), `${length} as ${told}`)
      await dispose()
    }
  }
})

test('a failing file system leaves a true prefix, and the error tells its length', async () => {
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.integer(), async (upload, seed) => {
      const original = pattern(3_000_000, seed)
      const far = memoryFileSystem()
      const how = { seed, short: 0.2, turns: 1, fail: 0.05 }
      const { sftp, dispose } = await session(unrulyFileSystem(far, how))
      const near = memoryFileSystem()
      const [from, to] = upload ? [near, far] : [far, near]
      await put(from, 'original', original)
      const copying = upload
        ? sftp.put(near, 'original', 'copy')
        : sftp.get('original', near, 'copy')
      const error = await copying.then(
        () => undefined,
        (reason: unknown) => reason,
      )
      const copied = await get(to, 'copy')
      if (error !== undefined) {
        assert.instance(error, TransferError)
        assert.is((error as TransferError).position, copied.length)
        assert.is((error as TransferError).code, 'SFTP_STATUS')
      }
      assert.equal(hash(copied), hash(original.subarray(0, copied.length)))
      if (error === undefined) assert.is(copied.length, original.length)
      await dispose()
    }),
    { numRuns: 12 },
  )
})

test('a cut connection leaves a true prefix, and resuming completes it', async () => {
  const original = pattern(8_000_000)
  for (const cutAfter of [100_000, 1_000_000, 5_000_000]) {
    const far = memoryFileSystem()
    await put(far, 'original', original)
    const near = memoryFileSystem()
    const [left, right] = memoryPair()
    let received = 0
    const cut = {
      ...bound(left),
      async read() {
        const chunk = await left.read()
        received += chunk?.length ?? 0
        if (received > cutAfter) {
          left.abort(new Error('cut'))
          throw new SshError('SSH_CONNECTION_LOST', 'cut')
        }
        return chunk
      },
    }
    const served = serveSftp(right, far).catch(() => {})
    const sftp = await openSftp(cut)
    const error = await rejection(within(5000, sftp.get('original', near, 'copy')))
    assert.instance(error, TransferError)
    assert.is((error as TransferError).code, 'SSH_CONNECTION_LOST')
    const part = await get(near, 'copy')
    assert.is((error as TransferError).position, part.length)
    assert.equal(hash(part), hash(original.subarray(0, part.length)))
    await served

    const { sftp: again, dispose } = await session(far)
    const result = await again.get('original', near, 'copy', { resume: true })
    assert.is(result.bytes, original.length - part.length)
    assert.equal(hash(await get(near, 'copy')), hash(original))
    await dispose()
  }
})

test('a put that is cut off leaves no hole, in whatever order its source is read', async () => {
  const original = pattern(6_000_000)
  await fc.assert(
    fc.asyncProperty(fc.integer(), fc.nat(original.length), async (seed, cutAfter) => {
      const near = memoryFileSystem()
      await put(near, 'original', original)
      const how = { seed, short: 0.2, turns: 3, fail: 0 }
      const far = memoryFileSystem()
      const [left, right] = memoryPair()
      let sent = 0
      const cut = {
        ...bound(left),
        async write(chunk: Uint8Array) {
          sent += chunk.length
          if (sent > cutAfter) {
            left.abort(new Error('cut'))
            throw new SshError('SSH_CONNECTION_LOST', 'cut')
          }
          await left.write(chunk)
        },
      }
      const served = serveSftp(right, far).catch(() => {})
      const sftp = await openSftp(cut).catch(() => undefined)
      if (sftp === undefined) return
      const source = unrulyFileSystem(near, how)
      const error = await rejection(within(5000, sftp.put(source, 'original', 'copy')))
      assert.is((error as SshError).code, 'SSH_CONNECTION_LOST')
      await served
      const part = await get(far, 'copy').catch(() => new Uint8Array(0))
      assert.equal(hash(part), hash(original.subarray(0, part.length)))

      const { sftp: again, dispose } = await session(far)
      await again.put(source, 'original', 'copy', { resume: true })
      assert.equal(hash(await get(far, 'copy')), hash(original))
      await dispose()
    }),
    { numRuns: 20 },
  )
})

test('an aborted transfer rejects at once, although the server never answers', async () => {
  const far = memoryFileSystem()
  await put(far, 'original', pattern(1_000_000))
  const stuck: SftpFileSystem = new Proxy(far, {
    get(target, name) {
      if (name === 'open') {
        return async (path: string, flags: object) => {
          const file = await far.open(path, flags)
          return { ...file, read: () => new Promise(() => {}) }
        }
      }
      const member: unknown = Reflect.get(target, name)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
  const { sftp } = await session(stuck)
  const controller = new AbortController()
  const copying = sftp.get('original', memoryFileSystem(), 'copy', { signal: controller.signal })
  setTimeout(() => controller.abort(), 10)
  const error = await rejection(within(2000, copying))
  assert.is((error as SshError).code, 'SSH_ABORTED')
  const reading = sftp.read('original', { signal: AbortSignal.timeout(10) })
  assert.is(((await rejection(within(2000, reading))) as SshError).code, 'SSH_TIMEOUT')
})

test('progress counts every byte once', async () => {
  const far = memoryFileSystem()
  const { sftp, dispose } = await session(far)
  const near = memoryFileSystem()
  await near.mkdir('tree')
  for (let i = 0; i < 5; i++) await put(near, `tree/${i}`, pattern(i * 200_000))
  const seen = new Map<string, number>()
  const done = new Set<string>()
  let total = 0
  const result = await sftp.put(near, 'tree', 'tree', {
    recursive: true,
    onProgress(progress) {
      assert.ok(progress.bytes >= (seen.get(progress.path) ?? 0))
      seen.set(progress.path, progress.bytes)
      if (progress.done) done.add(progress.path)
      total = progress.totalBytes
    },
  })
  assert.equal(result, { files: 5, directories: 1, bytes: 2_000_000 })
  assert.is(total, 2_000_000)
  assert.is(done.size, 5)
  assert.is(seen.get('tree/4'), 800_000)
  await dispose()
})

test('trees arrive whole, with modes and times if wanted', async () => {
  const near = memoryFileSystem()
  await near.mkdir('t')
  await near.mkdir('t/empty', 0o700)
  await near.mkdir('t/d')
  for (let i = 0; i < 250; i++) await put(near, `t/d/f${i}`, pattern(i * 7, i))
  await near.setstat('t/d/f3', { mode: 0o751 })
  await near.setstat('t/d/f3', { atime: 10, mtime: 20 })
  await near.symlink('f3', 't/d/link')
  await near.setstat('t/d', { atime: 30, mtime: 40 })
  const { sftp, dispose } = await session(memoryFileSystem())
  await sftp.put(near, 't', 'copy', { recursive: true, preserve: true, links: 'copy' })
  assert.is(await sftp.readlink('copy/d/link'), 'f3')
  const back = memoryFileSystem()
  await sftp.get('copy', back, 't', { recursive: true, preserve: true })
  for (let i = 0; i < 250; i++) {
    assert.equal(hash(await get(back, `t/d/f${i}`)), hash(pattern(i * 7, i)))
  }
  assert.equal(hash(await get(back, 't/d/link')), hash(pattern(21, 3)))
  const stat = await back.stat('t/d/f3')
  assert.is(stat.mode & 0o7777, 0o751)
  assert.is(stat.mtime, 20)
  assert.is((await back.stat('t/d')).mtime, 40)
  assert.is((await back.stat('t/empty')).mode & 0o777, 0o700)
  await dispose()
})

test('a directory needs recursive, and a failure can be passed over', async () => {
  const near = memoryFileSystem()
  await near.mkdir('t')
  await put(near, 't/good', pattern(10))
  await near.symlink('nowhere', 't/bad')
  const { sftp, dispose } = await session(memoryFileSystem())
  const refused = await rejection(sftp.put(near, 't', 'x'))
  assert.match((refused as Error).message, /is a directory/)
  const failed: string[] = []
  const result = await sftp.put(near, 't', 'x', {
    recursive: true,
    onError: (path) => failed.push(path),
  })
  assert.equal(failed, ['t/bad'])
  assert.is(result.files, 1)
  assert.instance(await rejection(sftp.put(near, 't', 'y', { recursive: true })), Error)
  await dispose()
})

test('links in a ring end at a depth, not never', async () => {
  const near = memoryFileSystem()
  await near.mkdir('t')
  await near.symlink('.', 't/again')
  const { sftp, dispose } = await session(memoryFileSystem())
  const error = await rejection(sftp.put(near, 't', 'x', { recursive: true }))
  assert.match((error as Error).message, /levels/)
  await dispose()
})

test('a hostile listing cannot name files outside the target', async () => {
  for (const name of ['../evil', '..', 'a/b', '', '/etc/passwd']) {
    const hostile = memoryFileSystem()
    await hostile.mkdir('t')
    await put(hostile, 'evil', pattern(1))
    const listing: SftpFileSystem = new Proxy(hostile, {
      get(target, member) {
        if (member === 'opendir') {
          let rounds = 0
          return async () => ({
            read: async () =>
              rounds++ === 0 ? [{ name, attributes: { mode: 0o100644, size: 1 } }] : undefined,
            close: async () => {},
          })
        }
        const found: unknown = Reflect.get(target, member)
        return typeof found === 'function' ? found.bind(target) : found
      },
    })
    const near = memoryFileSystem()
    await near.mkdir('target')
    const copying = copyTree(listing, 't', near, 'target/t', { recursive: true })
    // `..` and the empty name are either left out or refused; nothing appears in any case.
    await copying.catch((error: unknown) => assert.instance(error, SshError))
    assert.instance(await rejection(near.lstat('evil')), Error)
    assert.instance(await rejection(near.lstat('target/evil')), Error)
  }
})

test('a name listed twice is refused: first a link out, then a directory through it', async () => {
  const hostile = memoryFileSystem()
  await hostile.mkdir('t')
  await hostile.mkdir('t/x')
  await put(hostile, 't/x/file', pattern(1))
  await hostile.symlink('/outside', 'link')
  const listing: SftpFileSystem = new Proxy(hostile, {
    get(target, member) {
      if (member === 'opendir') {
        return async (path: string) => {
          if (path !== 't') return hostile.opendir(path)
          let rounds = 0
          return {
            read: async () => {
              rounds++
              if (rounds === 1) return [{ name: 'x', attributes: { mode: 0o120777 } }]
              if (rounds === 2) return [{ name: 'x', attributes: { mode: 0o040755 } }]
              return undefined
            },
            close: async () => {},
          }
        }
      }
      if (member === 'readlink') return async () => '/outside'
      const found: unknown = Reflect.get(target, member)
      return typeof found === 'function' ? found.bind(target) : found
    },
  })
  const near = memoryFileSystem()
  await near.mkdir('/outside')
  const copying = copyTree(listing, 't', near, 't', { recursive: true, links: 'copy' })
  assert.is(((await rejection(copying)) as SshError).code, 'SSH_PROTOCOL')
  assert.instance(await rejection(near.lstat('/outside/file')), Error)
})

function bound(transport: ReturnType<typeof memoryPair>[0]): ReturnType<typeof memoryPair>[0] {
  return {
    read: () => transport.read(),
    write: (chunk) => transport.write(chunk),
    close: () => transport.close(),
    abort: (reason) => transport.abort(reason),
  }
}

/** Enough to tell two files apart, and short in a failure's message. */
function hash(bytes: Uint8Array): { readonly length: number; readonly sum: number } {
  let sum = 7
  for (const byte of bytes) sum = (Math.imul(sum, 31) + byte) | 0
  return { length: bytes.length, sum }
}

test.run()
