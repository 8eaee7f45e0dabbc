// npm's @microsoft/dev-tunnels-ssh as peers in this process. It knows neither Ed25519 nor any key
// exchange newer than ECDH, and no strict key exchange.

import { readFile } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import {
  AuthenticationInfoRequestMessage,
  AuthenticationInfoResponseMessage,
  type ChannelRequestMessage,
  CommandRequestMessage,
  type KeyPair,
  NodeStream,
  SshAlgorithms,
  type SshAuthenticatingEventArgs,
  SshAuthenticationType,
  type SshChannel,
  SshClientSession,
  SshDisconnectReason,
  type SshRequestEventArgs,
  SshServerSession,
  SshSessionConfiguration,
  type SshStream,
} from '@microsoft/dev-tunnels-ssh'
import { importKey } from '@microsoft/dev-tunnels-ssh-keys'
import { parsePrivateKey, type Signer } from '@sandbox-ssh/protocol'
import { parseCommand } from './command.ts'
import { portForwarding } from './dev-tunnels-tcp.ts'
import type { Executed, KeyFile, Login, PeerClient, PeerServer } from './peer.ts'
import { because, hostCertificates, questions, unixSockets, userCertificates } from './reasons.ts'

/** All that the library has, forwarding included; keys anew after so many bytes. */
function configuration(rekeyBytes?: number): SshSessionConfiguration {
  const all = new SshSessionConfiguration()
  all.addService(portForwarding)
  all.keyExchangeAlgorithms.push(SshAlgorithms.keyExchange['ecdhNistp521Sha512'] ?? null)
  all.publicKeyAlgorithms.push(SshAlgorithms.publicKey['ecdsaSha2Nistp521'] ?? null)
  // Not among its types: its own tests lower it the same way.
  if (rekeyBytes !== undefined) Object.assign(all, { keyRotationThreshold: rekeyBytes })
  return all
}

const imported = new Map<string, Promise<KeyPair>>()

/** A key with its public half, whatever else it is. */
type Known = { readonly key: Pick<Signer, 'publicKey'> }

/** A key of ours as one of its; none for a kind that it does not know. */
function keyPair({ path }: Pick<KeyFile, 'path'>): Promise<KeyPair> {
  const read = async (): Promise<KeyPair> => {
    const key = await parsePrivateKey(await readFile(path, 'utf8'))
    return importKey(key.toPkcs8())
  }
  const pair = imported.get(path) ?? read()
  imported.set(path, pair)
  return pair
}

/** Whether it knows such keys at all. */
const knows = ({ key }: Known): boolean => key.publicKey.type !== 'ssh-ed25519'

const sameKey = async (pair: KeyPair | null, { key }: Known): Promise<boolean> =>
  (await pair?.getPublicKeyBytes())?.equals(key.publicKey.blob) === true

/** Logs in; the caller ends the session. */
export async function openDevTunnels(login: Login): Promise<SshClientSession> {
  const { port, username, hostKey, proof, second, through, rekeyBytes, signature } = login
  const all = configuration(rekeyBytes)
  // It signs with the first that fits the key.
  all.publicKeyAlgorithms.sort(
    (a, b) => Number(b?.name === signature) - Number(a?.name === signature),
  )
  const session = new SshClientSession(all)
  const { secret = '', answers = [secret] } = 'secret' in proof ? proof : {}
  const left = [...answers]
  const answer = async ({ infoRequest }: SshAuthenticatingEventArgs) => {
    const response = new AuthenticationInfoResponseMessage()
    response.responses = (infoRequest?.prompts ?? []).map(() => left.shift() ?? '')
    return response
  }
  session.onAuthenticating((event) => {
    event.authenticationPromise = (async () => {
      if (event.authenticationType === SshAuthenticationType.serverPublicKey) {
        return (await sameKey(event.publicKey, { key: hostKey })) ? {} : null
      }
      event.infoResponse = await answer(event)
      return null
    })()
  })
  const socket = through
    ? await (await openDevTunnels(through))
        .activateService(portForwarding)
        .streamToRemotePort('127.0.0.1', port)
    : connect(port, '127.0.0.1')
  try {
    await session.connect(new NodeStream(socket))
    const credentials = {
      username,
      ...('key' in proof && { publicKeys: [await keyPair(proof)] }),
      ...(second !== undefined && { password: second }),
      ...('secret' in proof && proof.method === 'password' && { password: proof.secret }),
    }
    if (!(await session.authenticate(credentials))) throw new Error('it was not let in')
    return session
  } catch (error) {
    session.dispose()
    socket.destroy()
    throw error
  }
}

