// What samples find around them, so that they can be written as their readers would write them and
// are run all the same: a server named `box` with the user's files for it, an agent, a WebSocket
// that leads to the server, virtual machines behind socat and behind a console.

import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import net, { type AddressInfo } from 'node:net'
import { join } from 'node:path'
import {
  generateKey,
  Keyring,
  nodeSocket,
  type SessionHandler,
  serve,
  serveAgent,
  type Transport,
} from '@sandbox-ssh/protocol'
import { temporaryFolder } from '../../conformance/peers/folder.ts'
import { guestAgent } from '../../packages/sandbox-bridge/src/guest/agent.ts'
import { GuestConsole } from '../../packages/sandbox-bridge/src/guest/console.ts'
import { root } from '../bundle.mjs'

const realConnect = net.createConnection

/** Sets it up for this process, which goes to a folder of its own. Returns what ends it. */
export async function openSampleWorld(): Promise<() => void> {
  const folder = temporaryFolder()
  process.chdir(folder)
  // Programs of this clone are named as they are in its root.
  symlinkSync(join(root, 'packages'), 'packages')
  const user = generateKey('ed25519', { comment: 'ada@laptop' })
  const box = await openBox(user)
  const agent = await openAgent(join(folder, 'agent.sock'), user)
  const machine = await listening(
    (transport) => new GuestConsole(() => guestAgent()).serve(transport),
    'console.sock',
  )
  openVirtualMachine(folder)
  // The name `box` is in no DNS, and its port 22 not ours to have.
  const connect = (...args: unknown[]): net.Socket =>
    args[1] === 'box'
      ? realConnect(box.port, '127.0.0.1')
      : (realConnect as (...args: unknown[]) => net.Socket)(...args)
  net.createConnection = connect as typeof realConnect
  syncBuiltinESMExports()
  Object.assign(globalThis, { WebSocket: socketTo(() => realConnect(box.port, '127.0.0.1')) })
  return () => {
    net.createConnection = realConnect
    syncBuiltinESMExports()
    for (const server of [box.server, agent, machine]) server.close()
  }
}

/** The server that samples know as `box`, and the user's files for it. */
async function openBox(
  user: ReturnType<typeof generateKey>,
): Promise<{ readonly server: net.Server; readonly port: number }> {
  const hostKey = generateKey('ed25519')
  writeFileSync('id_ed25519', user.toOpenSsh(), { mode: 0o600 })
  writeFileSync('known_hosts', `box ${hostKey.publicKey}\n`)
  const run: SessionHandler = async (session) => {
    await session.write(new TextEncoder().encode(session.kind === 'exec' ? 'Linux box\n' : '$ '))
    return 0
  }
  const server = await listening((transport) =>
    serve(transport, {
      hostKeys: [hostKey],
      auth: { publickey: ({ key }) => key.equals(user.publicKey) },
      session: run,
    }).then(({ closed }) => closed),
  )
  return { server, port: (server.address() as AddressInfo).port }
}

/** The user's agent, which holds the key that opens `box`. */
async function openAgent(path: string, user: ReturnType<typeof generateKey>): Promise<net.Server> {
  const keyring = new Keyring()
  keyring.add(user)
  process.env['SSH_AUTH_SOCK'] = path
  const server = await listening((transport) => serveAgent(transport, keyring), path)
  return server
}

/** In place of socat, which would need a virtual machine, our guest program itself. */
function openVirtualMachine(folder: string): void {
  const bin = join(folder, 'bin')
  const guest = join(root, 'packages/sandbox-bridge/dist/msb-guest.mjs')
  mkdirSync(bin)
  const script = `#!/bin/sh
[ "$*" = '- VSOCK-CONNECT:42:1024' ] || { echo "socat: no route to $2" >&2; exit 1; }
exec '${process.execPath}' '${guest}' --stdio
`
  writeFileSync(join(bin, 'socat'), script)
  chmodSync(join(bin, 'socat'), 0o755)
  process.env['PATH'] = `${bin}:${process.env['PATH']}`
}

function listening(
  onTransport: (transport: Transport) => Promise<unknown>,
  path?: string,
): Promise<net.Server> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    onTransport(nodeSocket(socket)).catch(() => socket.destroy())
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    const ready = (): void => resolve(server.unref())
    if (path === undefined) server.listen(0, '127.0.0.1', ready)
    else server.listen(path, ready)
  })
}

/** A WebSocket as pages have it, whose every address leads to what `connect` connects to. */
function socketTo(connect: () => net.Socket): new (url: string) => EventTarget {
  return class extends EventTarget {
    binaryType = 'blob'
    readonly bufferedAmount = 0
    readyState = 0
    readonly url: string
    readonly #socket: net.Socket

    constructor(url: string) {
      super()
      this.url = url
      this.#socket = connect()
      this.#socket.on('connect', () => {
        this.readyState = 1
        this.dispatchEvent(new Event('open'))
      })
      this.#socket.on('data', (bytes: Buffer) => {
        const { buffer, byteOffset, length } = bytes
        const data = buffer.slice(byteOffset, byteOffset + length)
        this.dispatchEvent(Object.assign(new Event('message'), { data }))
      })
      this.#socket.on('error', () => this.dispatchEvent(new Event('error')))
      this.#socket.on('close', () => {
        this.readyState = 3
        const details = { code: 1000, reason: '', wasClean: true }
        this.dispatchEvent(Object.assign(new Event('close'), details))
      })
    }

    send(data: Uint8Array): void {
      this.#socket.write(Uint8Array.from(data))
    }

    close(): void {
      this.readyState = 2
      this.#socket.end()
    }
  }
}
