// Libraries for Python and JavaScript against our server, each as it is installed and for all that
// it can do; what is not installed is skipped. Programs: clients.test.ts.
// Time limit: 900 s

import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import ssh2 from 'ssh2'
import SftpClient from 'ssh2-sftp-client'
import * as assert from 'uvu/assert'
import { ask, installed, type Subject, succeed } from './ask.ts'
import { canChangeOwners, checkMany, forbidden, modified, oddNames, unicode } from './scene.ts'

const python = '/usr/bin/python3'

const has = await installed({
  paramiko: [python, '-W', 'ignore', '-c', 'import paramiko'],
  asyncssh: [python, '-W', 'ignore', '-c', 'import asyncssh'],
})

/** Runs a script with the server's port, user and password as arguments. */
function runPython(subject: Subject, lines: readonly string[]): Promise<string> {
  const { port, username, password } = subject.server
  const command = [python, '-W', 'ignore', '-', String(port), username, password]
  return succeed(subject, command, lines.join('\n'))
}

const pythonNames = oddNames.map((name) => `bytes.fromhex('${name.toString('hex')}')`)

// paramiko

const paramiko = (subject: Subject, ...lines: readonly string[]): Promise<string> =>
  runPython(subject, [
    'import paramiko, sys',
    "transport = paramiko.Transport(('127.0.0.1', int(sys.argv[1])))",
    'transport.connect(username=sys.argv[2], password=sys.argv[3])',
    'sftp = paramiko.SFTPClient.from_transport(transport)',
    ...lines,
    'transport.close()',
  ])

ask('paramiko', has.paramiko, {
  big: (subject) => paramiko(subject, "sftp.put('big', 'up')", "sftp.get('up', 'down')"),
  many: async (subject) =>
    checkMany(await paramiko(subject, "print('\\n'.join(sftp.listdir('many')))")),
  resume: (subject) =>
    paramiko(
      subject,
      "with sftp.open('part', 'ab') as far, open('medium', 'rb') as near:",
      '    near.seek(far.stat().st_size)',
      '    far.set_pipelined(True)',
      '    far.write(near.read())',
      "with open('part', 'ab') as near, sftp.open('medium', 'rb') as far:",
      '    far.seek(near.tell())',
      '    near.write(far.read())',
    ),
  rename: (subject) =>
    paramiko(
      subject,
      'try:',
      "    sftp.rename('new', 'old')",
      "    raise AssertionError('RENAME must not overwrite')",
      'except OSError: pass',
      "sftp.posix_rename('new', 'old')",
    ),
  symlink: (subject) =>
    paramiko(subject, "sftp.symlink('file', 'soft')", "assert sftp.readlink('soft') == 'file'"),
  mode: (subject) => paramiko(subject, "sftp.chmod('file', 0o640)"),
  ...(canChangeOwners() && {
    owner: (subject: Subject) => paramiko(subject, "sftp.chown('file', 12345, 54321)"),
  }),
  times: (subject) =>
    paramiko(
      subject,
      'import os',
      "sftp.put('dated', 'dated')",
      `sftp.utime('dated', (${modified}, ${modified}))`,
      "sftp.get('dated', 'again')",
      "stat = sftp.stat('dated')",
      "os.utime('again', (stat.st_atime, stat.st_mtime))",
    ),
  unicode: (subject) =>
    paramiko(
      subject,
      `sftp.put('${unicode}', '${unicode}')`,
      `sftp.get('${unicode}', '${unicode} back')`,
    ),
  // It lists only names that are UTF-8, but opens any.
  odd: (subject) =>
    paramiko(
      subject,
      `for name in [${pythonNames.join(', ')}]:`,
      "    with open(b'odd/' + name, 'wb') as near, sftp.open(b'odd/' + name) as far:",
      '        near.write(far.read())',
    ),
  empty: (subject) =>
    paramiko(
      subject,
      "for name in ['empty', 'sparse']:",
      '    sftp.put(name, name)',
      "    sftp.get(name, name + '.back')",
    ),
  errors: (subject) =>
    paramiko(
      subject,
      'def fails(kind, call, path):',
      '    try: call(path)',
      '    except kind: return',
      '    raise AssertionError(path)',
      "fails(FileNotFoundError, sftp.open, 'missing')",
      `fails(PermissionError, sftp.remove, '${forbidden}')`,
    ),
})

// asyncssh

