// What samples may use without making it. `pair` makes a server over memory and a client of it, the
// keys of both being there already; `client` is one that is logged in at a server with a few
// commands, and `sftp` has files behind such a server. Each sample gets its own. `box` has what a
// user has of a server on the network, which is there when samples are run.

import { readFile } from 'node:fs/promises'
import {
  type Client,
  type ClientOptions,
  connect,
  generateKey,
  memoryPair,
  pinned,
  publickey,
  type ServerOptions,
  type SessionHandler,
  serve,
  type Transport,
} from '@sandbox-ssh/protocol'
import { memoryFileSystem, openSftp, type SftpClient, sftpServer } from '@sandbox-ssh/sftp'

type Pair = (server: Partial<ServerOptions>, client?: Partial<ClientOptions>) => Promise<Client>

const opened: Client[] = []

/** Connects a client and a server over memory. */
export async function pair(): Promise<Pair> {
  return async (server, client) => {
    const [left, right] = memoryPair()
    const hostKey = generateKey('ed25519')
    const userKey = generateKey('ed25519')
    const serving = serve(right, {
      hostKeys: [hostKey],
      auth: { publickey: ({ key }) => key.equals(userKey.publicKey) },
      exec: echo,
      ...server,
    })
    // What the client is told is told enough.
    serving.catch(() => undefined)
    const made = await connect(left, {
      username: 'ada',
      hostKey: pinned(hostKey.publicKey),
      auth: [publickey(userKey)],
      ...client,
    })
    opened.push(made)
    return made
  }
}

/** A client that is logged in at a server with a few commands, files in memory and an echo port. */
export async function client(): Promise<Client> {
  const make = await pair()
  return make({ subsystems: { sftp: sftpServer(memoryFileSystem()) }, directTcpip: echoPort })
}

/** Files over SSH: `/etc/motd`, and an empty `/home/ada`. */
export async function sftp(): Promise<SftpClient> {
  const made = await openSftp(await client())
  await made.mkdirs('/etc')
  await made.mkdirs('/home/ada')
  await made.write('/etc/motd', 'all quiet\n')
  return made
}

/** The user's files for the server `box`: known_hosts, and the private key. */
export async function box(): Promise<{ readonly hosts: string; readonly key: string }> {
  return {
    hosts: await readFile('known_hosts', 'utf8'),
    key: await readFile('id_ed25519', 'utf8'),
  }
}

/** Closes what a sample has left. */
export async function closeAll(): Promise<void> {
  for (const each of opened.splice(0)) await each.close()
}

/** The commands: `echo WORDS`, `cat`, `exit N`. */
const echo: SessionHandler = async (session) => {
  const [program, rest = ''] = session.command.split(/ (.*)/s)
  if (program === 'echo') await session.write(new TextEncoder().encode(`${rest}\n`))
  else if (program === 'cat') await session.stdin.pipeTo(session.stdout)
  else return program === 'exit' ? Number(rest) : 127
  return 0
}

/** Whatever connects gets its own bytes back. */
function echoPort(): Transport {
  const [near, far] = memoryPair()
  const back = async (): Promise<void> => {
    for (let chunk = await far.read(); chunk !== undefined; chunk = await far.read()) {
      await far.write(chunk)
    }
    await far.close()
  }
  back().catch(() => far.abort())
  return near
}
