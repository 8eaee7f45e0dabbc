/** `sandbox(…).ssh()`: the names, options and errors of the SDK. */
// Also on: bun, deno
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import {
  type Client,
  connect,
  generateKey,
  memoryPair,
  type PrivateKey,
  pinned,
  publickey,
  SshError,
} from '@sandbox-ssh/protocol'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { authorizeKeys } from '../src/home/authorize.ts'
import { sandbox } from '../src/sandbox.ts'
import type { SshServer } from '../src/ssh-server.ts'
import { hasTerminals, memorySandbox, temporaryDirectory } from './memory-sandbox.ts'
import { within } from './within.ts'

const test = suite('sandbox(…).ssh()')
const add = (title: string, body: () => Promise<void>): void =>
  test(title, () => within(20_000, body))

/** Connects to a server as an SSH client from outside would, but through memory. */
async function enter(
  server: SshServer,
  key: PrivateKey,
  username = 'root',
): Promise<{ client: Client; served: Promise<void> }> {
  const [ours, theirs] = memoryPair()
  const served = server.serveConnection(theirs)
  served.catch(() => {})
  const client = await connect(ours, {
    username,
    hostKey: pinned(...server.hostKeys),
    auth: [publickey(key)],
  })
  return { client, served }
}

add('exec collects output and passes the status through', async () => {
  const { sandbox } = memorySandbox()
  const client = await sandbox.ssh().openClient()
  const output = await client.exec('echo out; echo err >&2; exit 3')
  assert.is(output.status, 3)
  assert.instance(output.stdout, Buffer)
  assert.is(output.stdout.toString(), 'out\n')
  assert.is(output.stderr.toString(), 'err\n')
  await client.close()
})

add('open_client is another name', async () => {
  const client = await memorySandbox().sandbox.ssh().open_client({ sftp: true })
  assert.is((await client.exec('true')).status, 0)
  await client.close()
})

add('exec takes input, variables, a terminal and another user', async () => {
  const client = await memorySandbox().sandbox.ssh().openClient({ term: 'vt100' })
  const [fed, named, terminal, other] = await Promise.all([
    client.exec('tr a-z A-Z', { stdin: 'text' }),
    client.exec('echo $NAME', { env: { NAME: 'value' } }),
    client.exec('echo $TERM; stty size; echo err >&2', { tty: true }),
    process.getuid?.() === 0 ? client.exec('id -u', { user: '65534' }) : undefined,
  ])
  assert.is(fed.stdout.toString(), 'TEXT')
  assert.is(named.stdout.toString(), 'value\n')
  if (hasTerminals) assert.is(terminal.stdout.toString(), 'vt100\r\n24 80\r\nerr\r\n')
  else assert.match(terminal.stdout.toString(), /cannot open a terminal: Deno passes on no/)
  if (other !== undefined) assert.is(other.stdout.toString(), '65534\n')
  await client.close()
})

add('a signal is 128+n, with its name', async () => {
  const client = await memorySandbox().sandbox.ssh().openClient()
  const output = await client.exec('kill -TERM $$')
  assert.is(output.status, 143)
  assert.is(output.signal, 'TERM')
  await client.close()
})

add('an abort signal ends exec, more output than wanted too', async () => {
  const client = await memorySandbox().sandbox.ssh().openClient()
  const ending = new AbortController()
  const aborted = client.exec('sleep 100', { signal: ending.signal })
  ending.abort()
  await rejects(aborted, SshError, /abort/i)
  await rejects(client.exec('yes', { maxBytes: 1000 }), SshError, /more than 1000 bytes/)
  assert.is((await client.exec('echo on')).stdout.toString(), 'on\n')
  await client.close()
})

add('sftp has the names of the SDK', async () => {
  const { sandbox, directory } = memorySandbox()
  const client = await sandbox.ssh().openClient()
  const sftp = await client.sftp()
  await sftp.mkdir('dir')
  await sftp.write('dir/a', Buffer.from('text'))
  await sftp.rename('dir/a', 'dir/b')
  await sftp.symlink('b', 'dir/link')
  const read = await sftp.read('dir/link')
  assert.instance(read, Buffer)
  assert.is(read.toString(), 'text')
  assert.is(await sftp.readLink('dir/link'), 'b')
  assert.is(await sftp.realPath('dir/link'), join(directory, 'dir/b'))
  await sftp.removeFile('dir/link')
  await sftp.removeFile('dir/b')
  await sftp.removeDir('dir')
  assert.not(existsSync(join(directory, 'dir')))
  await sftp.close()
  await client.close()
})

