/** `msb ssh config` and `keys`: OpenSSH's programs get in without a question. */
// Time limit: 240 s
import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Finished, finished, msb, temporaryDirectory } from './msb.ts'

const home = temporaryDirectory()
const userConfig = join(home, '.ssh', 'config')
const HOST = 'box.local.msb'

/** With nothing of this machine's user: his home is not where HOME says for OpenSSH. */
function run(program: string, ...args: string[]): Promise<Finished> {
  const env = { PATH: process.env['PATH'] ?? '', HOME: home }
  return finished(spawn(program, args, { env, cwd: home, stdio: ['ignore', 'pipe', 'pipe'] }))
}

const write = (...args: string[]): Promise<Finished> =>
  msb(['ssh', 'config', 'local:box', '--write', ...args], { home })

test('written once, and again without a change', async () => {
  mkdirSync(join(home, '.ssh'), { mode: 0o700 })
  const before = 'User somebody\n\nHost *\n  Compression yes\n'
  writeFileSync(userConfig, before, { mode: 0o640 })
  const first = await write()
  assert.is(first.stderr, `   ✓ Wrote        ${home}/ssh/config\n   ✓ Try          ssh ${HOST}\n`)
  assert.is(first.code, 0)
  const files = [
    userConfig,
    ...['config', 'known_hosts', 'id_ed25519'].map((f) => join(home, 'ssh', f)),
  ]
  const contents = (): readonly string[] => files.map((path) => readFileSync(path, 'utf8'))
  const once = contents()
  assert.is(once[0], `Include "${home}/ssh/config"\n${before}`)
  assert.equal(
    files.map((path) => (statSync(path).mode & 0o777).toString(8)),
    ['640', '600', '600', '600'],
  )
  assert.match((await write()).stderr, /Already written/)
  assert.equal(contents(), once)
})

test('ssh, scp, sftp and rsync get in by that name, and ask nothing', async () => {
  const ssh = await run('ssh', '-F', userConfig, HOST, 'id -un; echo "$SSH_CONNECTION"; exit 5')
  assert.is(ssh.stderr, '')
  assert.match(ssh.stdout.toString(), /^root\n/)
  assert.is(ssh.code, 5)
  writeFileSync(join(home, 'file'), 'contents')
  const scp = await run('scp', '-q', '-F', userConfig, 'file', `${HOST}:by-scp`)
  assert.is(scp.code, 0, scp.stderr)
  writeFileSync(join(home, 'batch'), 'rename by-scp by-sftp\nget by-sftp back\n')
  const sftp = await run('sftp', '-q', '-F', userConfig, '-b', 'batch', HOST)
  assert.is(sftp.code, 0, sftp.stderr)
  assert.is(readFileSync(join(home, 'back'), 'utf8'), 'contents')
  const rsync = await run('rsync', '-a', '-e', `ssh -F ${userConfig}`, 'file', `${HOST}:by-rsync`)
  assert.is(rsync.code, 0, rsync.stderr)
  const found = await run('ssh', '-F', userConfig, HOST, 'cat by-sftp by-rsync')
  assert.is(found.stdout.toString(), 'contentscontents')
})

test('git clones from the sandbox and pushes to it by that name', async () => {
  const ssh = `ssh -F ${userConfig}`
  const git = (cwd: string, ...args: string[]): Promise<Finished> => {
    const identity = ['-c', 'user.name=Ada', '-c', 'user.email=ada@example.org']
    const env = { PATH: process.env['PATH'] ?? '', HOME: home, GIT_SSH_COMMAND: ssh }
    const all = [...identity, ...args]
    return finished(spawn('git', all, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] }))
  }
  const made = await run('ssh', '-F', userConfig, HOST, 'git init -q --bare -b main repo.git')
  assert.is(made.code, 0, made.stderr)
  const clone = await git(home, 'clone', '-q', `${HOST}:repo.git`, 'clone')
  assert.is(clone.code, 0, clone.stderr)
  const here = join(home, 'clone')
  // Enough for packs of many packets, in both directions.
  writeFileSync(join(here, 'large'), randomBytes(3_000_000))
  await git(here, 'add', '.')
  await git(here, 'commit', '-q', '-m', 'one')
  const push = await git(here, 'push', '-q', 'origin', 'HEAD:main')
  assert.is(push.code, 0, push.stderr)
  const again = await git(home, 'clone', '-q', `ssh://${HOST}/~/repo.git`, 'again')
  assert.is(again.code, 0, again.stderr)
  assert.ok(readFileSync(join(home, 'again', 'large')).equals(readFileSync(join(here, 'large'))))
})

