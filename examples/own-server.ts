// An SSH server of your own on a TCP port: a command, and files that live in memory. Any SSH
// client can use it; here ours does.
//
// Prints:
//   it is always noon
//   hello over SFTP

import { once } from 'node:events'
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net'
import { connect, generateKey, nodeSocket, pinned, publickey, serve } from '@sandbox-ssh/protocol'
import { memoryFileSystem, openSftp, sftpServer } from '@sandbox-ssh/sftp'

const hostKey = generateKey('ed25519')
const userKey = generateKey('ed25519')
const files = memoryFileSystem()

const listener = createServer((socket) => {
  serve(nodeSocket(socket), {
    hostKeys: [hostKey],
    auth: { publickey: ({ key }) => key.fingerprint() === userKey.publicKey.fingerprint() },
    exec: async (session) => {
      if (session.command !== 'time') return 127
      await session.write(new TextEncoder().encode('it is always noon\n'))
      return 0
    },
    subsystems: { sftp: sftpServer(files) },
  }).catch((error: Error) => console.error(`a client did not get in: ${error.message}`))
})
listener.listen(0, '127.0.0.1')
await once(listener, 'listening')
const { port } = listener.address() as AddressInfo

const client = await connect(nodeSocket(connectTcp(port, '127.0.0.1')), {
  username: 'ada',
  hostKey: pinned(hostKey.publicKey),
  auth: [publickey(userKey)],
})
process.stdout.write((await client.run('time')).stdout)

const sftp = await openSftp(client)
await sftp.write('/greeting', 'hello over SFTP\n')
process.stdout.write(await sftp.readText('/greeting'))
await sftp.close()

await client.close()
listener.close()
