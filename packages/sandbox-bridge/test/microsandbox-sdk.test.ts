/**
 * §8 of the reference: a program as it is written for microsandbox's SDK, with every method, option
 * and name, type-checked against ours and run unchanged; then what ours has beyond.
 */
// Also on: bun, deno
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import {
  connect,
  generateKey,
  memoryPair,
  nodeListener,
  nodeSocket,
  pinned,
  publickey,
  SshError,
  type Transport,
} from '@sandbox-ssh/protocol'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  InvalidConfigError,
  MicrosandboxError,
  sandbox as named,
  type Sandbox,
  SandboxError,
  SandboxNotFoundError,
  SandboxSshOps,
  SftpClient,
  type SshAttachOptions,
  SshClient,
  type SshClientOptions,
  type SshExecOptions,
  type SshOutput,
  SshServer,
  type SshServerOptions,
  TerminalError,
} from '../src/index.ts'
import { findPrograms } from '../src/local/programs.ts'
import { hasTerminals, memorySandbox, temporaryDirectory } from './memory-sandbox.ts'
import { within } from './within.ts'

const test = suite('code for microsandbox’s SDK')
const add = (title: string, body: () => Promise<void>): void =>
  test(title, () => within(20_000, body))

/** Exactly these types, neither wider nor narrower. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
/** What a type has under the names of the reference; a name that is missing does not compile. */
type Named<T, K extends keyof T> = Pick<T, K>

const clientOptions: Named<SshClientOptions, 'user' | 'term' | 'sftp' | 'inactivityTimeoutSecs'> =
  {}
const serverOptions: Named<
  SshServerOptions,
  'hostKeyPath' | 'authorizedKeysPath' | 'user' | 'sftp' | 'inactivityTimeoutSecs'
> = {}
const returns: readonly true[] = [
  true satisfies Same<ReturnType<SandboxSshOps['openClient']>, Promise<SshClient>>,
  true satisfies Same<ReturnType<SandboxSshOps['open_client']>, Promise<SshClient>>,
  true satisfies Same<ReturnType<SandboxSshOps['prepareServer']>, Promise<SshServer>>,
  true satisfies Same<ReturnType<SshClient['exec']>, Promise<SshOutput>>,
  true satisfies Same<ReturnType<SshClient['attach']>, Promise<number>>,
  true satisfies Same<ReturnType<SshClient['sftp']>, Promise<SftpClient>>,
  true satisfies Same<ReturnType<SshClient['close']>, Promise<void>>,
  true satisfies Same<ReturnType<SftpClient['read']>, Promise<Buffer>>,
  true satisfies Same<ReturnType<SftpClient['write']>, Promise<void>>,
  true satisfies Same<ReturnType<SftpClient['mkdir']>, Promise<void>>,
  true satisfies Same<ReturnType<SftpClient['removeFile']>, Promise<void>>,
  true satisfies Same<ReturnType<SftpClient['removeDir']>, Promise<void>>,
  true satisfies Same<ReturnType<SftpClient['rename']>, Promise<void>>,
  true satisfies Same<ReturnType<SftpClient['symlink']>, Promise<void>>,
  true satisfies Same<ReturnType<SftpClient['realPath']>, Promise<string>>,
  true satisfies Same<ReturnType<SftpClient['readLink']>, Promise<string>>,
  true satisfies Same<ReturnType<SftpClient['close']>, Promise<void>>,
  true satisfies Same<ReturnType<SshServer['serveConnection']>, Promise<void>>,
  true satisfies Same<ReturnType<SshServer['close']>, Promise<void>>,
  true satisfies Same<SshOutput['status'], number>,
  true satisfies Same<SshOutput['stdout'], Buffer>,
  true satisfies Same<SshOutput['stderr'], Buffer>,
]

