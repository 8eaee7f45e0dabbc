// Our sftp-server program under OpenSSH's sftp, without SSH in between: `sftp -D`.
// Time limit: 300 s

import { createHash, randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { sftpServerPath } from '../../scripts/programs.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { type Ran, run } from '../peers/run.ts'

/** Runs a batch of sftp commands, each of which has to succeed unless it begins with `-`. */
async function sftp(
  cwd: string,
  commands: readonly string[],
  server: readonly string[] = [],
): Promise<Ran & { readonly text: string }> {
  const batch = `${commands.join('\n')}\n`
  const program = [process.execPath, sftpServerPath, ...server].join(' ')
  const ran = await run(['sftp', '-q', '-b', '-', '-D', program], { stdin: batch, cwd })
  return { ...ran, text: ran.stdout.toString() }
}

async function succeed(
  cwd: string,
  commands: readonly string[],
  server: readonly string[] = [],
): Promise<string> {
  const { code, stderr, text } = await sftp(cwd, commands, server)
  assert.is(code, 0, stderr)
  return text
}

async function sha256(path: string): Promise<string> {
  return createHash('sha256')
    .update(await fs.readFile(path))
    .digest('hex')
}

test('100 MiB there and back have equal hashes, and a rest is resumed', async () => {
  const folder = temporaryFolder()
  await fs.writeFile(join(folder, 'big'), randomBytes(100 * 2 ** 20))
  const hash = await sha256(join(folder, 'big'))
  await succeed(folder, ['put big up', 'get up down'])
  assert.is(await sha256(join(folder, 'up')), hash)
  assert.is(await sha256(join(folder, 'down')), hash)
  await fs.truncate(join(folder, 'up'), 50_000_001)
  await fs.truncate(join(folder, 'down'), 70_000_003)
  await succeed(folder, ['reput big up', 'reget up down'])
  assert.is(await sha256(join(folder, 'up')), hash)
  assert.is(await sha256(join(folder, 'down')), hash)
})

test('a tree of 2,000 small files goes there and back', async () => {
  const folder = temporaryFolder()
  for (let i = 0; i < 2000; i++) {
    const inner = join(folder, 'tree', String(i % 20))
    await fs.mkdir(inner, { recursive: true })
    await fs.writeFile(join(inner, `file ${i}`), `contents of ${i}\n`.repeat(i % 40))
  }
  await fs.utimes(join(folder, 'tree/3/file 3'), 1000, 2000)
  await fs.chmod(join(folder, 'tree/3/file 3'), 0o751)
  await succeed(folder, ['put -Rp tree up', 'get -Rp up down'])
  for (const copy of ['up', 'down']) {
    assert.is((await run(['diff', '-r', join(folder, 'tree'), join(folder, copy)])).code, 0)
    const stat = await fs.stat(join(folder, copy, '3/file 3'))
    assert.is(stat.mode & 0o777, 0o751)
    assert.is(stat.mtimeMs, 2_000_000)
  }
})

test('a directory of 10,000 entries is listed whole', async () => {
  const folder = temporaryFolder()
  await fs.mkdir(join(folder, 'many'))
  for (let i = 0; i < 10_000; i++) await fs.writeFile(join(folder, 'many', `entry-${i}`), '')
  const lines = (await succeed(folder, ['ls -1 many'])).split('\n').slice(1, -1)
  assert.is(new Set(lines).size, 10_000)
})

test('listings show types, modes, links and owners', async () => {
  const folder = temporaryFolder()
  await fs.writeFile(join(folder, 'file'), '12345', { mode: 0o640 })
  await fs.chmod(join(folder, 'file'), 0o4750)
  await fs.mkdir(join(folder, 'directory'))
  await fs.symlink('file', join(folder, 'link'))
  await run(['mkfifo', join(folder, 'fifo')])
  const text = await succeed(folder, ['ls -la'])
  assert.match(text, /^-rwsr-x--- .* 5 \w{3} [ \d]\d \d\d:\d\d file$/m)
  assert.match(text, /^drwxr-xr-x .* directory$/m)
  assert.match(text, /^lrwxrwxrwx .* link$/m)
  assert.match(text, /^prw-r--r-- .* fifo$/m)
  assert.match(text, /^d.* \.$/m)
  assert.match(text, /^d.* \.\.$/m)
})

test('names, links, modes and sizes can be changed', async () => {
  const folder = temporaryFolder()
  await fs.writeFile(join(folder, 'a'), 'A')
  await fs.writeFile(join(folder, 'b'), 'B')
  const owners = canChangeOwners() ? ['chown 12345 b', 'chgrp 54321 b'] : []
  await succeed(folder, [
    'rename a b',
    'ln b hard',
    'ln -s b soft',
    'chmod 600 b',
    ...owners,
    'mkdir d',
    'rmdir d',
    'mkdir d',
    'rename d e',
    'df .',
    'df -h .',
  ])
  assert.is(await fs.readFile(join(folder, 'b'), 'utf8'), 'A')
  const stat = await fs.stat(join(folder, 'b'))
  assert.is(stat.nlink, 2)
  assert.is(stat.mode & 0o777, 0o600)
  if (canChangeOwners()) assert.equal([stat.uid, stat.gid], [12_345, 54_321])
  assert.is(await fs.readlink(join(folder, 'soft')), 'b')
  assert.equal((await fs.readdir(folder)).sort(), ['b', 'e', 'hard', 'soft'])
})

function canChangeOwners(): boolean {
  return process.getuid?.() === 0
}

test('names of any bytes, empty and sparse files', async () => {
  const folder = temporaryFolder()
  const odd = Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0x78, 0xff, 0xc3])])
  await fs.writeFile(odd, 'odd')
  await fs.writeFile(join(folder, 'ü 日本'), 'u')
  await fs.writeFile(join(folder, 'empty'), '')
  await fs.writeFile(join(folder, 'sparse'), '')
  await fs.truncate(join(folder, 'sparse'), 5_000_000)
  await succeed(folder, [
    'get x* odd',
    'get "ü 日本" umlaut',
    'get empty none',
    'get sparse full',
    'rm x*',
  ])
  assert.is(await fs.readFile(join(folder, 'odd'), 'utf8'), 'odd')
  assert.is(await fs.readFile(join(folder, 'umlaut'), 'utf8'), 'u')
  assert.is((await fs.stat(join(folder, 'none'))).size, 0)
  assert.is((await fs.stat(join(folder, 'full'))).size, 5_000_000)
  assert.not.ok((await fs.readdir(folder)).some((name) => name.startsWith('x')))
})

