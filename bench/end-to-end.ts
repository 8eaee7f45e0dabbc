// What a user waits for: bytes through a session, and a connection being made; ours beside sshd
// with ssh, and ssh2, in the same run, as ratios.
//
//     npm run bench [-- --mib=1024] [--handshakes=200] [--rounds=5]
//
// Small by default. Every figure is the median of the rounds, with the spread; what arrived is
// counted before it is timed. Over TCP all servers are on loopback; ours, its client and ssh2's
// two sides each run in this one process, so that they have one core where ssh and sshd have two.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import {
  type Client,
  type CryptoProvider,
  connect,
  defaultCrypto,
  generateKey,
  memoryPair,
  nobleCrypto,
  nodeSocket,
  pinned,
  publickey,
  serve,
  type Transport,
} from '@sandbox-ssh/protocol'
import { connectTo } from '../conformance/peers/connect.ts'
import { OpenSsh, type Sshd, startSshd } from '../conformance/peers/openssh.ts'
import { connectSsh2, startSsh2 } from '../conformance/peers/ssh2.ts'
import { compare } from './compare.ts'

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '64' },
    handshakes: { type: 'string', default: '20' },
    rounds: { type: 'string', default: '3' },
  },
})
const bytesTotal = Number(values.mib) * 1024 * 1024
const handshakes = Number(values.handshakes)
const rounds = Number(values.rounds)

/**
 * What all streams are sealed with, but those on portable primitives: those use ChaCha20-Poly1305,
 * which is what a runtime without native AES would choose.
 */
const cipher = 'aes256-gcm@openssh.com'

const hostKey = generateKey('ed25519')
const userKey = generateKey('ed25519')
const chunk = new Uint8Array(32 * 1024).fill(120)

/** Our server on one end of a transport: `flood` sends, everything else is unknown. */
function ourServer(transport: Transport, crypto: CryptoProvider): Promise<unknown> {
  return serve(transport, {
    crypto,
    hostKeys: [hostKey],
    auth: { publickey: ({ key }) => key.equals(userKey.publicKey) },
    exec: async (session) => {
      for (let left = bytesTotal; left > 0; left -= chunk.length) await session.write(chunk)
      return 0
    },
  })
}

function ourClient(transport: Transport, crypto: CryptoProvider): Promise<Client> {
  return connect(transport, {
    crypto,
    username: 'bench',
    hostKey: pinned(hostKey.publicKey),
    auth: [publickey(userKey)],
  })
}

async function overMemory(crypto: CryptoProvider): Promise<Client> {
  const [left, right] = memoryPair()
  const [client] = await Promise.all([ourClient(left, crypto), ourServer(right, crypto)])
  return client
}

/** Reads a command's output to its end. */
async function drain(client: Client, command: string): Promise<number> {
  const process = await client.exec(command, { stderr: 'ignore' })
  let received = 0
  for (let part = await process.read(); part !== undefined; part = await process.read()) {
    received += part.length
  }
  const { code } = await process.exit
  if (code !== 0) throw new Error(`${command} ended with ${code}`)
  return received
}

/** Runs OpenSSH's client; gives how much it printed. */
async function drainOpenSsh(openssh: OpenSsh, command: string): Promise<number> {
  const [program = '', ...args] = openssh.command([], [command])
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let received = 0
  child.stdout.on('data', (part: Buffer) => {
    received += part.length
  })
  const [code] = (await once(child, 'close')) as [number]
  if (code !== 0) throw new Error(`ssh ended with ${code}`)
  return received
}

function counted(expected: number, once: () => Promise<number>): () => Promise<number> {
  return async () => {
    const done = await once()
    if (done !== expected) throw new Error(`${done} instead of ${expected}`)
    return done
  }
}

