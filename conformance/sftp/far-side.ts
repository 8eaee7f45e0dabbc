// What the clients under test talk to: our SSH server in this process, with SFTP and scp on the
// disk, and rsync's own server, which is a command like any other.

import { spawn } from 'node:child_process'
import * as fs from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import {
  generateKey,
  nodeSocket,
  PublicKey,
  type ServerSession,
  serve,
} from '@sandbox-ssh/protocol'
import {
  decodePath,
  nodeFileSystem,
  parseScpCommand,
  serveScp,
  sftpServer,
} from '@sandbox-ssh/sftp'
import { temporaryFolder } from '../peers/folder.ts'
import { type Endpoint, generateKeyFile } from '../peers/openssh.ts'

/** A listening server of a folder; a password or the key `identity` lets in. */
export interface FarSide extends Endpoint {
  readonly password: string
  readonly hostKey: PublicKey
  /** Stops listening. */
  readonly stop: () => void
}

/** Serves `directory`, where relative paths start, on a free loopback port. */
export async function startFarSide(directory: string): Promise<FarSide> {
  const identity = await generateKeyFile(join(temporaryFolder(), 'id_ed25519'))
  const authorized = PublicKey.parse(await fs.readFile(`${identity}.pub`, 'utf8'))
  const [username, password] = ['ada', 'correct horse']
  const hostKey = generateKey('ed25519')
  const files = nodeFileSystem(fs, { directory })
  const server = createServer((socket) => {
    serve(nodeSocket(socket), {
      hostKeys: [hostKey],
      auth: {
        password: (attempt) => attempt.username === username && attempt.password === password,
        publickey: ({ key }) => key.equals(authorized),
      },
      subsystems: { sftp: sftpServer(files) },
      exec: async (session) => {
        const command = parseScpCommand(decodePath(session.commandBytes))
        if (command !== undefined) return serveScp(session.transport, files, command)
        return session.command.startsWith('rsync --server ') ? rsync(session, directory) : 127
      },
    }).catch(() => undefined)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    ...{ host: '127.0.0.1', port: (server.address() as AddressInfo).port },
    ...{ username, password, identity },
    hostKey: hostKey.publicKey,
    stop: () => server.close(),
  }
}

/** Runs the server half of rsync, whose command line the client wrote. */
async function rsync(session: ServerSession, cwd: string): Promise<number> {
  const child = spawn('sh', ['-c', session.command], { cwd, stdio: 'pipe' })
  const ended = new Promise<number>((resolve) => child.once('close', (code) => resolve(code ?? 1)))
  session.stdin.pipeTo(Writable.toWeb(child.stdin)).catch(() => undefined)
  const outputs = [
    [child.stdout, session.stdout],
    [child.stderr, session.stderr],
  ] as const
  await Promise.all(
    outputs.map(([from, to]) => {
      // Node's types leave open what the chunks of a stream without encoding are.
      const output = Readable.toWeb(from) as ReadableStream<Uint8Array>
      return output.pipeTo(to, { preventClose: true }).catch(() => child.kill())
    }),
  )
  return ended
}