/** As it would be written there; only where the sandbox comes from is ours. */
async function theirProgram(sandbox: Sandbox, directory: string): Promise<string[]> {
  const said: string[] = []
  const ssh: SandboxSshOps = sandbox.ssh()
  const opts: SshClientOptions = {
    user: 'root',
    term: 'xterm-256color',
    sftp: true,
    inactivityTimeoutSecs: 0,
  }
  const client: SshClient = await ssh.openClient(opts)
  const exec: SshExecOptions = { tty: false }
  const output: SshOutput = await client.exec('echo hello; echo oops >&2; exit 3', exec)
  said.push(`${output.status} ${output.stdout.toString('utf8')}${output.stderr.toString('utf8')}`)
  const tty = await client.exec('stty size', { tty: true })
  said.push(tty.stdout.toString())
  const sftp: SftpClient = await client.sftp()
  await sftp.mkdir(`${directory}/d`)
  await sftp.write(`${directory}/d/file`, Buffer.from('bytes'))
  const data: Buffer = await sftp.read(`${directory}/d/file`)
  said.push(data.toString('latin1'))
  await sftp.rename(`${directory}/d/file`, `${directory}/d/other`)
  await sftp.symlink('other', `${directory}/d/link`)
  said.push(await sftp.readLink(`${directory}/d/link`))
  said.push(await sftp.realPath(`${directory}/d/link`))
  await sftp.removeFile(`${directory}/d/link`)
  await sftp.removeFile(`${directory}/d/other`)
  await sftp.removeDir(`${directory}/d`)
  await sftp.close()
  await client.close()
  return said
}

add('a program with every method of it runs as it is', async () => {
  const { sandbox, directory } = memorySandbox()
  assert.equal(await theirProgram(sandbox, directory), [
    '3 hello\noops\n',
    hasTerminals
      ? '24 80\r\n'
      : 'error: exec session error: this guest cannot open a terminal: Deno passes on no descriptors\r\n',
    'bytes',
    'other',
    join(directory, 'd/other'),
  ])
  assert.not(existsSync(join(directory, 'd')))
  assert.ok(returns.every(Boolean))
  assert.equal([clientOptions, serverOptions], [{}, {}])
})

add('classes are those that are exported, and their handles are used up once closed', async () => {
  const { sandbox } = memorySandbox()
  const ops = sandbox.ssh()
  assert.instance(ops, SandboxSshOps)
  for (const same of [
    await ops.connect({ sftp: false }),
    await ops.connectWith((builder) => builder.user('root').term('vt100').inactivityTimeoutSecs(9)),
  ]) {
    assert.is((await same.exec('id -un')).stdout.toString(), 'root\n')
    await same.close()
  }
  const client = await ops.open_client()
  assert.instance(client, SshClient)
  const sftp = await client.sftp()
  assert.instance(sftp, SftpClient)
  await sftp.close()
  for (const call of [() => sftp.read('/x'), () => sftp.mkdir('/x'), () => sftp.realPath('.')]) {
    const late = await call().catch((error: Error) => error.message)
    assert.is(late, 'SSH handle has been consumed')
  }
  await client.close()
  const used = await client.exec('true').catch((error: Error) => error.message)
  assert.is(used, 'SSH handle has been consumed')
  const bad = await ops.openClient({ inactivityTimeoutSecs: -1 }).catch((error: unknown) => error)
  assert.instance(bad, RangeError)
  assert.is(
    (bad as Error).message,
    'inactivityTimeoutSecs must be an integer between 0 and 4294967295',
  )
})

add('an agent in a process of its own gives terminals to whatever runtime asks', async () => {
  const endpoint = `stdio:node '${findPrograms().guest}' --stdio`
  const client = await named(endpoint, { home: temporaryDirectory() }).ssh().openClient()
  const terminal = await client.exec('stty size; echo $TERM; exit 5', { tty: true })
  assert.match(terminal.stdout.toString(), /^24 80\r\nxterm/)
  assert.is(terminal.status, 5)
  const sorted = await client.exec('sort', { stdin: 'b\na\n' })
  assert.is(sorted.stdout.toString(), 'a\nb\n')
  await client.close()
})

add('attach has its options, and needs a terminal', async () => {
  const client = await memorySandbox().sandbox.ssh().openClient()
  const options: SshAttachOptions = { term: 'vt100', detachKeys: 'ctrl-p,ctrl-q' }
  if (process.stdin.isTTY !== true) {
    assert.instance(await client.attach(options).catch((error: unknown) => error), TypeError)
  }
  await client.close()
})

