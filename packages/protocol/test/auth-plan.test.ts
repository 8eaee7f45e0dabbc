import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  type AuthState,
  type AuthSteps,
  hostbased,
  keyboardInteractive,
  password,
  publickey,
} from '../src/auth-methods.ts'
import { connect } from '../src/client.ts'
import { AuthenticationError } from '../src/errors.ts'
import { memoryPair } from '../src/io/memory.ts'
import { generateKey } from '../src/keys/private-key.ts'
import type { Signer } from '../src/keys/public-key.ts'
import { serve } from '../src/server.ts'
import type { ServerOptions } from '../src/server-options.ts'
import { clientOptions, connected, hangUp, serverOptions, userKey } from './connected.ts'
import { rejection, within } from './within.ts'

const LIMIT_MS = 10_000
const machineKey = generateKey('ecdsa-nistp256')
const names = { hostName: 'laptop.example.', clientUser: 'ada.local' }

function it(name: string, run: () => Promise<void>): void {
  test(name, () => within(LIMIT_MS, run(), name))
}

/** Connects, which must fail, and gives the client's error. */
async function refused(
  auth: Parameters<typeof clientOptions>[0] & object,
  server: Partial<ServerOptions>,
): Promise<AuthenticationError> {
  const [left, right] = memoryPair()
  const serving = rejection(serve(right, serverOptions(server)))
  const error = await rejection(connect(left, clientOptions(auth)))
  await serving
  assert.instance(error, AuthenticationError)
  return error as AuthenticationError
}

it('a plan is told what the server takes and what became of each step', async () => {
  const states: AuthState[] = []
  async function* plan(first: AuthState): AuthSteps {
    states.push(first)
    states.push(yield password('wrong'))
    states.push(yield publickey([generateKey('ed25519'), userKey]))
    yield keyboardInteractive(() => ['123456'])
  }
  const both = await connected({
    client: { auth: plan },
    server: {
      auth: {
        password: () => false,
        publickey: ({ key }) =>
          key.equals(userKey.publicKey) && { continueWith: ['keyboard-interactive'] },
        keyboardInteractive: async (_, ask) => {
          const [code] = await ask({ prompts: [{ prompt: 'Code: ', echo: false }] })
          return code === '123456'
        },
      },
    },
  })
  const all = ['publickey', 'password', 'keyboard-interactive']
  assert.equal(
    states.map(({ methods, partialSuccess }) => [methods, partialSuccess]),
    [
      [undefined, false],
      [all, false],
      [['keyboard-interactive'], true],
    ],
  )
  assert.is(states[0]?.username, 'ada')
  assert.equal(states[1]?.tried, ['password'])
  await hangUp(both)
})

it('the end of a plan gives up, and the error tells what was tried', async () => {
  async function* plan(): AuthSteps {
    yield password('a')
    yield password('b')
  }
  const error = await refused({ auth: plan }, { auth: { password: () => false } })
  assert.match(error.message, 'tried password, password')
})

it('a plan that throws ends the attempt with its error', async () => {
  // biome-ignore lint/correctness/useYield: it fails before it has anything to try
  async function* plan(): AuthSteps {
    throw new Error('nobody answered')
  }
  const [left, right] = memoryPair()
  const serving = rejection(serve(right, serverOptions()))
  const error = await rejection(connect(left, clientOptions({ auth: plan })))
  assert.match((error as Error).message, 'nobody answered')
  await serving
})

it('the machine of a user vouches for him', async () => {
  const asked: unknown[] = []
  const both = await connected({
    client: { auth: [hostbased(machineKey, names)] },
    server: {
      auth: {
        hostbased: ({ key, ...request }) => {
          asked.push(request)
          return key.equals(machineKey.publicKey)
        },
      },
    },
  })
  assert.is(both.server.username, 'ada')
  assert.equal(asked, [{ username: 'ada', algorithm: 'ecdsa-sha2-nistp256', ...names }])
  // That is no key of the user.
  assert.is(both.server.publicKey, undefined)
  await hangUp(both)
})

it('a host key that did not sign, and a handler that says no, let nobody in', async () => {
  let asked = 0
  const forged: Signer = {
    publicKey: machineKey.publicKey,
    algorithms: machineKey.algorithms,
    sign: (data, algorithm) => generateKey('ecdsa-nistp256').sign(data, algorithm),
  }
  const server = { auth: { hostbased: () => ++asked > 1 } }
  await refused({ auth: [hostbased(forged, names)] }, server)
  assert.is(asked, 0)
  // Signed for one user name on the client's machine, sent with another.
  const other = hostbased(machineKey, names).start()
  const tampered = {
    name: 'hostbased',
    start: () => ({
      ...other,
      next: async (context: Parameters<typeof other.next>[0]) => {
        const attempt = await other.next(context)
        return attempt && { ...attempt, clientUser: 'root' }
      },
      signer: () => ({
        ...forged,
        sign: (data: Uint8Array, algorithm: string) => {
          const text = new TextDecoder('latin1').decode(data)
          const at = text.lastIndexOf('root')
          const changed = data.slice()
          changed.set(new TextEncoder().encode('user'), at)
          return machineKey.sign(changed, algorithm)
        },
      }),
    }),
  }
  await refused({ auth: [tampered] }, server)
  assert.is(asked, 0)
  const error = await refused({ auth: [hostbased(machineKey, names)] }, server)
  assert.is(asked, 1)
  assert.match(error.message, /tried hostbased \(ecdsa-sha2-nistp256 SHA256:/)
})

it('a server without a handler for it neither offers nor takes it', async () => {
  const error = await refused({ auth: [hostbased(machineKey, names)] }, {})
  assert.not.ok(error.methods.includes('hostbased'))
})

it('a jump host: a connection within a channel of another', async () => {
  const inner = memoryPair()
  const serving = serve(inner[1], serverOptions({ exec: () => 7 }))
  const outer = await connected({ server: { directTcpip: () => inner[0] } })
  const through = await outer.client.directTcpip('inner.example', 22)
  const client = await connect(through, clientOptions())
  assert.is((await client.run('x')).code, 7)
  await client.close()
  await (await serving).closed
  await hangUp(outer)
})

it('a failure does not tell what a server takes that was not asked', async () => {
  const error = await refused({ auth: [] }, { auth: { password: () => false } })
  assert.equal(error.methods, [])
  assert.match(error.message, 'the server was not asked what it takes')
  const asked = await refused({ auth: [password('x')] }, { auth: { password: () => false } })
  assert.match(asked.message, 'tried password; the server would continue with password')
})

test.run()
