// npm's russh as a peer in this process: bindings of the client of Rust's russh. Of a command they
// tell neither exit status nor signal. No other peer here has ML-KEM.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { connect } from 'node:net'
import type { Executed, Login, PeerClient, SecretProof } from './peer.ts'
import { because, hostCertificates, peerRekeys, unixSockets, userCertificates } from './reasons.ts'

/** What comes of something, in the manner of rxjs. */
interface Events<Event = void> {
  subscribe(taken: (event: Event) => void): unknown
}

/** What a method that logs in gives. */
type Outcome = AuthenticatedSSHClient | { readonly remainingMethods: readonly string[] }

type Questions =
  | AuthenticatedSSHClient
  | { readonly state: 'failure' }
  | { readonly state: 'infoRequest'; prompts(): readonly object[] }

interface SSHClient {
  authenticateWithPassword(username: string, password: string): Promise<Outcome>
  authenticateWithKeyPair(username: string, pair: object, hash: Hash): Promise<Outcome>
  authenticateWithAgent(
    username: string,
    agent: { readonly kind: 'unix-socket'; readonly path: string },
  ): Promise<Outcome>
  startKeyboardInteractiveAuthentication(username: string): Promise<Questions>
  continueKeyboardInteractiveAuthentication(answers: readonly string[]): Promise<Questions>
  disconnect(): Promise<void>
}

interface AuthenticatedSSHClient {
  readonly disconnect$: Events
  readonly tcpChannelOpen$: Events<{ readonly channel: NewChannel }>
  readonly agentChannelOpen$: Events<NewChannel>
  openSessionChannel(): Promise<NewChannel>
  openTCPForwardChannel(to: {
    readonly addressToConnectTo: string
    readonly portToConnectTo: number
    readonly originatorAddress: string
    readonly originatorPort: number
  }): Promise<NewChannel>
  forwardTCPPort(address: string, port: number): Promise<number>
  activateChannel(channel: NewChannel): Promise<Channel>
  disconnect(): Promise<void>
}

interface NewChannel {
  take(): object
}

interface Channel {
  readonly data$: Events<Uint8Array>
  readonly eof$: Events
  readonly closed$: Events
  requestAgentForwarding(): Promise<void>
  requestExec(command: string): Promise<void>
  write(data: Uint8Array): Promise<void>
  eof(): Promise<void>
  close(): Promise<void>
}

/** By which hash an RSA key signs; others have their own. */
type Hash = 'sha1' | 'sha256' | 'sha512' | null

/** What of the package is used; its own declarations are not valid ones. */
interface Russh {
  readonly SSHClient: {
    connect(
      transport: object,
      isExpected: (key: { bytes(): Uint8Array }) => Promise<boolean>,
      settings: { readonly preferred: object },
    ): Promise<SSHClient>
  }
  readonly AuthenticatedSSHClient: new (...hidden: never) => AuthenticatedSSHClient
  readonly SshTransport: {
    newSocket(address: string): Promise<object>
    newSshChannel(channel: object): Promise<object>
  }
  readonly KeyPair: { parse(file: string): Promise<object> }
  getSupportedKexAlgorithms(): readonly string[]
  getSupportedCiphers(): readonly string[]
  getSupportedMACs(): readonly string[]
  getSupportedKeyTypes(): readonly string[]
}

/** The package, or why there is none: it brings its binaries for some systems only. */
function load(): Russh | string {
  try {
    return createRequire(import.meta.url)('russh') as Russh
  } catch (error) {
    return `npm's russh cannot be loaded: ${(error as Error).message.split('\n')[0]}`
  }
}

const loaded = load()

function russh(): Russh {
  if (typeof loaded === 'string') throw new Error(loaded)
  return loaded
}

/** What it has a name for and is no algorithm. */
const nothing = ['none', 'clear']
const real = (name: string): boolean => !nothing.includes(name)

/** All that it has, also what it does not propose by itself. */
const preferred = (): object => ({
  kex: russh().getSupportedKexAlgorithms().filter(real),
  ciphers: russh().getSupportedCiphers().filter(real),
  mac: russh().getSupportedMACs().filter(real),
  key: russh().getSupportedKeyTypes(),
  compression: ['zlib@openssh.com', 'none'],
})

/** Logs in; the caller disconnects. */
async function logIn(login: Login): Promise<AuthenticatedSSHClient> {
  const { port, username, hostKey, proof, second, agent, through, signature } = login
  const { SshTransport, SSHClient, KeyPair } = russh()
  const jump = through && (await logIn(through))
  const transport =
    jump === undefined
      ? await SshTransport.newSocket(`127.0.0.1:${port}`)
      : await SshTransport.newSshChannel((await openTcp(jump, port)).take())
  const expected = Buffer.from(hostKey.publicKey.blob)
  const client = await SSHClient.connect(transport, async (key) => expected.equals(key.bytes()), {
    preferred: preferred(),
  })
  jump?.disconnect$.subscribe(() => void client.disconnect().catch(() => {}))
  try {
    const first =
      agent !== undefined
        ? await client.authenticateWithAgent(username, { kind: 'unix-socket', path: agent })
        : 'secret' in proof
          ? await prove(client, username, proof)
          : await client.authenticateWithKeyPair(
              username,
              await KeyPair.parse(readFileSync(proof.path, 'utf8')),
              hashOf(signature),
            )
    const last =
      isIn(first) || second === undefined
        ? first
        : await client.authenticateWithPassword(username, second)
    if (isIn(last)) return last
    throw new Error('it was not let in')
  } catch (error) {
    await client.disconnect().catch(() => {})
    throw error
  }
}