test('a sandbox with another host key is refused, not asked about', async () => {
  const known = join(home, 'ssh', 'known_hosts')
  const before = readFileSync(known, 'utf8')
  spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(home, 'other')])
  const [type, blob] = readFileSync(join(home, 'other.pub'), 'utf8').split(' ')
  writeFileSync(known, `${HOST} ${type} ${blob}\n`)
  const refused = await run('ssh', '-F', userConfig, HOST, 'true')
  assert.is(refused.code, 255)
  assert.match(refused.stderr, /HOST IDENTIFICATION HAS CHANGED/)
  await write()
  assert.is(readFileSync(known, 'utf8'), before)
})

test('a second sandbox and a new name stand beside the first', async () => {
  const second = await msb(
    ['ssh', 'config', 'local:two', '--write', '--alias', 'two', '--user', 'root'],
    { home },
  )
  assert.is(second.code, 0, second.stderr)
  const config = readFileSync(join(home, 'ssh', 'config'), 'utf8')
  assert.equal(config.match(/^Host .*/gm), [`Host ${HOST}`, 'Host two'])
  assert.is(readFileSync(userConfig, 'utf8').match(/Include/g)?.length, 1)
  // The key pair enters the sandboxes it was made for, and each has its own host key.
  assert.is((await run('ssh', '-F', userConfig, 'two', 'true')).code, 0)
  assert.is(
    new Set(readFileSync(join(home, 'ssh', 'known_hosts'), 'utf8').match(/AAAA\S+/g)).size,
    2,
  )
})

test('printed, it is a block that works by itself', async () => {
  const { stdout, stderr, code } = await msb(['ssh', 'config', 'local:box'], { home })
  assert.is(code, 0)
  assert.is(stderr, '')
  const file = join(home, 'printed')
  writeFileSync(file, stdout)
  assert.is((await run('ssh', '-F', file, HOST, 'echo hi')).stdout.toString(), 'hi\n')
})

test('a configuration that is a link stays one; one that is missing is made', async () => {
  const own = temporaryDirectory()
  const real = join(own, 'dotfiles')
  writeFileSync(real, 'Host x\n')
  chmodSync(real, 0o644)
  symlinkSync(real, join(own, 'linked'))
  await msb(['ssh', 'config', 'devbox', '--write', '--file', join(own, 'linked')], { home: own })
  assert.ok(lstatSync(join(own, 'linked')).isSymbolicLink())
  assert.match(readFileSync(real, 'utf8'), /^Include .*\nHost x\n$/)
  await msb(['ssh', 'config', 'devbox', '--write'], { home: own })
  assert.is(statSync(join(own, '.ssh')).mode & 0o777, 0o700)
  assert.match(readFileSync(join(own, '.ssh', 'config'), 'utf8'), /^Include /)
})

test('names that a configuration cannot hold are one clear error', async () => {
  for (const [args, message] of [
    [
      ['unix:/run/x.sock'],
      /^error: unix:\/run\/x\.sock needs a name for ssh, given with --alias\n$/,
    ],
    [['box', '--alias', 'a b'], /^error: an alias for ssh has letters/],
    [['box', '--user', 'a b'], /^error: that user cannot be named/],
    [['../x'], /^error: .*sandbox name/],
  ] as const) {
    const { code, stderr } = await msb(['ssh', 'config', ...args])
    assert.match(stderr, message)
    assert.is(code, 1)
  }
  const odd = join(temporaryDirectory(), 'with "quotes"')
  const { code, stderr } = await msb(['ssh', 'config', 'box'], { home: odd })
  assert.match(stderr, /^error: .*cannot be written in ssh_config\n$/)
  assert.is(code, 1)
})

test('keys shows what a client would show, and who may enter', async () => {
  const { stdout, code } = await msb(['ssh', 'keys', 'local:box'], { home })
  assert.is(code, 0)
  const shown = spawnSync('ssh-keygen', ['-lf', join(home, 'local', 'box', 'ssh', 'host_ed25519')])
  const [, fingerprint = ''] = shown.stdout.toString().split(' ')
  const [hosts = '', grants = ''] = stdout.toString().split('\n\n')
  assert.is(hosts, `Host keys\n${fingerprint}  ssh-ed25519  local:box`)
  assert.match(grants, /^May enter\nSHA256:\S+ {2}ssh-ed25519 {2}local:box {2,}msb ssh config\n$/)
  const all = (await msb(['ssh', 'keys'], { home })).stdout.toString()
  assert.match(all, /local:box\n/)
  assert.match(all, /local:two\n/)
  const none = await msb(['ssh', 'keys'])
  assert.is(none.stdout.toString(), 'Host keys\n(none yet)\n\nMay enter\n(none yet)\n')
})

test.run()
