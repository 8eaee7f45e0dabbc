// npm's ssh2 as a peer in this process: a server that runs a few commands, and a client.

import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import ssh2, {
  type AuthContext,
  type ConnectConfig,
  type Connection,
  type ParsedKey,
  type PublicKeyAuthContext,
} from 'ssh2'
import { parseCommand } from './command.ts'
import { temporaryFolder } from './folder.ts'
import { type Endpoint, generateKeyFile } from './openssh.ts'

/** A running server of ssh2's. */
export interface Ssh2Server extends Endpoint {
  readonly hostKey: string
  stop(): Promise<void>
}

/**
 * Starts a server on a free loopback port. Whoever has the key may run `cat`, which sends back its
 * input, `exit N`, and `flood`, which sends `floodBytes` bytes.
 */
export async function startSsh2(floodBytes = 0): Promise<Ssh2Server> {
  const folder = temporaryFolder()
  const hostKeyPath = await generateKeyFile(join(folder, 'host'))
  const identity = await generateKeyFile(join(folder, 'id'))
  const authorized = ssh2.utils.parseKey(readFileSync(`${identity}.pub`))
  if (authorized instanceof Error) throw authorized
  const { port, stop } = await listenSsh2(
    [hostKeyPath],
    () => (context) => {
      if (context.method === 'publickey' && proves(context, [authorized])) context.accept()
      else context.reject(['publickey'])
    },
    { floodBytes },
  )
  return {
    host: '127.0.0.1',
    port,
    username: 'user',
    identity,
    hostKey: readFileSync(`${hostKeyPath}.pub`, 'utf8').trim(),
    stop,
  }
}

/** True for a probe with one of these keys, and for a good signature by it. */
export function proves(context: PublicKeyAuthContext, keys: readonly ParsedKey[]): boolean {
  const key = keys.find((known) => known.getPublicSSH().equals(context.key.data))
  if (key === undefined) return false
  const { blob, signature, hashAlgo } = context
  if (signature === undefined || blob === undefined) return true
  return key.verify(blob, signature, hashAlgo) === true
}

/** How a server of ssh2's behaves. */
export interface Ssh2Behaviour {
  /** How much the command `flood` sends. */
  readonly floodBytes?: number
  /** It exchanges keys anew whenever it has received so much. */
  readonly rekeyBytes?: number
  /** What else it does for a client that has come in. */
  readonly serve?: (connection: Connection) => void
}

/**
 * Listens on a free loopback port, with the host keys in these files; for each connection it asks
 * for somebody who decides about its users.
 */
export async function listenSsh2(
  hostKeyPaths: readonly string[],
  authenticate: () => (context: AuthContext) => void,
  { floodBytes = 0, rekeyBytes, serve }: Ssh2Behaviour = {},
): Promise<{ readonly port: number; readonly stop: () => Promise<void> }> {
  const connections = new Set<Connection>()
  const hostKeys = hostKeyPaths.map((path) => readFileSync(path))
  const server = new ssh2.Server({ hostKeys }, (connection) => {
    connections.add(connection)
    connection.on('close', () => connections.delete(connection))
    connection.on('error', () => undefined)
    connection.on('authentication', authenticate())
    serve?.(connection)
    let received = 0
    connection.on('session', (accept) => {
      accept().on('exec', (acceptExec, reject, { command }) => {
        const known = parseCommand(command)
        if (known === undefined && command !== 'flood') return reject()
        const stream = acceptExec()
        const end = (code: number): void => {
          stream.exit(code)
          stream.end()
        }
        if (known === undefined) {
          const flood = zeros(floodBytes)
          flood.pipe(stream, { end: false })
          flood.once('end', () => end(0))
          return
        }
        if (!known.copies) return end(known.code)
        if (rekeyBytes !== undefined) {
          stream.on('data', (chunk: Buffer) => {
            received += chunk.length
            if (received < rekeyBytes) return
            received = 0
            connection.rekey()
          })
        }
        stream.pipe(stream, { end: false })
        stream.once('end', () => end(known.code))
      })
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    port,
    stop: () => {
      for (const connection of connections) connection.end()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

/** A stream of so many bytes, in pieces as large as a packet. */
function zeros(length: number): Readable {
  const piece = Buffer.alloc(32 * 1024)
  const pieces = function* (): Generator<Buffer> {
    for (let left = length; left > 0; left -= piece.length) yield piece.subarray(0, left)
  }
  return Readable.from(pieces(), { objectMode: false })
}

/** Connects ssh2's client. The caller ends it. */
export function connectSsh2(endpoint: Endpoint, options: ConnectConfig = {}): Promise<ssh2.Client> {
  return openSsh2({
    host: endpoint.host,
    port: endpoint.port,
    username: endpoint.username,
    privateKey: readFileSync(endpoint.identity),
    ...options,
  })
}

/** Connects it with these settings and no others; `prepare` is called before. */
export function openSsh2(
  settings: ConnectConfig,
  prepare?: (client: ssh2.Client) => void,
): Promise<ssh2.Client> {
  return new Promise((resolve, reject) => {
    const client = new ssh2.Client()
    client.once('ready', () => resolve(client))
    client.once('error', reject)
    client.once('close', () => reject(new Error('the connection was closed')))
    prepare?.(client)
    client.connect(settings)
  })
}

/** Runs a command with ssh2's client. */
export function execSsh2(
  client: ssh2.Client,
  command: string,
  stdin: Uint8Array = new Uint8Array(),
): Promise<{ readonly code: number; readonly stdout: Buffer }> {
  return new Promise((resolve, reject) => {
    client.exec(command, (error, stream) => {
      if (error) return reject(error)
      const stdout: Buffer[] = []
      stream.on('data', (chunk: Buffer) => stdout.push(chunk))
      stream.stderr.resume()
      stream.on('close', (code: number) => resolve({ code, stdout: Buffer.concat(stdout) }))
      stream.end(stdin)
    })
  })
}