add('sftp can be turned off', async () => {
  const client = await memorySandbox().sandbox.ssh().openClient({ sftp: false })
  await rejects(client.sftp(), SshError, /refused/)
  await client.close()
})

add('a closed client says so', async () => {
  const { sandbox, clientCount } = memorySandbox()
  const client = await sandbox.ssh().openClient()
  await Promise.all([client.close(), client.close()])
  await rejects(client.exec('true'), Error, /SSH handle has been consumed/)
  await rejects(client.sftp(), Error, /SSH handle has been consumed/)
  assert.throws(() => client.connection, /SSH handle has been consumed/)
  assert.is(clientCount(), 0)
})

add('attach needs a terminal and well-formed keys', async () => {
  const client = await memorySandbox().sandbox.ssh().openClient()
  await rejects(client.attach({ detachKeys: 'ctrl-1' }), RangeError, /invalid detach key: ctrl-1/)
  if (process.stdin.isTTY !== true) await rejects(client.attach(), TypeError, /terminal/)
  await client.close()
})

add('bad options are named', async () => {
  const ops = memorySandbox().sandbox.ssh()
  const between = /^inactivityTimeoutSecs must be an integer between 0 and 4294967295$/
  for (const inactivityTimeoutSecs of [-1, 1.5, Number.NaN, 2 ** 32]) {
    await rejects(ops.openClient({ inactivityTimeoutSecs }), RangeError, between)
    await rejects(ops.prepareServer({ inactivityTimeoutSecs }), RangeError, between)
  }
  await rejects(ops.openClient({ user: '' }), TypeError, /^user must/)
  await rejects(ops.openClient({ user: 'a\0' }), TypeError, /^user must/)
  await rejects(ops.openClient({ sftp: 1 as never }), TypeError, /^sftp must/)
  await rejects(ops.openClient({ term: 'a\n' }), TypeError, /^term must/)
  await rejects(ops.prepareServer({ acceptEnv: ['a b'] }), TypeError, /^acceptEnv/)
  const client = await ops.openClient()
  await rejects(client.exec('x', { env: { 'a=b': '' } }), TypeError, /a=b/)
  await rejects(client.exec(7 as never), TypeError, /command/)
  await client.close()
  assert.throws(() => sandbox('x', { shell: 'sh' }), /shell must be an absolute path/)
})

add('a sandbox that is not there is told by name', async () => {
  const home = temporaryDirectory()
  const opening = sandbox('no-such-box', { home }).ssh().openClient()
  await rejects(opening, Error, /sandbox not found: no-such-box/)
  assert.throws(() => sandbox('../x', { home }), /sandbox name/)
})

add('a server lets in whom the file names, at each login anew', async () => {
  const { sandbox, directory } = memorySandbox()
  const ops = sandbox.ssh()
  const [first, second] = [generateKey('ed25519'), generateKey('ed25519')]
  const hostKeyPath = join(directory, 'keys/host')
  await rejects(ops.prepareServer({ hostKeyPath }), Error, /no authorized keys in .*authorize/)
  await authorizeKeys(sandbox.home, first.publicKey.toString())
  const server = await ops.prepareServer({ hostKeyPath })
  assert.is(statSync(hostKeyPath).mode & 0o777, 0o600)
  const { client, served } = await enter(server, first)
  assert.is((await client.run('echo in')).text(), 'in\n')
  await rejects(enter(server, second), SshError, /publickey/)
  // Deno's would set a mode of its own, which everybody could write with.
  appendFileSync(sandbox.home.authorizedKeysPath, `${second.publicKey}\n`, { mode: 0o600 })
  const again = await enter(server, second)
  assert.is((await again.client.run('echo too')).text(), 'too\n')
  await Promise.all([client.close(), again.client.close()])
  await Promise.all([served, again.served])
  await server.close()
  await rejects(server.serveConnection(memoryPair()[0]), Error, /SSH handle has been consumed/)
})

add('a key file that others can write lets nobody in', async () => {
  const { sandbox, directory } = memorySandbox()
  const key = generateKey('ed25519')
  await authorizeKeys(sandbox.home, key.publicKey.toString())
  const server = await sandbox.ssh().prepareServer({ hostKeyPath: join(directory, 'host') })
  chmodSync(sandbox.home.authorizedKeysPath, 0o666)
  await rejects(enter(server, key), SshError, /publickey/)
  await server.close()
})