const asyncssh = (subject: Subject, ...lines: readonly string[]): Promise<string> =>
  runPython(subject, [
    'import asyncio, asyncssh, sys',
    'login = dict(username=sys.argv[2], password=sys.argv[3], known_hosts="known_hosts")',
    'async def main():',
    "    async with asyncssh.connect('127.0.0.1', int(sys.argv[1]), **login) as connection:",
    '        async with connection.start_sftp_client() as sftp:',
    ...lines.map((line) => `            ${line}`),
    'asyncio.run(main())',
  ])

ask('asyncssh', has.asyncssh, {
  big: (subject) =>
    asyncssh(subject, "await sftp.put('big', 'up')", "await sftp.get('up', 'down')"),
  tree: (subject) =>
    asyncssh(
      subject,
      "await sftp.put('tree/', 'trees/tree', recurse=True, follow_symlinks=True)",
      "await sftp.get('trees/tree', 'back/tree', recurse=True)",
    ),
  many: async (subject) =>
    checkMany(await asyncssh(subject, "print('\\n'.join(await sftp.listdir('many')))")),
  resume: (subject) =>
    asyncssh(
      subject,
      "with open('medium', 'rb') as near:",
      "    async with sftp.open('part', 'r+b') as far:",
      '        near.seek((await far.stat()).size)',
      '        await far.seek(near.tell())',
      '        await far.write(near.read())',
      "with open('part', 'ab') as near:",
      "    async with sftp.open('medium', 'rb') as far:",
      '        await far.seek(near.tell())',
      '        near.write(await far.read())',
    ),
  rename: (subject) => asyncssh(subject, "await sftp.posix_rename('new', 'old')"),
  symlink: (subject) =>
    asyncssh(
      subject,
      "await sftp.symlink('file', 'soft')",
      "assert await sftp.readlink('soft') == 'file'",
    ),
  hardLink: (subject) => asyncssh(subject, "await sftp.link('file', 'hard')"),
  mode: (subject) => asyncssh(subject, "await sftp.chmod('file', 0o640)"),
  ...(canChangeOwners() && {
    owner: (subject: Subject) => asyncssh(subject, "await sftp.chown('file', 12345, 54321)"),
  }),
  times: (subject) =>
    asyncssh(
      subject,
      "await sftp.put('dated', 'dated', preserve=True)",
      "await sftp.get('dated', 'again', preserve=True)",
    ),
  room: (subject) =>
    asyncssh(
      subject,
      "assert (await sftp.statvfs('.')).bsize > 0",
      "async with sftp.open('many/entry-1') as far:",
      '    assert (await far.statvfs()).blocks > 0',
    ),
  unicode: (subject) =>
    asyncssh(
      subject,
      `await sftp.put('${unicode}', '${unicode}')`,
      `await sftp.get('${unicode}', '${unicode} back')`,
    ),
  odd: (subject) =>
    asyncssh(
      subject,
      "for name in await sftp.listdir(b'odd'):",
      "    if name.startswith(b'x'): await sftp.get(b'odd/' + name, b'odd/' + name)",
    ),
  empty: (subject) =>
    asyncssh(
      subject,
      "for name in ['empty', 'sparse']:",
      '    await sftp.put(name, name)',
      "    await sftp.get(name, name + '.back')",
    ),
  errors: (subject) =>
    asyncssh(
      subject,
      'async def fails(kind, call):',
      '    try: await call',
      '    except kind: return',
      '    raise AssertionError(kind)',
      "await fails(asyncssh.SFTPNoSuchFile, sftp.get('missing'))",
      `await fails(asyncssh.SFTPPermissionDenied, sftp.remove('${forbidden}'))`,
    ),
})

ask('asyncssh scp', has.asyncssh, {
  big: (subject) =>
    asyncssh(
      subject,
      "await asyncssh.scp('big', (connection, 'up'))",
      "await asyncssh.scp((connection, 'up'), 'down')",
    ),
  times: (subject) =>
    asyncssh(
      subject,
      "await asyncssh.scp('dated', (connection, 'dated'), preserve=True)",
      "await asyncssh.scp((connection, 'dated'), 'again', preserve=True)",
    ),
})

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
  ...(canChangeOwners() && {
    owner: (subject: Subject) =>
      withSsh2(subject, (sftp, call) => call((done) => sftp.chown('file', 12_345, 54_321, done))),
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