test('errors have the words of sftp-server', async () => {
  const folder = temporaryFolder()
  await fs.mkdir(join(folder, 'full'))
  await fs.writeFile(join(folder, 'full/x'), '')
  const cases = [
    ['get missing', /not found/],
    ['rm missing', /No such file/],
    ['rmdir full', /Failure/],
    ['mkdir full', /Failure/],
  ] as const
  for (const [command, message] of cases) {
    const { code, stderr } = await sftp(folder, [command])
    assert.is(code, 1)
    assert.match(stderr, message)
  }
})

test('read-only, start folder, denied requests and umask work as in sftp-server(8)', async () => {
  const folder = temporaryFolder()
  await fs.mkdir(join(folder, 'start'))
  await fs.writeFile(join(folder, 'start/file'), 'x')
  const refused = await sftp(folder, ['rm start/file'], ['-R'])
  assert.match(refused.stderr, /Permission denied/)
  assert.match(await succeed(folder, ['pwd'], ['-d', join(folder, 'start')]), /\/start$/m)
  const denied = await sftp(folder, ['mkdir d'], ['-P', 'mkdir,rmdir'])
  assert.match(denied.stderr, /Permission denied/)
  await succeed(folder, ['put start/file masked'], ['-u', '077'])
  assert.is((await fs.stat(join(folder, 'masked'))).mode & 0o777, 0o600)
})

test('bad arguments give a line and a status, not a trace', async () => {
  const program = [process.execPath, sftpServerPath]
  for (const words of [['-x'], ['-u', 'rwx'], ['-P'], ['-P', 'shred'], ['-Q', 'nothing']]) {
    const { code, stderr } = await run([...program, ...words])
    assert.ok(code !== 0, words.join(' '))
    assert.match(stderr, /^(usage|error): /)
    assert.not.match(stderr, /^ {4}at /m)
  }
  const listed = await run([...program, '-Q', 'requests'])
  assert.is(listed.code, 0)
  assert.ok(listed.stdout.toString().split('\n').includes('users-groups-by-id'))
})

test.run()
