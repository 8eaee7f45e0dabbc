// npm's ssh2 as peers that are tried with all they have.

import { readFileSync } from 'node:fs'
import {
  type AddressInfo,
  connect,
  createServer,
  type NetConnectOpts,
  type Server,
  type Socket,
} from 'node:net'
import ssh2, {
  type AuthContext,
  type Channel,
  type ClientChannel,
  type ConnectConfig,
  type Connection,
  type ParsedKey,
  type ServerChannel,
} from 'ssh2'
import type { ForwardKind, Login, PeerClient, PeerServer, ServerSetup } from './peer.ts'
import { because, hostCertificates, peerRekeys, userCertificates } from './reasons.ts'
import { execSsh2, listenSsh2, openSsh2, proves } from './ssh2.ts'

/** Settings of a client for a login. */
export function settingsFor(login: Login): ConnectConfig {
  const { port, username, hostKey, proof, second, agent, forwardedAgent } = login
  const expected = Buffer.from(hostKey.publicKey.blob)
  return {
    ...{ host: '127.0.0.1', port, username },
    // It asks for what is OpenSSH's where the server does not bear that name, too.
    strictVendor: false,
    hostVerifier: (key: Buffer) => key.equals(expected),
    // Offers it; whether it is used is for the server to say.
    algorithms: { compress: ['zlib@openssh.com', 'none'] },
    ...('key' in proof && agent === undefined && { privateKey: readFileSync(proof.path) }),
    ...(agent !== undefined && { agent }),
    ...(forwardedAgent !== undefined && { agent: forwardedAgent, agentForward: true }),
    ...(second !== undefined && { password: second }),
    ...('secret' in proof && proof.method === 'password' && { password: proof.secret }),
    ...('secret' in proof && proof.method === 'keyboard-interactive' && { tryKeyboard: true }),
  }
}

const forwards: readonly ForwardKind[] = [
  '-J',
  '-L to a TCP port',
  '-L to a Unix socket',
  '-R of a TCP port',
  '-R of a Unix socket',
]

/** A client that has logged in; the caller ends it. */
async function logIn(login: Login): Promise<ssh2.Client> {
  const { proof, through } = login
  if (through !== undefined) {
    const jump = await logIn(through)
    const sock = await new Promise<ClientChannel>((resolve, reject) =>
      jump.forwardOut('127.0.0.1', 0, '127.0.0.1', login.port, (error, channel) =>
        error === undefined ? resolve(channel) : reject(error),
      ),
    )
    const inner = await openSsh2({ ...settingsFor(login), sock })
    return inner.once('close', () => jump.end())
  }
  const { secret = '', answers = [secret], newPassword = '' } = 'secret' in proof ? proof : {}
  const left = [...answers]
  return openSsh2(settingsFor(login), (made) => {
    made.on('keyboard-interactive', (_name, _instructions, _lang, prompts, finish) =>
      finish(prompts.map(() => left.shift() ?? '')),
    )
    made.on('change password', (_prompt, finish) => finish(newPassword))
  })
}

/** `Client` of ssh2. */
export const ssh2Client: PeerClient = {
  name: 'ssh2',
  missing: undefined,
  secrets: ['password', 'keyboard-interactive'],
  rekeys: false,
  forwards,
  usesAgent: true,
  forwardsAgent: true,
  securityKeys: 'by agent',
  unable: {
    ...because('it knows no certificates', [...userCertificates, ...hostCertificates]),
    [peerRekeys]: 'its client has no function for it',
    '-D': 'it does not speak SOCKS',
    'sk-ssh-ed25519@openssh.com': 'it does not know such keys',
    'sk-ecdsa-sha2-nistp256@openssh.com': 'it does not know such keys',
  },
  exec: async (login, command, stdin) => {
    const client = await logIn(login)
    try {
      return await execSsh2(client, command, stdin)
    } finally {
      client.end()
    }
  },
  together: async (login, commands, stdin) => {
    const client = await logIn(login)
    try {
      return await Promise.all(commands.map((command) => execSsh2(client, command, stdin)))
    } finally {
      client.end()
    }
  },
  reach: async (login, place, data) => {
    const client = await logIn(login)
    try {
      const channel = await new Promise<ClientChannel>((resolve, reject) => {
        const opened = (error: Error | undefined, made: ClientChannel): void =>
          error === undefined ? resolve(made) : reject(error)
        if ('path' in place) client.openssh_forwardOutStreamLocal(place.path, opened)
        else client.forwardOut('127.0.0.1', 0, '127.0.0.1', place.port, opened)
      })
      channel.end(data)
      const chunks: Buffer[] = []
      for await (const chunk of channel) chunks.push(chunk as Buffer)
      return Buffer.concat(chunks)
    } finally {
      client.end()
    }
  },
  listen: async (login, place) => {
    const client = await logIn(login)
    const echo = (_: unknown, accept: () => Channel): void => {
      const channel = accept()
      channel.pipe(channel)
    }
    if ('path' in place) {
      client.on('unix connection', echo)
      await new Promise<void>((resolve, reject) => {
        client.openssh_forwardInStreamLocal(place.path, (error) =>
          error ? reject(error) : resolve(),
        )
      })
      return { place, stop: async () => void client.end() }
    }
    client.on('tcp connection', echo)
    const port = await new Promise<number>((resolve, reject) => {
      client.forwardIn('127.0.0.1', place.port, (error, chosen) =>
        error ? reject(error) : resolve(chosen),
      )
    })
    return { place: { port }, stop: async () => void client.end() }
  },
}

