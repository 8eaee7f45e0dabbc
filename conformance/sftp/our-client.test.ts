// Our SFTP client against servers of others, for everything on the list: OpenSSH's sftp-server, and
// paramiko's where that is installed.
// Time limit: 300 s

import * as fs from 'node:fs/promises'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import {
  type Client,
  connect,
  nodeSocket,
  PublicKey,
  password,
  pinned,
} from '@sandbox-ssh/protocol'
import { nodeFileSystem, openSftp, type SftpClient, SftpError } from '@sandbox-ssh/sftp'
import * as assert from 'uvu/assert'
import { connectTo } from '../peers/connect.ts'
import { startDaemon } from '../peers/daemon.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { generateKeyFile, startSshd } from '../peers/openssh.ts'
import { type Acts, askFor, installed, type Subject } from './ask.ts'
import {
  checkMany,
  checkNotRenamed,
  forbidden,
  mayChangeOwners,
  type Scene,
  unicode,
} from './scene.ts'

/** A session with the server under test. */
interface Session {
  readonly sftp: SftpClient
}

const python = '/usr/bin/python3'
const has = await installed({ paramiko: [python, '-W', 'ignore', '-c', 'import paramiko'] })

const area = 'Our SFTP client'

/** The near folder as our client sees the disk. */
function disk({ near }: Scene): ReturnType<typeof nodeFileSystem> {
  return nodeFileSystem(fs, { directory: near })
}

/** Puts it under a name, and gets it under another. */
async function both(
  subject: Subject<Session>,
  name: string,
  far: string,
  back: string,
  options = {},
): Promise<void> {
  const { sftp } = subject.server
  await sftp.put(disk(subject), name, `${subject.far}/${far}`, options)
  await sftp.get(`${subject.far}/${far}`, disk(subject), back, options)
}

/** Gets all that a folder lists. */
async function getListed(subject: Subject<Session>, folder: string): Promise<void> {
  const { sftp } = subject.server
  for (const { name } of await sftp.list(`${subject.far}/${folder}`)) {
    await sftp.get(`${subject.far}/${folder}/${name}`, disk(subject), `${folder}/${name}`)
  }
}

async function refused(promise: Promise<unknown>, reason: RegExp): Promise<void> {
  const error: unknown = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.instance(error, SftpError)
  assert.match((error as SftpError).message, reason)
}

/** What is asked of it whoever serves. */
const acts: Acts<Session> = {
  big: (subject) => both(subject, 'big', 'up', 'down'),
  tree: (subject) => both(subject, 'tree', 'trees/tree', 'back/tree', { recursive: true }),
  many: async (subject) => {
    const entries = await subject.server.sftp.list(`${subject.far}/many`)
    checkMany(entries.map(({ name }) => name))
  },
  resume: (subject) =>
    Promise.all([
      subject.server.sftp.put(disk(subject), 'medium', `${subject.far}/part`, { resume: true }),
      subject.server.sftp.get(`${subject.far}/medium`, disk(subject), 'part', { resume: true }),
    ]),
  rename: async (subject) => {
    const { sftp } = subject.server
    const [from, to] = [`${subject.far}/new`, `${subject.far}/old`]
    await refused(sftp.rename(from, to, { overwrite: false }), /Failure/)
    await checkNotRenamed(subject)
    await sftp.rename(from, to)
  },
  symlink: async ({ server: { sftp }, far }) => {
    await sftp.symlink('file', `${far}/soft`)
    assert.is(await sftp.readlink(`${far}/soft`), 'file')
  },
  hardLink: ({ server: { sftp }, far }) => sftp.hardlink(`${far}/file`, `${far}/hard`),
  mode: ({ server: { sftp }, far }) => sftp.setstat(`${far}/file`, { mode: 0o640 }),
  owner: mayChangeOwners(({ server: { sftp }, far }: Subject<Session>) =>
    sftp.setstat(`${far}/file`, { uid: 12_345, gid: 54_321 }),
  ),
  times: (subject) => both(subject, 'dated', 'dated', 'again', { preserve: true }),
  room: async ({ server: { sftp }, far }) => {
    const { bsize, blocks } = await fs.statfs(far)
    const told = await sftp.statvfs(far)
    assert.is(told.fragmentSize * told.blocks, bsize * blocks)
    await using file = await sftp.open(`${far}/many/entry-1`)
    assert.is((await file.statvfs()).blocks, told.blocks)
  },
  unicode: (subject) => both(subject, unicode, unicode, `${unicode} back`),
  lines: (subject) => getListed(subject, 'lines'),
  bytes: (subject) => getListed(subject, 'bytes'),
  empty: async (subject) => {
    for (const name of ['empty', 'sparse']) await both(subject, name, name, `${name}.back`)
  },
  errors: async (subject) => {
    const { sftp } = subject.server
    await refused(sftp.get(`${subject.far}/missing`, disk(subject), 'x'), /No such file/)
    await refused(sftp.remove(forbidden), /denied|Failure|not permitted/)
    await refused(sftp.put(disk(subject), 'empty', '/sys/new'), /denied|Failure|not permitted/)
  },
}

async function session(client: Client): Promise<{ server: Session; close: () => Promise<void> }> {
  const sftp = await openSftp(client)
  const close = async (): Promise<void> => {
    await sftp.close()
    await client.close()
  }
  return { server: { sftp }, close }
}

askFor<Session>({
  area,
  target: 'OpenSSH',
  obstacle: undefined,
  acts,
  start: async () => {
    const sshd = await startSshd()
    const { server, close } = await session(await connectTo(sshd))
    const stop = async (): Promise<void> => {
      await close()
      await sshd.daemon.stop()
    }
    return { server, stop }
  },
})

askFor<Session>({
  area,
  target: 'paramiko',
  obstacle: has.paramiko ? undefined : 'paramiko is not installed',
  acts: {
    ...acts,
    rename: async (subject) => {
      const { sftp } = subject.server
      const [from, to] = [`${subject.far}/new`, `${subject.far}/old`]
      // It does not offer posix-rename.
      await refused(sftp.rename(from, to), /Failure/)
      await checkNotRenamed(subject)
      await sftp.remove(to)
      await sftp.rename(from, to)
    },
    hardLink: 'it has no extension for it',
    room: 'it has no extension for it',
    bytes: 'it ends the session at a name that is not UTF-8',
  },
  start: async ({ far }) => {
    const hostKey = await generateKeyFile(join(temporaryFolder(), 'host'))
    const script = join(import.meta.dirname, '../peers/paramiko_sftp.py')
    const words = [far, hostKey, 'ada', 'correct horse']
    const { daemon, match } = await startDaemon(
      [python, '-W', 'ignore', script, ...words],
      /listening on port (\d+)/,
    )
    const client = await connect(nodeSocket(connectTcp(Number(match[1]), '127.0.0.1')), {
      username: 'ada',
      hostKey: pinned(PublicKey.parse(await fs.readFile(`${hostKey}.pub`, 'utf8'))),
      auth: [password('correct horse')],
    })
    const { server, close } = await session(client)
    const stop = async (): Promise<void> => {
      await close()
      await daemon.stop()
    }
    return { server, stop }
  },
})
