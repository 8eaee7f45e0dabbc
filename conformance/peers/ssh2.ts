// npm's ssh2 as a peer in this process: a server that runs a few commands, and a client.

import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import ssh2, { type ConnectConfig, type Connection } from 'ssh2'
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
  const connections = new Set<Connection>()
  const server = new ssh2.Server({ hostKeys: [readFileSync(hostKeyPath)] }, (connection) => {
    connections.add(connection)
    connection.on('close', () => connections.delete(connection))
    connection.on('error', () => undefined)
    connection.on('authentication', (context) => {
      if (context.method !== 'publickey' || !context.key.data.equals(authorized.getPublicSSH())) {
        context.reject(['publickey'])
      } else if (context.signature === undefined || context.blob === undefined) context.accept()
      else if (authorized.verify(context.blob, context.signature, context.hashAlgo) === true) {
        context.accept()
      } else context.reject()
    })
    connection.on('session', (accept) => {
      accept().on('exec', (acceptExec, reject, { command }) => {
        const status = /^exit (\d+)$/.exec(command)?.[1]
        if (command !== 'cat' && command !== 'flood' && status === undefined) return reject()
        const stream = acceptExec()
        const end = (code: number): void => {
          stream.exit(code)
          stream.end()
        }
        if (status !== undefined) return end(Number(status))
        if (command === 'flood') {
          const flood = zeros(floodBytes)
          flood.pipe(stream, { end: false })
          flood.once('end', () => end(0))
          return
        }
        stream.pipe(stream, { end: false })
        stream.once('end', () => end(0))
      })
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    host: '127.0.0.1',
    port,
    username: 'user',
    identity,
    hostKey: readFileSync(`${hostKeyPath}.pub`, 'utf8').trim(),
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
  return new Promise((resolve, reject) => {
    const client = new ssh2.Client()
    client.once('ready', () => resolve(client))
    client.once('error', reject)
    client.connect({
      host: endpoint.host,
      port: endpoint.port,
      username: endpoint.username,
      privateKey: readFileSync(endpoint.identity),
      ...options,
    })
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