/** Connects, and listens, for a client of its server. */
function forward(connection: Connection): void {
  const joined = (socket: Socket, channel: ServerChannel): void => {
    socket.on('error', () => channel.end())
    channel.on('error', () => socket.destroy())
    // Its `end` closes the channel, so that it may come only once both sides have ended.
    let ended = 0
    const half = (): void => {
      ended++
      if (ended === 2) channel.end()
    }
    socket.pipe(channel, { end: false })
    socket.once('end', () =>
      channel.write(Buffer.alloc(0), () => {
        channel.eof()
        half()
      }),
    )
    channel.pipe(socket)
    channel.once('end', half)
  }
  const dial = (to: NetConnectOpts, accept: () => ServerChannel, reject: () => void): void => {
    const socket = connect({ ...to, allowHalfOpen: true })
    socket.once('connect', () => joined(socket, accept()))
    socket.once('error', reject)
  }
  connection.on('tcpip', (accept, reject, { destIP, destPort }) =>
    dial({ host: destIP, port: destPort }, accept, reject),
  )
  connection.on('openssh.streamlocal', (accept, reject, { socketPath }) =>
    dial({ path: socketPath }, accept, reject),
  )
  const servers: Server[] = []
  connection.on('close', () => {
    for (const server of servers) server.close()
  })
  connection.on('request', (accept, reject, name, info) => {
    // Cancelling: the connection ends soon after.
    if (name.startsWith('cancel-')) return accept?.()
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      const opened = (error: Error | undefined, channel: ServerChannel): void =>
        error === undefined ? joined(socket, channel) : void socket.destroy()
      if ('socketPath' in info) {
        connection.openssh_forwardOutStreamLocal(String(info.socketPath), opened)
      } else {
        const { port } = server.address() as AddressInfo
        connection.forwardOut(info.bindAddr, port, '127.0.0.1', 0, opened)
      }
    })
    servers.push(server)
    server.once('error', () => reject?.())
    server.listen(
      'socketPath' in info ? { path: info.socketPath } : { port: info.bindPort, host: '127.0.0.1' },
      () => {
        const address = server.address()
        accept?.(typeof address === 'object' && address !== null ? address.port : undefined)
      },
    )
  })
}

/** `Server` of ssh2. */
export const ssh2Server: PeerServer = {
  name: 'ssh2',
  missing: undefined,
  secrets: ['password', 'keyboard-interactive'],
  rekeys: true,
  forwards,
  unable: {
    ...because('it knows no certificates', [...userCertificates, ...hostCertificates]),
    'forwarded to a command': 'its server cannot open the channel for it',
    'diffie-hellman-group-exchange-sha256': 'its server proposes group exchange without having it',
  },
  start: async (setup) => {
    const { hostKeys, rekeyBytes } = setup
    const paths = hostKeys.map(({ path }) => path)
    const load = rekeyBytes === undefined ? {} : { rekeyBytes }
    return listenSsh2(paths, () => deciding(setup), { ...load, serve: forward })
  },
}

/** Who decides about the users of one connection. */
function deciding(setup: ServerSetup): (context: AuthContext) => void {
  const { username, password, userKeys, rounds = [[password]], newPassword, bothProofs } = setup
  const keys = userKeys.map(({ path }) => publicKeyIn(path))
  let hasKey = false
  return (context) => {
    if (context.username !== username) return context.reject()
    switch (context.method) {
      case 'publickey':
        if (!proves(context, keys)) return context.reject()
        if (bothProofs !== true) return context.accept()
        if (context.signature === undefined) return context.accept()
        hasKey = true
        return context.reject(['password'], true)
      case 'password':
        if (context.password !== password) return context.reject()
        if (bothProofs === true && !hasKey) return context.reject(['publickey'])
        if (newPassword === undefined) return context.accept()
        return context.requestChange('Your password has expired.', (changed) =>
          changed === newPassword ? context.accept() : context.reject(),
        )
      case 'keyboard-interactive': {
        const ask = ([round, ...later]: NonNullable<ServerSetup['rounds']>): void => {
          if (round === undefined) return context.accept()
          const prompts = round.map((_, at) => ({
            prompt: 'Answer: ',
            echo: at > 0 || round !== rounds[0],
          }))
          context.prompt(prompts, (answers) =>
            answers.join() === round.join() ? ask(later) : context.reject(),
          )
        }
        return ask(rounds)
      }
      default:
        return context.reject(['publickey', 'password', 'keyboard-interactive'])
    }
  }
}

function publicKeyIn(path: string): ParsedKey {
  const key = ssh2.utils.parseKey(readFileSync(`${path}.pub`))
  if (key instanceof Error) throw key
  return key
}
