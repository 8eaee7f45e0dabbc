// Libraries for JavaScript against our server, each for everything on the list.
// Time limit: 600 s

import { createReadStream, createWriteStream } from 'node:fs'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import ssh2 from 'ssh2'
import SftpClient from 'ssh2-sftp-client'
import * as assert from 'uvu/assert'
import { ask, cannot, type Subject } from './ask.ts'
import { checkMany, forbidden, mayChangeOwners, modified, unicode } from './scene.ts'

// ssh2

/** One session for each thing that is asked. */
async function withSsh2<T>(
  { server }: Subject,
  use: (
    sftp: ssh2.SFTPWrapper,
    call: <R = undefined>(start: (done: Callback<R>) => void) => Promise<R>,
  ) => Promise<T>,
): Promise<T> {
  const client = new ssh2.Client()
  const { port, username, password } = server
  const call = <R>(start: (done: Callback<R>) => void): Promise<R> =>
    new Promise((resolve, reject) => {
      // Calls without a value resolve to undefined, as their type says.
      start((error, value) => (error ? reject(error) : resolve(value as R)))
    })
  await new Promise<void>((resolve, reject) => {
    client.once('ready', resolve).once('error', reject)
    client.connect({ host: '127.0.0.1', port, username, password })
  })
  try {
    return await use(await call<ssh2.SFTPWrapper>((done) => client.sftp(done)), call)
  } finally {
    client.end()
  }
}

type Callback<R> = (error?: Error | null, value?: R) => void

/** The code of the status with which a call fails. */
async function statusOf(promise: Promise<unknown>): Promise<unknown> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
}

ask('ssh2', true, {
  big: (subject) =>
    withSsh2(subject, async (sftp, call) => {
      await call((done) => sftp.fastPut(join(subject.near, 'big'), 'up', done))
      await call((done) => sftp.fastGet('up', join(subject.near, 'down'), done))
    }),
  // It has no trees of its own.
  tree: (subject) =>
    withSsh2(subject, async (sftp, call) => {
      const tree = join(subject.near, 'tree')
      const [far, back] = ['trees/tree', join(subject.near, 'back/tree')]
      await call((done) => sftp.mkdir(far, done))
      for (const folder of await fs.readdir(tree)) {
        await call((done) => sftp.mkdir(`${far}/${folder}`, done))
        // One after the other each would wait for what TCP holds back of the one before.
        await Promise.all(
          (await fs.readdir(join(tree, folder))).map((name) => {
            const path = join(folder, name)
            return call((done) => sftp.fastPut(join(tree, path), `${far}/${path}`, done))
          }),
        )
      }
      const list = async (path: string): Promise<string[]> => {
        const found = await call<{ filename: string }[]>((done) => sftp.readdir(path, done))
        return found.map(({ filename }) => filename)
      }
      for (const folder of await list(far)) {
        await fs.mkdir(join(back, folder), { recursive: true })
        await Promise.all(
          (await list(`${far}/${folder}`)).map((name) => {
            const path = join(folder, name)
            return call((done) => sftp.fastGet(`${far}/${path}`, join(back, path), done))
          }),
        )
      }
    }),
  resume: (subject) =>
    withSsh2(subject, async (sftp, call) => {
      const medium = join(subject.near, 'medium')
      const part = join(subject.near, 'part')
      const { size } = await call<ssh2.Stats>((done) => sftp.stat('part', done))
      const rest = createReadStream(medium, { start: size })
      // Its typings forget that a stream into a file can start anywhere.
      const options = { flags: 'r+', start: size } as ssh2.WriteStreamOptions
      await pipeline(rest, sftp.createWriteStream('part', options))
      const start = (await fs.stat(part)).size
      await pipeline(
        sftp.createReadStream('medium', { start }),
        createWriteStream(part, { flags: 'a' }),
      )
    }),
  many: async (subject) => {
    const list = await withSsh2(subject, (sftp, call) =>
      call<{ filename: string }[]>((done) => sftp.readdir('many', done)),
    )
    checkMany(list.map(({ filename }) => filename))
  },
  rename: (subject) =>
    withSsh2(subject, (sftp, call) => call((done) => sftp.ext_openssh_rename('new', 'old', done))),
  symlink: (subject) =>
    withSsh2(subject, (sftp, call) => call((done) => sftp.symlink('file', 'soft', done))),
  hardLink: (subject) =>
    withSsh2(subject, (sftp, call) =>
      call((done) => sftp.ext_openssh_hardlink('file', 'hard', done)),
    ),
  mode: (subject) =>
    withSsh2(subject, (sftp, call) => call((done) => sftp.chmod('file', 0o640, done))),
  owner: mayChangeOwners((subject: Subject) =>
    withSsh2(subject, (sftp, call) => call((done) => sftp.chown('file', 12_345, 54_321, done))),
  ),
  times: (subject) =>
    withSsh2(subject, async (sftp, call) => {
      await call((done) => sftp.fastPut(join(subject.near, 'dated'), 'dated', done))
      await call((done) => sftp.utimes('dated', modified, modified, done))
      const { mtime } = await call<ssh2.Stats>((done) => sftp.stat('dated', done))
      const again = join(subject.near, 'again')
      await call((done) => sftp.fastGet('dated', again, done))
      await fs.utimes(again, mtime, mtime)
    }),
  unicode: (subject) =>
    withSsh2(subject, async (sftp, call) => {
      await call((done) => sftp.fastPut(join(subject.near, unicode), unicode, done))
      await call((done) => sftp.fastGet(unicode, join(subject.near, `${unicode} back`), done))
    }),
  lines: (subject) =>
    withSsh2(subject, async (sftp, call) => {
      const found = await call<{ filename: string }[]>((done) => sftp.readdir('lines', done))
      const path = `lines/${found[0]?.filename}`
      await call((done) => sftp.fastGet(path, join(subject.near, path), done))
    }),
  bytes: 'its names are text',
  empty: (subject) =>
    withSsh2(subject, async (sftp, call) => {
      for (const name of ['empty', 'sparse']) {
        await call((done) => sftp.fastPut(join(subject.near, name), name, done))
        await call((done) => sftp.fastGet(name, join(subject.near, `${name}.back`), done))
      }
    }),
  room: (subject) =>
    withSsh2(subject, async (sftp, call) => {
      const found = await call<{ f_bsize: number }>((done) => sftp.ext_openssh_statvfs('.', done))
      assert.ok(found.f_bsize > 0)
    }),
  errors: (subject) =>
    withSsh2(subject, async (sftp, call) => {
      assert.is(await statusOf(call((done) => sftp.stat('missing', done))), 2)
      assert.is(await statusOf(call((done) => sftp.unlink(forbidden, done))), 3)
    }),
})