add('a server of files serves whatever stream it is given, again and again', async () => {
  const { sandbox, directory } = memorySandbox()
  const key = generateKey('ed25519')
  const options: SshServerOptions = {
    hostKeyPath: join(directory, 'host'),
    authorizedKeysPath: join(directory, 'keys'),
    user: 'root',
    sftp: true,
    inactivityTimeoutSecs: 60,
  }
  writeFileSync(join(directory, 'keys'), `${key.publicKey}\n`, { mode: 0o600 })
  await using server = await sandbox.ssh().prepareServer(options)
  assert.instance(server, SshServer)
  assert.match(readFileSync(join(directory, 'host'), 'utf8'), /^-----BEGIN OPENSSH PRIVATE KEY/)
  for (const round of [1, 2]) {
    const [ours, theirs] = memoryPair()
    const served = server.serveConnection(theirs)
    const client = await connect(ours, {
      username: 'anybody',
      hostKey: pinned(...server.hostKeys),
      auth: [publickey(key)],
    })
    // Not in this process as far as it can tell: encrypted, even over memory.
    assert.not.equal(client.negotiated.cipherIn, 'none')
    assert.is((await client.run(`echo ${round}`)).text(), `${round}\n`)
    await client.close()
    await served
  }
})

add('a listener is served, and a client comes in over a socket', async () => {
  const { sandbox } = memorySandbox()
  const [hostKey, key] = [generateKey('ed25519'), generateKey('ed25519')]
  const server = await sandbox.ssh().prepareServer({
    hostKeys: [hostKey],
    authorizedKeys: [key.publicKey],
  })
  const listening = createServer({ allowHalfOpen: true })
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve))
  const listener = await nodeListener(listening)
  const serving = server.serve(listener)
  const address = listening.address()
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0
  const { connect: dial } = await import('node:net')
  const client = await connect(nodeSocket(dial({ port, host: '127.0.0.1', allowHalfOpen: true })), {
    username: 'root',
    hostKey: pinned(hostKey.publicKey),
    auth: [publickey(key)],
  })
  assert.is((await client.run('echo socket')).text(), 'socket\n')
  // A port of the sandbox as a stream of its own.
  const echo = createServer((socket) => socket.pipe(socket))
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve))
  const inside = echo.address()
  const channel: Transport = await client.directTcpip(
    '127.0.0.1',
    typeof inside === 'object' ? (inside?.port ?? 0) : 0,
  )
  await channel.write(new TextEncoder().encode('through'))
  assert.is(new TextDecoder().decode(await channel.read()), 'through')
  channel.abort()
  await client.close()
  echo.close()
  await listener.close()
  await serving
  await server.close()
})

add('calls overlap, take input and can be given up', async () => {
  await using client = await memorySandbox().sandbox.ssh().openClient()
  const ending = new AbortController()
  const endless = client.exec('sleep 1000', { signal: ending.signal }).catch((error) => error)
  const [upper, files] = await Promise.all([
    client.exec('tr a-z A-Z', { stdin: 'text' }),
    client.sftp(),
  ])
  assert.is(upper.stdout.toString(), 'TEXT')
  {
    await using open = files
    assert.is(await open.realPath('/'), '/')
  }
  assert.instance(await files.realPath('/').catch((error: unknown) => error), SshError)
  ending.abort()
  const given = await endless
  assert.instance(given, SshError)
  assert.is(given.code, 'SSH_ABORTED')
  // Streams both ways, beside what is collected.
  const cat = await client.connection.exec('cat')
  await cat.write(new TextEncoder().encode('streamed'))
  assert.is(new TextDecoder().decode(await cat.read()), 'streamed')
  await cat.end()
  assert.is((await cat.exit).code, 0)
})

add('errors have a type and a code', async () => {
  const { directory } = memorySandbox()
  const missing = await named('nobody', { home: directory })
    .ssh()
    .openClient()
    .catch((error: unknown) => error)
  assert.instance(missing, SandboxError)
  assert.is((missing as SandboxError).code, 'SANDBOX_NOT_FOUND')
  // The names that code for the other SDK catches, each for its own and no other.
  const client = await memorySandbox().sandbox.ssh().openClient()
  const keys = await client.attach({ detachKeys: 'ctrl-1' }).catch((error: unknown) => error)
  const sftp = await client.sftp()
  const file = await sftp.read('/no/such').catch((error: unknown) => error)
  const terminal = await client.attach().catch((error: unknown) => error)
  await client.close()
  const kinds = [SandboxNotFoundError, InvalidConfigError, TerminalError, MicrosandboxError]
  const told = (error: unknown): readonly boolean[] => kinds.map((kind) => error instanceof kind)
  assert.equal(told(missing), [true, false, false, true])
  assert.equal(told(keys), [false, true, false, true])
  assert.equal(told(file), [false, false, false, true])
  if (process.stdin.isTTY !== true) assert.equal(told(terminal), [false, false, true, true])
  assert.equal(told(new TypeError('a')), [false, false, false, false])
})

test.run()
