// A client that does anything over one SSH connection into a brittle agent, and waits for little
// of it.

import {
  type Channel,
  ChannelOpenError,
  type Client,
  connect,
  generateKey,
  memoryPair,
  pinned,
  publickey,
  type RemoteProcess,
  SshError,
  type Transport,
} from '@sandbox-ssh/protocol'
import { openSftp, type SftpClient, SftpError, type SftpFile } from '@sandbox-ssh/sftp'
import { AgentClient } from '../../src/agent/client.ts'
import { GuestConnection } from '../../src/guest-connection.ts'
import { serveGuest } from '../../src/serve-guest.ts'
import { type BrittleAgent, recorded } from './brittle-agent.ts'

const hostKey = generateKey('ed25519')
const userKey = generateKey('ed25519')

/** What an SSH window, a pause that takes effect late and a chunk under way may come to. */
export const UNREAD_BYTES_MAX = 8 * 1024 * 1024
const HANDLES_MAX = 40

const COMMANDS = [
  ...['deaf', 'stubborn', 'cat', 'slow', 'exit 3', 'missing', '', ' ', 'yes\0no', 'é'],
  ...['scp -t /new', 'scp -f /f', 'scp -f /fifo', 'scp -rf /huge', 'scp -t /fifo'],
]
const HOSTS = ['cat', 'slow', 'deaf', 'yes', 'silent', 'refuse', 'nowhere', '', 'a\0b']
const SIGNALS = ['HUP', 'INT', 'TERM', 'KILL', 'STOP', 'CONT', 'TSTP', 'USR1', 'WINCH', 'NONE', '']
const PATHS = [
  ...['/f', '/etc/passwd', '/missing', '/fifo', '/tty1', '/huge', '/folder', '/new1', '/new2'],
  ...['', '.', 'relative', `/${'x'.repeat(3000)}`, '/a\0b', '/proc/net/tcp', '/folder/../fifo'],
]
/** What a session may be asked for besides, none of it twice. */
const REQUESTS = ['pty-req', 'env', 'shell', 'exec', 'x11-req', 'auth-agent-req@openssh.com']
const TERMINALS = [{}, { columns: 0, rows: 0 }, { columns: 1e6, rows: 7, modes: { ECHO: 0 } }]

/** One SSH connection and what runs on it. */
export class SshVisitor {
  readonly #random: () => number
  readonly #agent: BrittleAgent
  readonly #client: Client
  readonly #transport: Transport
  readonly #ended: Promise<void>
  readonly #pending = new Set<Promise<unknown>>()
  readonly #programs: RemoteProcess[] = []
  readonly #channels: Channel[] = []
  readonly #sftps: SftpClient[] = []
  readonly #files: SftpFile[] = []
  /** Bytes read of each `yes WORD`. */
  readonly #read = new Map<string, { readonly program: RemoteProcess; bytes: number }>()
  #left = false
  /** What went wrong that is not a refusal. */
  surprise: unknown