/** Runs a command in a session of its. */
export async function execDevTunnels(
  session: SshClientSession,
  command: string,
  stdin: Uint8Array,
): Promise<Executed> {
  const channel = await session.openChannel()
  const ended = new Promise<number | undefined>((resolve) =>
    channel.onClosed(({ exitStatus }) => resolve(exitStatus)),
  )
  const chunks: Buffer[] = []
  channel.onDataReceived((chunk) => {
    chunks.push(Buffer.from(chunk))
    channel.adjustWindow(chunk.length)
  })
  const request = new CommandRequestMessage()
  request.command = command
  request.wantReply = true
  if (!(await channel.request(request))) throw new Error('the command was refused')
  if (stdin.length > 0) await channel.send(Buffer.from(stdin))
  await channel.send(Buffer.alloc(0))
  return { code: await ended, stdout: Buffer.concat(chunks) }
}

const unable = {
  ...because('it knows no certificates', [...userCertificates, ...hostCertificates]),
  ...because('it has no such channels', unixSockets),
  'forwarded to a command': 'it knows no agents',
  'keys exchanged anew by us several times under load':
    'it ends a connection on which the other side begins another key exchange',
}

const forwards = ['-L to a TCP port', '-R of a TCP port', '-J'] as const

/** Its streams else notice only when both directions have ended. */
function endsByHalves(stream: SshStream): SshStream {
  stream.channel.onEof(() => stream.push(null))
  return stream
}

/** Logs in, and out when `use` is done. */
async function during<T>(login: Login, use: (session: SshClientSession) => Promise<T>): Promise<T> {
  const session = await openDevTunnels(login)
  try {
    return await use(session)
  } finally {
    await session.close(SshDisconnectReason.byApplication)
    session.dispose()
  }
}

/** `SshClientSession`. */
export const devTunnelsClient: PeerClient = {
  name: 'dev-tunnels-ssh',
  missing: undefined,
  secrets: ['password', 'keyboard-interactive'],
  rekeys: true,
  usualKey: 'ecdsa-sha2-nistp256',
  unable: {
    ...unable,
    '-D': 'it does not speak SOCKS',
    'that holds another key lets nobody in': 'it knows no agents',
    'a password is changed on demand': 'it waits for ever when that is asked of it',
  },
  forwards,
  exec: (login, command, stdin) =>
    during(login, (session) => execDevTunnels(session, command, stdin)),
  together: (login, commands, stdin) =>
    during(login, (session) =>
      Promise.all(commands.map((command) => execDevTunnels(session, command, stdin))),
    ),
  reach: (login, place, data) =>
    during(login, async (session) => {
      if ('path' in place) throw new Error('it has no such channels')
      const service = session.activateService(portForwarding)
      const stream = await service.streamToRemotePort('127.0.0.1', place.port)
      endsByHalves(stream)
      stream.write(Buffer.from(data), () => void stream.channel.send(Buffer.alloc(0)))
      const chunks: Buffer[] = []
      for await (const chunk of stream) chunks.push(chunk as Buffer)
      return Buffer.concat(chunks)
    }),
  listen: async (login, place) => {
    const session = await openDevTunnels(login)
    const wanted = 'port' in place ? place.port : 0
    const service = session.activateService(portForwarding)
    const streamer = await service.streamFromRemotePort('127.0.0.1', wanted)
    if (streamer === null) throw new Error('the forward was refused')
    streamer.onStreamOpened((stream) => endsByHalves(stream).pipe(stream))
    const stop = async (): Promise<void> => {
      streamer.dispose()
      await session.close(SshDisconnectReason.byApplication)
      session.dispose()
    }
    return { place: { port: streamer.remotePort }, stop }
  },
}