add('a server takes keys in memory and a fixed user', async () => {
  const { sandbox, directory } = memorySandbox()
  const key = generateKey('ed25519')
  const hostKey = generateKey('ed25519')
  const server = await sandbox.ssh().prepareServer({
    hostKeys: [hostKey],
    authorizedKeys: [key.publicKey],
    user: 'root',
    acceptEnv: ['MINE_*'],
  })
  const { client } = await enter(server, key, 'somebody')
  const result = await client.run('echo $USER $MINE_A $LANG', { env: { MINE_A: '1', LANG: 'x' } })
  assert.match(result.text(), /^root 1( |\n)/)
  assert.not.match(result.text(), /x/)
  await client.close()
  await rejects(
    sandbox.ssh().prepareServer({ hostKeys: [hostKey], authorizedKeys: [] }),
    Error,
    /no authorized public keys/,
  )
  await rejects(
    sandbox.ssh().prepareServer({ authorizedKeys: [key.publicKey] }),
    TypeError,
    /hostKeyPath/,
  )
  const broken = join(directory, 'broken')
  writeFileSync(broken, 'no key')
  await rejects(
    sandbox.ssh().prepareServer({ hostKeyPath: broken, authorizedKeys: [key.publicKey] }),
    Error,
    new RegExp(broken),
  )
  await server.close()
})

add('nothing is dialled for a client that is not let in', async () => {
  const { sandbox, clientCount } = memorySandbox()
  const server = await sandbox.ssh().prepareServer({
    hostKeys: [generateKey('ed25519')],
    authorizedKeys: [generateKey('ed25519').publicKey],
  })
  await rejects(enter(server, generateKey('ed25519')), SshError, /publickey/)
  assert.is(clientCount(), 0)
  await server.close()
})

add('read-only SFTP refuses changes', async () => {
  const { sandbox, directory } = memorySandbox()
  const key = generateKey('ed25519')
  writeFileSync(join(directory, 'file'), 'text')
  const server = await sandbox.ssh().prepareServer({
    hostKeys: [generateKey('ed25519')],
    authorizedKeys: [key.publicKey],
    readOnlySftp: true,
  })
  const { client } = await enter(server, key)
  const { openSftp } = await import('@sandbox-ssh/sftp')
  const sftp = await openSftp(client)
  assert.is(await sftp.readText('file'), 'text')
  await rejects(sftp.write('file', 'other'), Error)
  await rejects(sftp.remove('file'), Error)
  assert.is(readFileSync(join(directory, 'file'), 'utf8'), 'text')
  await server.close()
})

add('a connection without a byte is ended', async () => {
  const { sandbox } = memorySandbox()
  const key = generateKey('ed25519')
  const server = await sandbox.ssh().prepareServer({
    hostKeys: [generateKey('ed25519')],
    authorizedKeys: [key.publicKey],
    inactivityTimeoutSecs: 1,
  })
  const { client, served } = await enter(server, key)
  await rejects(served, SshError, /no activity for 1 seconds/)
  assert.ok((await client.closed) instanceof SshError)
  await server.close()
})

add('closing a server ends its connections', async () => {
  const { sandbox, clientCount } = memorySandbox()
  const key = generateKey('ed25519')
  const server = await sandbox.ssh().prepareServer({
    hostKeys: [generateKey('ed25519')],
    authorizedKeys: [key.publicKey],
  })
  const { client, served } = await enter(server, key)
  const running = client.run('sleep 100')
  running.catch(() => {})
  assert.is((await client.run('echo up')).text(), 'up\n')
  await server.close()
  await served
  await rejects(running, SshError)
  assert.is(clientCount(), 0)
})

add('default paths of the host key are under MSB_HOME', async () => {
  const home = temporaryDirectory()
  mkdirSync(join(home, 'sandboxes/devbox'), { recursive: true })
  const box = sandbox('devbox', { home })
  assert.is(box.hostKeyPath, join(home, 'sandboxes/devbox/ssh/host_ed25519'))
  await box.ssh().prepareServer({ authorizedKeys: [generateKey('ed25519').publicKey] })
  assert.is(statSync(join(home, 'sandboxes/devbox/ssh')).mode & 0o777, 0o700)
})

test.run()

async function rejects(
  work: Promise<unknown>,
  kind: abstract new (...args: never[]) => Error,
  message: RegExp = /./,
): Promise<void> {
  try {
    await work
  } catch (error) {
    assert.instance(error, kind, String(error))
    assert.match((error as Error).message, message)
    return
  }
  assert.unreachable('it did not fail')
}