  private constructor(
    random: () => number,
    agent: BrittleAgent,
    client: Client,
    transport: Transport,
    ended: Promise<void>,
  ) {
    this.#random = random
    this.#agent = agent
    this.#client = client
    this.#transport = transport
    this.#ended = ended
    void client.closed.then((error) => {
      if (!this.#left) this.surprise ??= error ?? new Error('the connection ended')
    })
  }

  static async enter(random: () => number, agent: BrittleAgent): Promise<SshVisitor> {
    const [ours, theirs] = memoryPair()
    const guest = new GuestConnection(async () => AgentClient.connect(agent.accept()))
    let visitor: SshVisitor | undefined
    const serving = serveGuest(theirs, guest, {
      hostKeys: [hostKey],
      auth: { publickey: ({ key }) => key.equals(userKey.publicKey) },
      onError: (error) => visitor?.judge(error),
    })
    const client = await connect(ours, {
      username: 'root',
      hostKey: pinned(hostKey.publicKey),
      auth: [publickey(userKey)],
    })
    const ended = serving.then((server) => server.closed).then(() => guest.close())
    visitor = new SshVisitor(random, agent, client, ours, ended)
    return visitor
  }

  step(): void {
    const actions = [
      ...Array.from({ length: 4 }, () => () => this.#start()),
      ...Array.from({ length: 6 }, () => () => this.#type()),
      ...Array.from({ length: 4 }, () => () => this.#readSome()),
      ...Array.from({ length: 3 }, () => () => this.#send()),
      ...Array.from({ length: 8 }, () => () => this.#file()),
      () => this.#startEndless(),
      () => this.#program()?.end(),
      () => this.#program()?.kill(this.#pick(SIGNALS) ?? 'HUP'),
      () => this.#program()?.resize(this.#number(1e6), this.#number(100)),
      () => this.#program()?.break(),
      () => this.#program()?.close(),
      () => this.#program()?.channel.request('odd@example.org', this.#noise(40)),
      () => this.#program()?.channel.notify('window-change', this.#noise(20)),
      () => this.#program()?.channel.notify('signal', this.#noise(9)),
      () => this.#dial(),
      () => this.#dial(),
      () => this.#dialRecorded(),
      () => this.#startAndGiveUp(),
      () => this.#dialAndGiveUp(),
      () => this.#fileAndGiveUp(),
      () => this.#program()?.readStderr(),
      () => this.#program()?.channel.request(this.#pick(REQUESTS) ?? '', this.#noise(12)),
      () => this.#endBoth(),
      () => this.#startRecorded(),
      () => this.#startRecorded(),
      () => this.#fileRecorded(),
      () => this.#fileRecorded(),
      () => this.#pick(this.#channels)?.read(),
      () => this.#pick(this.#channels)?.close(),
      () => this.#pick(this.#channels)?.abort(),
      () => this.#openSftp(),
      () => this.#rawSftp(),
      () => this.#sftp()?.abort(),
      () => this.#client.directStreamlocal('/run/x.sock'),
      () => this.#client.listen('', 0),
      () => this.#client.listenStreamlocal('/run/y.sock'),
      () => this.#client.globalRequest('odd@example.org', this.#noise(30)),
      () => this.#client.subsystem('odd'),
      () => this.#client.session().then((channel) => this.#channels.push(channel)),
      () => this.#client.rekey(),
    ]
    const work = this.#pick(actions)
    try {
      this.#watch(work?.())
    } catch (error) {
      this.#judgeCall(error)
    }
    for (const [word, { program, bytes }] of this.#read) {
      const unread = this.#agent.produced(word) - bytes
      if (unread > UNREAD_BYTES_MAX)
        this.surprise ??= new Error(`${unread} bytes unread of ${word}`)
      if (program.channel.failure !== undefined) this.#read.delete(word)
    }
  }

  /** Goes, politely or not; resolves when nothing of the connection is left. */
  async leave(politely: boolean): Promise<void> {
    this.#left = true
    if (politely) await this.#client.close()
    else this.#transport.abort()
    await Promise.all(this.#pending)
    await this.#ended
  }

  /** A program runs to its end as if nothing had happened. */
  async prove(): Promise<void> {
    const { code } = await this.#client.run('exit 3')
    if (code !== 3) throw new Error(`exit 3 gave ${code}`)
  }

  /** Refusals are no surprise, at neither end. */
  judge(error: unknown): void {
    if (error instanceof SshError || error instanceof SftpError) return
    if (error instanceof ChannelOpenError) return
    this.surprise ??= error
  }

  /** Nor are the client's rules for its callers; what JavaScript itself throws is. */
  #judgeCall(error: unknown): void {
    const isRule = error instanceof TypeError || error instanceof RangeError
    if (isRule && !/^Cannot |is not a |is not iterable|undefined/.test(error.message)) return
    this.judge(error)
  }

  async #start(): Promise<void> {
    const pty = this.#random() < 0.35 ? (this.#pick(TERMINALS) ?? {}) : undefined
    const stderr = this.#pick(['pipe', 'merge', 'ignore'] as const) ?? 'pipe'
    const env = this.#random() < 0.2 ? { LC_X: 'a\nb', TERM: '', EVIL: 'x' } : {}
    const options = { stderr, env, ...(pty === undefined ? {} : { pty }) }
    const kind = this.#random()
    const command = kind < 0.2 ? this.#noise(200) : (this.#pick(COMMANDS) ?? 'cat')
    const start = kind > 0.9 ? this.#client.shell(options) : this.#client.exec(command, options)
    this.#programs.push(await start)
  }

  /** What the real agent was asked, too. */
  async #startRecorded(): Promise<void> {
    const options = this.#random() < 0.4 ? { pty: {} } : {}
    const command = this.#pick(recorded.commands) ?? ''
    this.#programs.push(await this.#client.exec(command, { stderr: 'merge', ...options }))
  }

  async #dialRecorded(): Promise<void> {
    const [host, port] = this.#pick(recorded.hosts) ?? ['', 1]
    this.#channels.push(await this.#client.directTcpip(host, port))
  }

  async #fileRecorded(): Promise<void> {
    const sftp = this.#sftp()
    if (sftp === undefined) return this.#openSftp()
    const path = this.#pick(recorded.paths) ?? '/'
    const actions: (() => unknown)[] = [
      () => sftp.stat(path),
      () => sftp.lstat(path),
      () => sftp.realpath(path),
      () => sftp.readlink(path),
      () => this.#open(sftp, path),
      () => this.#list(sftp, path),
      () => sftp.remove(path),
      () => sftp.rmdir(path),
    ]
    await this.#pick(actions)?.()
  }

  /** Given up before it runs, while it does, or never. */
  async #startAndGiveUp(): Promise<void> {
    const options = { signal: this.#soon(), ...(this.#random() < 0.3 ? { pty: {} } : {}) }
    this.#programs.push(await this.#client.exec(this.#pick(COMMANDS) ?? 'cat', options))
  }

  async #dialAndGiveUp(): Promise<void> {
    const host = this.#pick(HOSTS) ?? 'cat'
    this.#channels.push(
      await this.#client.directTcpip(host, 1, undefined, { signal: this.#soon() }),
    )
  }

