// Through one SSH server to another: a channel is a transport, so that a connection fits into a
// connection. The jump host sees nothing of what passes but its length.
//
// Prints:
//   jump host connects to inner:22
//   hello from inner

import {
  type Client,
  connect,
  generateKey,
  memoryPair,
  pinned,
  publickey,
  serve,
  type Transport,
} from '@sandbox-ssh/protocol'

const userKey = generateKey('ed25519')
const keys = { jump: generateKey('ed25519'), inner: generateKey('ed25519') }
const auth = {
  publickey: ({ key }: { key: { fingerprint(): string } }) =>
    key.fingerprint() === userKey.publicKey.fingerprint(),
}

// Two servers, which would be machines of their own.
function inner(): Transport {
  const [near, far] = memoryPair()
  serve(far, {
    hostKeys: [keys.inner],
    auth,
    exec: async (session) => {
      await session.write(new TextEncoder().encode('hello from inner\n'))
      return 0
    },
  }).catch((error: Error) => console.error(`inner: ${error.message}`))
  return near
}

function jump(): Transport {
  const [near, far] = memoryPair()
  serve(far, {
    hostKeys: [keys.jump],
    auth,
    directTcpip: ({ host, port }) => {
      console.log(`jump host connects to ${host}:${port}`)
      return inner()
    },
  }).catch((error: Error) => console.error(`jump: ${error.message}`))
  return near
}

const logIn = (transport: Transport, host: keyof typeof keys): Promise<Client> =>
  connect(transport, {
    username: 'ada',
    hostKey: pinned(keys[host].publicKey),
    auth: [publickey(userKey)],
  })

const outer = await logIn(jump(), 'jump')
const client = await logIn(await outer.directTcpip('inner', 22), 'inner')
process.stdout.write((await client.run('hello')).stdout)
await client.close()
await outer.close()
