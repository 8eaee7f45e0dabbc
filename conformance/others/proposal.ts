// What a peer proposes in its first KEXINIT, read off the wire.

import { connect, createServer, type Socket } from 'node:net'
import { Reader, SOFTWARE_VERSION } from '@sandbox-ssh/protocol'

/** Names by family, RFC 4253 §7.1; those for the two directions are the same with all peers. */
export interface Proposal {
  readonly kex: readonly string[]
  readonly hostKeys: readonly string[]
  readonly ciphers: readonly string[]
  readonly macs: readonly string[]
  readonly compression: readonly string[]
}

const limitMs = 20_000

/** What the server on a loopback port proposes. */
export function proposalOfServer(port: number): Promise<Proposal> {
  return proposalFrom(connect(port, '127.0.0.1'))
}

/** What a client proposes that `start` connects to the port given. It does not get further. */
export async function proposalOfClient(
  start: (port: number) => Promise<unknown>,
): Promise<Proposal> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const connected = new Promise<Socket>((resolve) => server.once('connection', resolve))
  let failure = 'it did not connect'
  const ended = start(port).then(
    (result) => {
      failure = `it ended: ${JSON.stringify(result)}`
    },
    (error) => {
      failure = String(error)
    },
  )
  try {
    const socket = await Promise.race([connected, ended])
    if (socket === undefined) throw new Error(failure)
    const proposal = await proposalFrom(socket)
    await ended
    return proposal
  } finally {
    server.close()
  }
}

/** Reads identification lines and the first packet, and hangs up. */
async function proposalFrom(socket: Socket): Promise<Proposal> {
  const received: Buffer[] = []
  socket.setTimeout(limitMs, () => socket.destroy(new Error(`nothing came for ${limitMs} ms`)))
  socket.write(`SSH-2.0-${SOFTWARE_VERSION}\r\n`)
  try {
    for await (const chunk of socket) {
      received.push(chunk as Buffer)
      const proposal = parse(Buffer.concat(received))
      if (proposal !== undefined) return proposal
    }
  } finally {
    socket.destroy()
  }
  throw new Error(`no KEXINIT came, but ${JSON.stringify(Buffer.concat(received).toString())}`)
}

function parse(data: Buffer): Proposal | undefined {
  const start = /(?:^|\n)SSH-2\.0-[^\n]*\n/.exec(data.toString('latin1'))
  if (start === null) return undefined
  const packet = data.subarray(start.index + start[0].length)
  if (packet.length < 4 || packet.length < 4 + packet.readUInt32BE()) return undefined
  // Length, length of the padding, message number and cookie come first.
  const reader = new Reader(packet, 4 + 1 + 1 + 16)
  const [kex = [], hostKeys = [], ciphers = [], , macs = [], , compression = []] = Array.from(
    { length: 8 },
    () => reader.nameList(),
  )
  return { kex, hostKeys, ciphers, macs, compression }
}