  async #fileAndGiveUp(): Promise<void> {
    const sftp = this.#sftp()
    if (sftp === undefined) return this.#openSftp()
    const [path, signal] = [this.#pick(PATHS) ?? '/f', this.#soon()]
    const actions: (() => unknown)[] = [
      () => sftp.read(path, { length: 100_000, signal }),
      () => sftp.write(path, new Uint8Array(this.#bytes()), { signal }),
      () => sftp.stat(path, { signal }),
      () => sftp.setstat(path, { mtime: 7, atime: 7 }, { signal }),
      () => openSftp(this.#client, { signal }).then((opened) => opened.close()),
    ]
    await this.#pick(actions)?.()
  }

  /** Both ends of a connection end, ours first or last. */
  async #endBoth(): Promise<void> {
    const channel = await this.#client.directTcpip('cat', 1)
    if (this.#random() < 0.5) await channel.write(new Uint8Array(this.#bytes()))
    await channel.close()
    while ((await channel.read()) !== undefined);
    await channel.closed
  }

  async #startEndless(): Promise<void> {
    if (this.#read.size > 3) return
    const word = `${this.#number(1e9)}`
    const pty = this.#random() < 0.3 ? { pty: {} } : {}
    const program = await this.#client.exec(`yes ${word}`, { stderr: 'merge', ...pty })
    this.#programs.push(program)
    this.#read.set(word, { program, bytes: 0 })
  }

  async #type(): Promise<void> {
    await this.#program()?.write(this.#noise(this.#bytes()))
  }

  async #readSome(): Promise<void> {
    const program = this.#program()
    const counted = [...this.#read.values()].find((each) => each.program === program)
    for (let left = this.#number(20); left > 0 && program !== undefined; left--) {
      const chunk = await program.read()
      if (chunk === undefined) break
      if (counted !== undefined) counted.bytes += chunk.length
    }
  }

  async #dial(): Promise<void> {
    this.#channels.push(await this.#client.directTcpip(this.#pick(HOSTS) ?? 'cat', 1))
  }

  async #send(): Promise<void> {
    await this.#pick(this.#channels)?.write(new Uint8Array(this.#bytes() * 10))
  }