const isIn = (outcome: object): outcome is AuthenticatedSSHClient =>
  outcome instanceof russh().AuthenticatedSSHClient

function hashOf(signature: string | undefined): Hash {
  if (signature === 'ssh-rsa') return 'sha1'
  if (signature === 'rsa-sha2-256') return 'sha256'
  return signature === 'rsa-sha2-512' ? 'sha512' : null
}

/** By a password or by answers. */
async function prove(
  client: SSHClient,
  username: string,
  { method, secret, answers = [secret] }: SecretProof,
): Promise<object> {
  if (method === 'password') return client.authenticateWithPassword(username, secret)
  const left = [...answers]
  let state = await client.startKeyboardInteractiveAuthentication(username)
  while (!isIn(state) && state.state === 'infoRequest') {
    const asked = state.prompts().map(() => left.shift() ?? '')
    state = await client.continueKeyboardInteractiveAuthentication(asked)
  }
  return state
}

function openTcp(client: AuthenticatedSSHClient, port: number): Promise<NewChannel> {
  return client.openTCPForwardChannel({
    ...{ addressToConnectTo: '127.0.0.1', portToConnectTo: port },
    ...{ originatorAddress: '127.0.0.1', originatorPort: 0 },
  })
}

/** Logs in, and out when `use` is done. */
async function during<T>(
  login: Login,
  use: (client: AuthenticatedSSHClient) => Promise<T>,
): Promise<T> {
  const client = await logIn(login)
  try {
    return await use(client)
  } finally {
    await client.disconnect()
  }
}

/** All that comes until the channel or the connection is closed. */
function received({ disconnect$ }: AuthenticatedSSHClient, channel: Channel): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  channel.data$.subscribe((chunk) => chunks.push(chunk))
  return new Promise((resolve) => {
    const done = (): void => resolve(Buffer.concat(chunks))
    channel.closed$.subscribe(done)
    disconnect$.subscribe(done)
  })
}

/** In pieces: while one write waits for the window, nothing that comes is taken. */
async function writeAll(channel: Channel, data: Uint8Array): Promise<void> {
  const pieceBytes = 32 << 10
  for (let at = 0; at < data.length; at += pieceBytes) {
    await channel.write(data.subarray(at, at + pieceBytes))
  }
}

async function exec(
  client: AuthenticatedSSHClient,
  command: string,
  stdin: Uint8Array,
  forwardsAgent = false,
): Promise<Executed> {
  const channel = await client.activateChannel(await client.openSessionChannel())
  const stdout = received(client, channel)
  if (forwardsAgent) await channel.requestAgentForwarding()
  await channel.requestExec(command)
  // A command need not read all, nor the server take it.
  await writeAll(channel, stdin).catch(() => {})
  await channel.eof().catch(() => {})
  return { code: undefined, stdout: await stdout }
}

/** Joins what the server opens to a socket of an agent. */
async function lend(
  client: AuthenticatedSSHClient,
  opened: NewChannel,
  path: string,
): Promise<void> {
  const socket = connect(path)
  const channel = await client.activateChannel(opened)
  channel.data$.subscribe((chunk) => void socket.write(chunk))
  channel.eof$.subscribe(() => void socket.end())
  channel.closed$.subscribe(() => void socket.destroy())
  try {
    for await (const chunk of socket) await channel.write(chunk as Buffer)
    await channel.eof()
    await channel.close()
  } catch {
    socket.destroy()
  }
}

const forwards = ['-L to a TCP port', '-R of a TCP port', '-J'] as const

/** `SSHClient`. */
export const russhClient: PeerClient = {
  name: 'russh',
  missing: typeof loaded === 'string' ? loaded : undefined,
  secrets: ['password', 'keyboard-interactive'],
  rekeys: false,
  forwards,
  usesAgent: true,
  forwardsAgent: true,
  securityKeys: 'by agent',
  tellsStatus: false,
  unable: {
    ...because('its bindings know no certificates', [...userCertificates, ...hostCertificates]),
    ...because('its bindings have no such channels', unixSockets),
    ...because(
      'its bindings do not tell it',
      [0, 1, 42, 255].map((code) => `exit status ${code}`),
    ),
    [peerRekeys]: 'its bindings have no setting for it',
    '-D': 'it does not speak SOCKS',
    'a password is changed on demand': 'it has no function for it',
  },
  exec: (login, command, stdin) =>
    during(login, (client) => {
      const { forwardedAgent } = login
      client.agentChannelOpen$.subscribe((opened) => {
        if (forwardedAgent !== undefined) void lend(client, opened, forwardedAgent)
      })
      return exec(client, command, stdin, forwardedAgent !== undefined)
    }),
  together: (login, commands, stdin) =>
    during(login, (client) => Promise.all(commands.map((command) => exec(client, command, stdin)))),
  reach: (login, place, data) =>
    during(login, async (client) => {
      if ('path' in place) throw new Error('it has no such channels')
      const channel = await client.activateChannel(await openTcp(client, place.port))
      const came = received(client, channel)
      await writeAll(channel, data)
      await channel.eof()
      return came
    }),
  listen: async (login, place) => {
    const client = await logIn(login)
    client.tcpChannelOpen$.subscribe(async ({ channel: opened }) => {
      const channel = await client.activateChannel(opened)
      let sent = Promise.resolve()
      channel.data$.subscribe((chunk) => {
        sent = sent.then(() => channel.write(chunk))
      })
      channel.eof$.subscribe(() => {
        sent
          .then(() => channel.eof())
          .then(
            () => channel.close(),
            () => {},
          )
      })
    })
    const port = await client.forwardTCPPort('127.0.0.1', 'port' in place ? place.port : 0)
    return { place: { port }, stop: () => client.disconnect() }
  },
}
