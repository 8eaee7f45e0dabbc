// Other people's SFTP clients against our server, each as it is installed; what is not installed is
// skipped. Every one brings 10 MiB there and back by hash and does what else it can.
// Time limit: 300 s

import { createHash, randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { generateKey, nodeSocket, type PublicKey, serve } from '@sandbox-ssh/protocol'
import { nodeFileSystem, parseScpCommand, serveScp, sftpServer } from '@sandbox-ssh/sftp'
import ssh2 from 'ssh2'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { temporaryFolder } from '../peers/folder.ts'
import { run } from '../peers/run.ts'

/** A server of a folder, for one client. */
interface Subject {
  readonly port: number
  readonly hostKey: PublicKey
  /** What the server shows. */
  readonly far: string
  /** Where the client runs; holds the file `big`. */
  readonly near: string
}

const username = 'ada'
const password = 'correct horse'

async function start(): Promise<Subject & { readonly server: Server }> {
  const hostKey = generateKey('ed25519')
  const [far, near] = [temporaryFolder(), temporaryFolder()]
  await fs.writeFile(join(near, 'big'), randomBytes(10 * 2 ** 20))
  const files = nodeFileSystem(fs, { directory: far })
  const server = createServer((socket) => {
    serve(nodeSocket(socket), {
      hostKeys: [hostKey],
      auth: { password: (attempt) => attempt.password === password },
      subsystems: { sftp: sftpServer(files) },
      exec: async (session) => {
        const command = parseScpCommand(session.command)
        return command === undefined ? 127 : serveScp(session.transport, files, command)
      },
    }).catch(() => undefined)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await fs.writeFile(join(near, 'known_hosts'), `[127.0.0.1]:${port} ${hostKey.publicKey}\n`)
  return { port, hostKey: hostKey.publicKey, far, near, server }
}

async function sha256(path: string): Promise<string> {
  return createHash('sha256')
    .update(await fs.readFile(path))
    .digest('hex')
}

async function isInstalled(...command: readonly string[]): Promise<boolean> {
  return run(command).then(
    ({ code }) => code === 0,
    () => false,
  )
}

/** Runs a program in the client's folder, and wants it to succeed. */
async function succeed(near: string, command: readonly string[], stdin = ''): Promise<string> {
  const { code, stdout, stderr } = await run(command, { cwd: near, stdin, limitMs: 100_000 })
  assert.is(code, 0, `${command[0]}: ${stdout.toString().slice(-1000)}\n${stderr.slice(-1000)}`)
  return stdout.toString()
}

/** A test with a server, if the client is installed. */
async function client(
  name: string,
  installed: boolean,
  body: (subject: Subject) => Promise<void>,
): Promise<void> {
  if (!installed) {
    test.skip(`${name} is not installed`, () => {})
    return
  }
  test(`${name} works with our server`, async () => {
    const subject = await start()
    try {
      await body(subject)
      const { near, far } = subject
      for (const copy of [join(far, 'up'), join(near, 'down')]) {
        assert.is(await sha256(copy), await sha256(join(near, 'big')))
      }
    } finally {
      subject.server.close()
    }
  })
}

await client('psftp', await isInstalled('psftp', '-V'), async ({ port, hostKey, near, far }) => {
  const login = ['-batch', '-P', String(port), '-l', username, '-pw', password]
  const trusted = [...login, '-hostkey', hostKey.fingerprint()]
  const batch =
    'put big up\nget up down\nls\nmkdir d\nmv up d\nchmod 640 d/up\nmv d/up up\nrmdir d\n'
  await fs.writeFile(join(near, 'batch'), batch)
  await succeed(near, ['psftp', ...trusted, '-b', 'batch', '127.0.0.1'])
  assert.is((await fs.stat(join(far, 'up'))).mode & 0o777, 0o640)
  for (const protocol of ['-sftp', '-scp']) {
    await succeed(near, ['pscp', protocol, '-q', ...trusted, 'big', '127.0.0.1:up'])
    await succeed(near, ['pscp', protocol, '-q', ...trusted, '127.0.0.1:up', 'down'])
  }
})

await client('curl', await hasCurl(), async ({ port, hostKey, near, far }) => {
  const pin = hostKey.fingerprint().replace('SHA256:', '')
  const curl = ['curl', '-sS', '--hostpubsha256', pin, '-u', `${username}:${password}`]
  const url = `//127.0.0.1:${port}${far}/`
  await succeed(near, [...curl, '-T', 'big', `sftp:${url}up`, '-Q', `-ln ${far}/up ${far}/link`])
  assert.is(await fs.readlink(join(far, 'link')), `${far}/up`)
  assert.match(await succeed(near, [...curl, `sftp:${url}`]), / up$/m)
  await succeed(near, [...curl, `scp:/${url}up`, '-o', 'down'])
  await succeed(near, [...curl, `sftp:${url}up`, '-o', 'down'])
})

async function hasCurl(): Promise<boolean> {
  const version = await run(['curl', '--version']).catch(() => undefined)
  return / sftp /.test(version?.stdout.toString() ?? '')
}

await client('lftp', await isInstalled('lftp', '--version'), async ({ port, near, far }) => {
  const ssh = 'ssh -a -x -o UserKnownHostsFile=known_hosts -o StrictHostKeyChecking=yes'
  await fs.mkdir(join(near, 'tree/inner'), { recursive: true })
  await fs.writeFile(join(near, 'tree/inner/file'), 'x')
  const script = [
    `set sftp:connect-program '${ssh}'`,
    `open -u ${username},'${password}' -p ${port} sftp://127.0.0.1`,
    `cd ${far}`,
    'put big -o up',
    'get up -o down',
    'mirror -R tree tree',
    'mirror tree back',
  ]
  await succeed(near, ['lftp', '-c', script.join('; ')])
  assert.is(await fs.readFile(join(near, 'back/inner/file'), 'utf8'), 'x')
})

await client('rclone', await isInstalled('rclone', 'version'), async ({ port, near, far }) => {
  const obscured = (await succeed(near, ['rclone', 'obscure', password])).trim()
  const lines = ['[far]', 'type=sftp', 'host=127.0.0.1', `port=${port}`, `user=${username}`]
  const rest = [`pass=${obscured}`, 'known_hosts_file=known_hosts', 'shell_type=none', '']
  await fs.writeFile(join(near, 'rclone.conf'), [...lines, ...rest].join('\n'))
  const rclone = ['rclone', '--config', 'rclone.conf', '-q']
  await succeed(near, [...rclone, 'copyto', 'big', `far:${far}/up`])
  await succeed(near, [...rclone, 'copyto', `far:${far}/up`, 'down'])
})

const paramiko = `
import os, paramiko, sys
port, far = int(sys.argv[1]), sys.argv[2]
transport = paramiko.Transport(('127.0.0.1', port))
transport.connect(username='${username}', password='${password}')
sftp = paramiko.SFTPClient.from_transport(transport)
sftp.put('big', 'up')
sftp.get('up', 'down')
sftp.symlink('up', 'link')
assert os.readlink(far + '/link') == 'up' == sftp.readlink('link')
sftp.mkdir('d')
sftp.rename('link', 'd/x')
sftp.posix_rename('d/x', 'link')
sftp.chmod('up', 0o600)
sftp.utime('up', (1, 2))
assert sftp.stat('up').st_mtime == 2
with sftp.open('lines', 'w') as lines:
    lines.set_pipelined(True)
    for i in range(1000):
        lines.write(b'%d\\n' % i)
assert sftp.open('lines').read() == b''.join(b'%d\\n' % i for i in range(1000))
assert sorted(sftp.listdir()) == ['d', 'lines', 'link', 'up']
try:
    sftp.stat('missing')
    raise AssertionError
except FileNotFoundError:
    pass
transport.close()
`
const python = '/usr/bin/python3'
await client(
  'paramiko',
  await isInstalled(python, '-W', 'ignore', '-c', 'import paramiko'),
  async ({ port, near, far }) => {
    await succeed(near, [python, '-W', 'ignore', '-', String(port), far], paramiko)
  },
)

const asyncssh = `
import asyncio, asyncssh, os, sys
port, far = int(sys.argv[1]), sys.argv[2]
async def main():
    login = dict(username='${username}', password='${password}', known_hosts='known_hosts')
    async with asyncssh.connect('127.0.0.1', port, **login) as connection:
        async with connection.start_sftp_client() as sftp:
            await sftp.put('big', 'up')
            await sftp.get('up', 'down')
            await sftp.symlink('up', 'link')
            assert os.readlink(far + '/link') == 'up'
            assert (await sftp.statvfs('.')).bsize > 0
            await sftp.link('up', 'hard')
            await sftp.posix_rename('hard', 'other')
            file = await sftp.open('up', 'r+')
            await file.fsync()
            await file.close()
            await sftp.mkdir('tree')
            await sftp.put('known_hosts', 'tree/x')
            await sftp.get('tree', 'tree', recurse=True, preserve=True)
            await sftp.rmtree('tree')
        await asyncssh.scp('big', (connection, 'up'))
        await asyncssh.scp((connection, 'up'), 'down')
asyncio.run(main())
`
await client(
  'asyncssh',
  await isInstalled(python, '-W', 'ignore', '-c', 'import asyncssh'),
  async ({ port, near, far }) => {
    await succeed(near, [python, '-W', 'ignore', '-', String(port), far], asyncssh)
  },
)

await client('ssh2', true, async ({ port, near, far }) => {
  const connection = new ssh2.Client()
  const call = <T = undefined>(
    start: (done: (error?: Error | null, value?: T) => void) => void,
  ): Promise<T> =>
    new Promise((resolve, reject) => {
      connection.once('error', reject)
      // Calls without a value resolve to undefined, as their type says.
      start((error, value) => (error ? reject(error) : resolve(value as T)))
    })
  await new Promise<void>((resolve, reject) => {
    connection.once('ready', resolve).once('error', reject)
    connection.connect({ host: '127.0.0.1', port, username, password })
  })
  const sftp = await call<ssh2.SFTPWrapper>((done) => connection.sftp(done))
  await call((done) => sftp.fastPut(join(near, 'big'), 'up', done))
  await call((done) => sftp.fastGet('up', join(near, 'down'), done))
  await call((done) => sftp.symlink('up', 'link', done))
  assert.is(await fs.readlink(join(far, 'link')), 'up')
  await call((done) => sftp.ext_openssh_hardlink('up', 'hard', done))
  const list = await call<{ filename: string }[]>((done) => sftp.readdir('.', done))
  assert.equal(list.map(({ filename }) => filename).sort(), ['hard', 'link', 'up'])
  connection.end()
})

test.run()