  async #openSftp(): Promise<void> {
    if (this.#sftps.length < 4) this.#sftps.push(await openSftp(this.#client))
  }

  /** Packets that are none, lengths that are lies. */
  async #rawSftp(): Promise<void> {
    const channel = await this.#client.subsystem('sftp')
    this.#channels.push(channel)
    await channel.write(this.#noise(this.#number(300)))
  }

  async #file(): Promise<void> {
    const sftp = this.#sftp()
    if (sftp === undefined) return this.#openSftp()
    const path = this.#pick(PATHS) ?? '/f'
    const other = this.#pick(PATHS) ?? '/f'
    const file = this.#pick(this.#files)
    const position = this.#random() < 0.1 ? 2 ** 40 : this.#number(100_000)
    const actions: (() => unknown)[] = [
      () => this.#open(sftp, path),
      () => this.#open(sftp, path),
      () => file?.read(new Uint8Array(this.#bytes()), position),
      () => file?.write(new Uint8Array(this.#bytes()), position),
      () => file?.stat(),
      () => file?.setstat({ size: this.#number(1000), mtime: 7, atime: 7 }),
      () => file?.sync?.(),
      () => file?.close(),
      () => sftp.read(path, { length: 100_000 }),
      () => sftp.write(path, new Uint8Array(this.#bytes())),
      () => sftp.setstat(path, { size: this.#number(10) }),
      () => sftp.lsetstat(path, { mode: 0o600, uid: 1, gid: 1 }),
      () => this.#list(sftp, path),
      () => sftp.stat(path),
      () => sftp.lstat(path),
      () => sftp.realpath(path),
      () => sftp.readlink(path),
      () => sftp.mkdir(path),
      () => sftp.rmdir(path),
      () => sftp.remove(path === '/f' ? '/new1' : path),
      () => sftp.rename(path, other),
      () => sftp.symlink(path, other),
      () => sftp.hardlink(path, other),
      () => sftp.copyData(path, other),
      () => sftp.statvfs(path),
      () => sftp.expandPath('~/x'),
      () => sftp.homeDirectory('root'),
      () => sftp.usersGroupsById([0, 1], [0]),
      () => sftp.limits(),
    ]
    await this.#pick(actions)?.()
  }

  async #open(sftp: SftpClient, path: string): Promise<void> {
    const flag = (): boolean => this.#random() < 0.4
    const flags = { read: flag(), write: flag(), append: flag(), create: flag(), truncate: flag() }
    const file = await sftp.fileSystem.open(path, { ...flags, exclusive: flag() })
    if (this.#files.push(file) > HANDLES_MAX) await this.#files.shift()?.close()
  }

  /** Often not to the end. */
  async #list(sftp: SftpClient, path: string): Promise<void> {
    let left = this.#number(2000)
    for await (const _ of sftp.readdir(path)) if (--left < 0) break
  }

  #watch(work: unknown): void {
    if (!(work instanceof Promise)) return
    const pending = work.catch((error: unknown) => this.#judgeCall(error))
    this.#pending.add(pending)
    void pending.finally(() => this.#pending.delete(pending))
  }

  /** Fires in a few milliseconds, some of them at once. */
  #soon(): AbortSignal {
    const ms = this.#number(6)
    return ms === 0 ? AbortSignal.abort() : AbortSignal.timeout(ms)
  }

  #program(): RemoteProcess | undefined {
    return this.#pick(this.#programs)
  }

  #sftp(): SftpClient | undefined {
    return this.#pick(this.#sftps)
  }

  #pick<T>(values: readonly T[]): T | undefined {
    return values[Math.floor(this.#random() * values.length)]
  }

  #number(below: number): number {
    return Math.floor(this.#random() * below)
  }

  /** Mostly a few bytes, now and then very many. */
  #bytes(): number {
    return Math.floor(this.#random() ** 4 * 300_000)
  }

  #noise(length: number): Uint8Array {
    return new Uint8Array(length).map(() => this.#random() * 256)
  }
}
