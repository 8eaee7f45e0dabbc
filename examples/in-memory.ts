// An SSH server and its client in one process, over memory: nothing but the protocol, on any
// runtime.
//
// Prints:
//   authenticated as test with ssh-ed25519
//   HELLO
//   exit status 127

import { connect, generateKey, memoryPair, pinned, publickey, serve } from '@sandbox-ssh/protocol'

const [left, right] = memoryPair()
const hostKey = generateKey('ed25519')
const userKey = generateKey('ed25519')

const serving = serve(right, {
  hostKeys: [hostKey],
  auth: { publickey: ({ key }) => key.fingerprint() === userKey.publicKey.fingerprint() },
  exec: async ({ command, stdin, stdout }) => {
    if (command !== 'upper') return 127
    const upper = new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, controller) =>
        controller.enqueue(chunk.map((byte) => (byte >= 97 && byte <= 122 ? byte - 32 : byte))),
    })
    await stdin.pipeThrough(upper).pipeTo(stdout)
    return 0
  },
})
const client = await connect(left, {
  username: 'test',
  hostKey: pinned(hostKey.publicKey),
  auth: [publickey(userKey)],
})
const server = await serving
console.log(`authenticated as ${server.username} with ${server.publicKey?.type}`)

console.log((await client.run('upper', { stdin: 'hello' })).text())
console.log(`exit status ${(await client.run('lower')).code}`)

await client.close()