// ssh2-sftp-client, whose package comes without its tests

async function withSftpClient<T>(
  { server }: Subject,
  use: (client: SftpClient) => Promise<T>,
): Promise<T> {
  const client = new SftpClient()
  const { port, username, password } = server
  await client.connect({ host: '127.0.0.1', port, username, password })
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

ask('ssh2-sftp-client', true, {
  big: (subject) =>
    withSftpClient(subject, async (client) => {
      await client.fastPut(join(subject.near, 'big'), 'up')
      await client.fastGet('up', join(subject.near, 'down'))
    }),
  tree: (subject) =>
    withSftpClient(subject, async (client) => {
      // It does not follow a link at the root.
      const tree = await fs.realpath(join(subject.near, 'tree'))
      await client.uploadDir(tree, join(subject.far, 'trees/tree'))
      await client.downloadDir('trees/tree', join(subject.near, 'back/tree'))
    }),
  many: async (subject) => {
    const list = await withSftpClient(subject, (client) => client.list('many'))
    checkMany(list.map(({ name }) => name))
  },
  resume: (subject) =>
    withSftpClient(subject, async (client) => {
      const { size } = await client.stat('part')
      const medium = await fs.readFile(join(subject.near, 'medium'))
      await client.append(medium.subarray(size), 'part')
      const part = join(subject.near, 'part')
      const start = (await fs.stat(part)).size
      const rest = await client.get('medium', undefined, { readStreamOptions: { start } as never })
      await fs.appendFile(part, rest as Buffer)
    }),
  rename: (subject) => withSftpClient(subject, (client) => client.posixRename('new', 'old')),
  mode: (subject) => withSftpClient(subject, (client) => client.chmod('file', 0o640)),
  ...cannot('it has no call for it', 'symlink', 'hardLink', 'owner', 'times', 'room'),
  lines: (subject) =>
    withSftpClient(subject, async (client) => {
      const path = `lines/${(await client.list('lines'))[0]?.name}`
      await client.get(path, join(subject.near, path))
    }),
  bytes: 'its names are text',
  unicode: (subject) =>
    withSftpClient(subject, async (client) => {
      await client.put(join(subject.near, unicode), unicode)
      await client.get(unicode, join(subject.near, `${unicode} back`))
    }),
  empty: (subject) =>
    withSftpClient(subject, async (client) => {
      for (const name of ['empty', 'sparse']) {
        await client.put(join(subject.near, name), name)
        await client.get(name, join(subject.near, `${name}.back`))
      }
    }),
  errors: (subject) =>
    withSftpClient(subject, async (client) => {
      assert.is(await client.exists('missing'), false)
      assert.is(await statusOf(client.get('missing')), 2)
      assert.is(await statusOf(client.delete(forbidden)), 3)
    }),
})