const misplaced = 'it puts all questions before what is said about each, against RFC 4256'

/** `SshServerSession`. */
export const devTunnelsServer: PeerServer = {
  name: 'dev-tunnels-ssh',
  missing: undefined,
  secrets: ['password', 'keyboard-interactive'],
  rekeys: true,
  forwards,
  endsWhole: true,
  usualKey: 'ecdsa-sha2-nistp256',
  unable: {
    ...unable,
    ...because(misplaced, questions),
    'a password is changed on demand': 'it does not ask for it',
    'a key and then a password, of which neither is enough': 'one proof is enough to it',
  },
  start: async (setup) => {
    const { username, password, hostKeys, userKeys, rekeyBytes, rounds = [[password]] } = setup
    const publicKeys = await Promise.all(hostKeys.filter(knows).map(keyPair))
    const sessions = new Set<SshServerSession>()
    const decide = async (
      event: SshAuthenticatingEventArgs,
      asked: { rounds: number },
    ): Promise<object | null> => {
      switch (event.authenticationType) {
        case SshAuthenticationType.clientPublicKeyQuery:
        case SshAuthenticationType.clientPublicKey: {
          const known = await Promise.all(userKeys.map((file) => sameKey(event.publicKey, file)))
          return event.username === username && known.includes(true) ? {} : null
        }
        case SshAuthenticationType.clientPassword:
          return event.username === username && event.password === password ? {} : null
        case SshAuthenticationType.clientInteractive: {
          if (event.infoResponse !== null) {
            const answers = event.infoResponse.responses?.join()
            if (answers !== rounds[asked.rounds++]?.join()) return null
          }
          const round = rounds[asked.rounds]
          if (round === undefined) return {}
          event.infoRequest = new AuthenticationInfoRequestMessage()
          event.infoRequest.prompts = round.map((_, at) => ({
            prompt: 'Answer: ',
            echo: at > 0 || asked.rounds > 0,
          }))
          return null
        }
        default:
          return null
      }
    }
    const accept = (socket: Socket): void => {
      const session = new SshServerSession(configuration(rekeyBytes))
      sessions.add(session)
      session.credentials = { publicKeys }
      const asked = { rounds: 0 }
      session.onAuthenticating((event) => {
        event.authenticationPromise = decide(event, asked)
      })
      session.onChannelOpening(({ channel }) => channel.onRequest((event) => serve(channel, event)))
      session.onRequest((event) => {
        event.isAuthorized = event.requestType.endsWith('tcpip-forward')
      })
      session.onClosed(() => sessions.delete(session))
      session.connect(new NodeStream(socket)).catch(() => socket.destroy())
    }
    const server = createServer(accept)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    const stop = async (): Promise<void> => {
      for (const session of sessions) session.dispose()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
    return { port, stop }
  },
}

/** Runs what a session asks for. */
function serve(channel: SshChannel, event: SshRequestEventArgs<ChannelRequestMessage>): void {
  if (event.requestType !== 'exec') return
  const { command = '' } = event.request.convertTo(new CommandRequestMessage())
  const known = parseCommand(command)
  event.isAuthorized = known !== undefined
  if (known === undefined) return
  if (!known.copies) {
    // Not before the request was answered.
    setImmediate(() => void channel.close(known.code))
    return
  }
  let sent = Promise.resolve()
  channel.onDataReceived((chunk) => {
    const copy = Buffer.from(chunk)
    sent = sent.then(() => channel.send(copy)).then(() => channel.adjustWindow(copy.length))
    sent.catch(() => {})
  })
  channel.onEof(() => {
    sent.then(() => channel.close(known.code)).catch(() => {})
  })
}
