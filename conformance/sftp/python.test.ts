// Libraries for Python against our server, each as it is installed and for everything on the list;
// what is not installed is skipped.
// Time limit: 900 s

import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { ask, cannot, installed, type Subject, succeed } from './ask.ts'
import {
  bytesName,
  checkFew,
  checkMany,
  fewOfMany,
  forbidden,
  lineName,
  mayChangeOwners,
  modified,
  unicode,
} from './scene.ts'

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

/** A name as Python writes bytes. */
function literal(name: Buffer): string {
  return `bytes.fromhex('${name.toString('hex')}')`
}

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

function paramikoOpens(subject: Subject, folder: string, name: Buffer): Promise<string> {
  const path = `b'${folder}/' + ${literal(name)}`
  return paramiko(
    subject,
    `with open(${path}, 'wb') as near, sftp.open(${path}) as far:`,
    '    near.write(far.read())',
  )
}

ask('paramiko', has.paramiko, {
  big: (subject) => paramiko(subject, "sftp.put('big', 'up')", "sftp.get('up', 'down')"),
  // It has no trees of its own.
  tree: (subject) =>
    paramiko(
      subject,
      'import os, stat',
      "for folder, _, names in os.walk('tree/'):",
      "    far = os.path.normpath('trees/tree/' + os.path.relpath(folder, 'tree/'))",
      '    sftp.mkdir(far)',
      '    for name in names: sftp.put(os.path.join(folder, name), far + "/" + name)',
      'def fetch(far, near):',
      '    os.mkdir(near)',
      '    for entry in sftp.listdir_attr(far):',
      "        inner, here = far + '/' + entry.filename, near + '/' + entry.filename",
      '        (fetch if stat.S_ISDIR(entry.st_mode) else sftp.get)(inner, here)',
      "fetch('trees/tree', 'back/tree')",
    ),
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
  owner: mayChangeOwners((subject: Subject) =>
    paramiko(subject, "sftp.chown('file', 12345, 54321)"),
  ),
  ...cannot('it has no call for it', 'hardLink', 'room'),
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
  lines: (subject) => paramikoOpens(subject, 'lines', lineName),
  // It lists only names that are UTF-8, but opens any.
  bytes: (subject) => paramikoOpens(subject, 'bytes', bytesName),
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

/** Gets everything in a folder whose name begins with x. */
function asyncsshLists(subject: Subject, folder: string): Promise<string> {
  return asyncssh(
    subject,
    `for name in await sftp.listdir(b'${folder}'):`,
    `    path = b'${folder}/' + name`,
    "    if name.startswith(b'x'): await sftp.get(path, path)",
  )
}

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
  owner: mayChangeOwners((subject: Subject) =>
    asyncssh(subject, "await sftp.chown('file', 12345, 54321)"),
  ),
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
  lines: (subject) => asyncsshLists(subject, 'lines'),
  bytes: (subject) => asyncsshLists(subject, 'bytes'),
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

/** Puts and gets it. */
function scpBoth(
  subject: Subject,
  name: string,
  far: string,
  back: string,
  rest = '',
): Promise<string> {
  return asyncssh(
    subject,
    `await asyncssh.scp('${name}', (connection, '${far}')${rest})`,
    `await asyncssh.scp((connection, '${far}'), '${back}'${rest})`,
  )
}

ask('asyncssh scp', has.asyncssh, {
  big: (subject) => scpBoth(subject, 'big', 'up', 'down'),
  tree: (subject) => scpBoth(subject, 'tree', 'trees/tree', 'back/tree', ', recurse=True'),
  times: (subject) => scpBoth(subject, 'dated', 'dated', 'again', ', preserve=True'),
  // It leaves quoting to its users.
  unicode: (subject) => scpBoth(subject, unicode, `"${unicode}"`, `${unicode} back`),
  empty: async (subject) => {
    for (const name of ['empty', 'sparse']) await scpBoth(subject, name, name, `${name}.back`)
  },
  bytes: (subject) =>
    asyncssh(
      subject,
      `await asyncssh.scp((connection, b'"bytes/' + ${literal(bytesName)} + b'"'), b'bytes')`,
    ),
  errors: (subject) =>
    asyncssh(
      subject,
      'async def fails(reason, call):',
      '    try: await call',
      '    except asyncssh.SFTPError as error:',
      '        if reason in str(error): return',
      '        raise',
      '    raise AssertionError(reason)',
      "await fails('No such file', asyncssh.scp((connection, 'missing'), 'x'))",
      "await fails('denied', asyncssh.scp('empty', (connection, '/sys/new')))",
    ),
  many: async (subject) => {
    await fs.mkdir(join(subject.near, 'few'))
    await asyncssh(subject, `await asyncssh.scp((connection, 'many/${fewOfMany}'), 'few')`)
    await checkFew(join(subject.near, 'few'))
  },
  lines: 'scp refuses names with control characters',
  ...cannot('it copies whole files', 'resume', 'rename', 'symlink', 'hardLink', 'owner', 'room'),
  mode: async (subject) => {
    await fs.writeFile(join(subject.near, 'file'), 'a file', { mode: 0o640 })
    await asyncssh(subject, "await asyncssh.scp('file', (connection, 'file'), preserve=True)")
  },
})
