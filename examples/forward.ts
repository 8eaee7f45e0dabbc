// Talks HTTP to a server inside a sandbox, through the sandbox's own loopback.
//
// Prints:
//   HTTP/1.1 200 OK
//   hello from inside

import { sandbox } from '@sandbox-ssh/sandbox-bridge'

const program = `require('http')
  .createServer((_, response) => response.end('hello from inside\\n'))
  .listen(0, '127.0.0.1', function () { console.log(this.address().port) })`

const client = await sandbox('local:example').ssh().openClient()
const server = await client.connection.exec(`node -e "${program}"`, { stderr: 'ignore' })
const port = Number(new TextDecoder().decode(await server.read()))

// A channel is a transport of bytes like any other, with web streams for convenience.
const channel = await client.connection.directTcpip('127.0.0.1', port)
await channel.write(
  new TextEncoder().encode('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'),
)
const response = await new Response(channel.readable).text()
const lines = response.trim().split('\r\n')
console.log(`${lines[0]}\n${lines.find((line) => line.startsWith('hello'))?.trim() ?? response}`)

server.kill('TERM')
server.close()
await client.close()