async function streams(sshd: Sshd, ourPort: number): Promise<void> {
  const openssh = new OpenSsh(sshd, [`Ciphers ${cipher}`])
  const flood = `head -c ${bytesTotal} /dev/zero`
  const ssh2Server = await startSsh2(bytesTotal)
  const memory = await overMemory(defaultCrypto())
  const portable = await overMemory(nobleCrypto)
  const tcp = await ourClient(nodeSocket(connectTcp(ourPort, '127.0.0.1')), defaultCrypto())
  const toSshd = await connectTo(sshd)
  for (const { negotiated } of [memory, tcp, toSshd]) {
    if (negotiated.cipherIn !== cipher) throw new Error(`sealed with ${negotiated.cipherIn}`)
  }
  const ssh2Client = await connectSsh2(ssh2Server, { algorithms: { cipher: [cipher] } })
  const drainSsh2 = (): Promise<number> =>
    new Promise((resolve, reject) => {
      ssh2Client.exec('flood', (error, stream) => {
        if (error) return reject(error)
        let received = 0
        stream.on('data', (part: Buffer) => {
          received += part.length
        })
        stream.on('close', () => resolve(received))
      })
    })
  const title = `exec stream of ${values.mib} MiB`
  await compare({ title, unit: 'MiB/s', scale: 1024 * 1024, rounds }, [
    { name: 'ssh from sshd', once: counted(bytesTotal, () => drainOpenSsh(openssh, flood)) },
    { name: 'ours from sshd', once: counted(bytesTotal, () => drain(toSshd, flood)) },
    { name: 'ours from ours, loopback', once: counted(bytesTotal, () => drain(tcp, 'flood')) },
    { name: 'ours from ours, memory', once: counted(bytesTotal, () => drain(memory, 'flood')) },
    {
      name: 'the same, portable primitives',
      once: counted(bytesTotal, () => drain(portable, 'flood')),
    },
    { name: 'ssh2 from ssh2, loopback', once: counted(bytesTotal, drainSsh2) },
  ])
  ssh2Client.end()
  await Promise.all([memory.close(), portable.close(), tcp.close(), toSshd.close()])
  await ssh2Server.stop()
}

/** `handshakes` connections one after the other, each up to the point of being logged in. */
function repeatedly(one: () => Promise<void>): () => Promise<number> {
  return counted(handshakes, async () => {
    let done = 0
    for (; done < handshakes; done++) await one()
    return done
  })
}

async function connections(sshd: Sshd, ourPort: number): Promise<void> {
  const openssh = new OpenSsh(sshd)
  const ssh2Server = await startSsh2(0)
  const closing = async (client: Promise<Client>): Promise<void> => (await client).close()
  const title = 'connections made, logged in and closed'
  await compare({ title, unit: '/s', scale: 1, rounds }, [
    {
      name: 'ssh to sshd, with `true`',
      once: repeatedly(async () => void (await openssh.text('true'))),
    },
    { name: 'ours to sshd', once: repeatedly(() => closing(connectTo(sshd))) },
    {
      name: 'ours to ours, loopback',
      once: repeatedly(() =>
        closing(ourClient(nodeSocket(connectTcp(ourPort, '127.0.0.1')), defaultCrypto())),
      ),
    },
    { name: 'ours to ours, memory', once: repeatedly(() => closing(overMemory(defaultCrypto()))) },
    {
      name: 'the same, portable primitives',
      once: repeatedly(() => closing(overMemory(nobleCrypto))),
    },
    {
      name: 'ssh2 to ssh2, loopback',
      once: repeatedly(async () => void (await connectSsh2(ssh2Server)).end()),
    },
  ])
  await ssh2Server.stop()
}

const listener = createServer((socket) => {
  ourServer(nodeSocket(socket), defaultCrypto()).catch((error: Error) =>
    process.stderr.write(`${error.message}\n`),
  )
})
listener.listen(0, '127.0.0.1')
await once(listener, 'listening')
const { port } = listener.address() as AddressInfo
const sshd = await startSshd()
process.stdout.write(
  `Node ${process.versions.node}, ${defaultCrypto().name} crypto, ${cpus().length} × ${cpus()[0]?.model.trim()}\n`,
)
await streams(sshd, port)
await connections(sshd, port)
await sshd.daemon.stop()
listener.close()
