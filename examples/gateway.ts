// A gateway without state: whoever holds a certificate of the company's authority reaches the
// sandboxes that it names. The login says which one: `ssh red@gateway`, `ssh dev+red@gateway`. Any
// number of such gateways can stand side by side, since none of them has anything to remember.
//
// Prints:
//   red: welcome to red
//   blue: refused

import { createConnection, createServer } from 'node:net'
import {
  certified,
  connect,
  generateKey,
  issueCertificate,
  knownHosts,
  nodeListener,
  nodeSocket,
  publickey,
} from '@sandbox-ssh/protocol'
import { prepareGateway, sandbox } from '@sandbox-ssh/sandbox-bridge'

const HOUR_MS = 3_600_000

// The login service: it has the authorities' private keys, and knows who may go where.
const users = generateKey('ed25519')
const hosts = generateKey('ed25519')

// One gateway of many: a key of its own, certified for the name that all of them have.
const key = generateKey('ed25519')
const certificate = await issueCertificate(hosts, {
  key: key.publicKey,
  role: 'host',
  principals: ['gateway.example'],
  keyId: 'gateway 1',
  validBeforeMs: Date.now() + 24 * HOUR_MS,
})
/** Where each sandbox is: here a table, elsewhere a question to whatever starts them. */
const directory = new Map([
  ['red', 'local:red'],
  ['blue', 'local:blue'],
])
const gateway = await prepareGateway({
  hostKeys: [certified(key, certificate)],
  // Nobody without a certificate, whose principals are names of sandboxes.
  authorizedKeys: [],
  authorities: [users.publicKey],
  principals: ['%s'],
  resolve: (name) => {
    const endpoint = directory.get(name)
    return endpoint === undefined ? undefined : { sandbox: sandbox(endpoint) }
  },
})
const server = createServer({ allowHalfOpen: true, noDelay: true }).listen(0, '127.0.0.1')
const listener = await nodeListener(server)
const serving = gateway.serve(listener)

// Ada has been let into red until the evening.
const ada = generateKey('ed25519')
const access = await issueCertificate(users, {
  key: ada.publicKey,
  role: 'user',
  principals: ['red'],
  keyId: 'ada, ticket 12',
  validBeforeMs: Date.now() + 8 * HOUR_MS,
})
const trusted = `@cert-authority gateway.example ${hosts.publicKey}`
for (const name of directory.keys()) {
  try {
    const client = await connect(nodeSocket(createConnection(listener.port ?? 0, '127.0.0.1')), {
      username: name,
      hostKey: knownHosts(trusted, 'gateway.example'),
      auth: [publickey(certified(ada, access))],
    })
    const welcome = await client.run('echo "welcome to $(hostname)"')
    console.log(`${name}: ${welcome.text().trim()}`)
    await client.close()
  } catch {
    console.log(`${name}: refused`)
  }
}
await listener.close()
await serving
await gateway.close()
