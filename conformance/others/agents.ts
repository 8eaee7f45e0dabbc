// Trials of agents: one that a peer's client asks, and one that is forwarded to the other side.

import { createServer } from 'node:net'
import { join } from 'node:path'
import {
  agentClient,
  defaultCrypto,
  generateKey,
  Keyring,
  memoryPair,
  modern,
  nodeSocket,
  type PrivateKey,
  type SessionHandler,
  serveAgent,
} from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { temporaryFolder } from '../peers/folder.ts'
import type { KeyFile, PeerClient, PeerServer, RunningPeer } from '../peers/peer.ts'
import { type Keys, keyFor } from './keys.ts'
import { withOurClient } from './our-client.ts'
import { accepting, type OurServer, withOurServer } from './our-server.ts'
import type { Trial } from './trial.ts'
import { told, use } from './use.ts'
import { username } from './user.ts'

const data = bytes(1000)

/** A client logs in with keys in an agent of ours, and lends one to its command. */
export function agentsOfClient(
  client: PeerClient,
  keys: Keys,
  signatures: readonly string[],
): readonly Trial[] {
  const first = keys.usual
  const logIn = (name: string): Promise<void> => {
    const proof = keyFor(name, 'user', keys)
    return withAgent([proof.key], (agent) =>
      withOurServer(
        first.key,
        {
          auth: accepting(proof),
          algorithms: (algorithms) => ({
            ...algorithms,
            userKeys: algorithms.userKeys.filter((spec) => spec.name === name),
          }),
        },
        async (server) => {
          // Without its file, so that nobody but the agent can have signed.
          const login = { port: server.port, username, proof: { ...proof, path: '/nowhere' } }
          const came = await use(client, { ...login, hostKey: first.key, agent }, data)
          assert.is(sha256(came), sha256(data), server.report())
        },
      ),
    )
  }
  const trial = (name: string, run: () => Promise<void>): Trial => ({
    ...{ area: 'Other clients of our server: agents', name, run },
  })
  return [
    ...(client.usesAgent === true
      ? [
          ...signatures.map((name) => trial(`signs: ${name}`, () => logIn(name))),
          trial('that holds another key lets nobody in', () => refuse(client, first)),
        ]
      : []),
    ...(client.forwardsAgent === true
      ? [trial('forwarded to a command', () => lend(client, first))]
      : []),
  ]
}

async function refuse(client: PeerClient, first: KeyFile): Promise<void> {
  const other = generateKey('ed25519')
  await withAgent([other], (agent) =>
    withOurServer(first.key, { auth: accepting(first) }, async (server) => {
      const proof = { key: other, path: '/nowhere' }
      const login = { port: server.port, username, hostKey: first.key, proof, agent }
      const came = await use(client, login, data).catch((error: Error) => error)
      assert.instance(came, Error, 'it came in')
      assert.is(server.connections.length, 0, 'it came in')
    }),
  )
}

async function lend(client: PeerClient, first: KeyFile): Promise<void> {
  const lent = generateKey('ecdsa-nistp256', { comment: 'far from home' })
  let borrowed = false
  const asked: boolean[] = []
  const exec: SessionHandler = async (session) => {
    asked.push(session.agentForwarding)
    if (!session.agentForwarding) return 1
    const agent = agentClient(await session.agent())
    const [signer] = await agent.list()
    const [algorithm = ''] = signer?.algorithms ?? []
    const spec = modern(defaultCrypto()).userKeys.find(({ name }) => name === algorithm)
    const signature = await signer?.sign(bytes(100), algorithm)
    borrowed =
      spec?.verify(defaultCrypto(), lent.publicKey, bytes(100), signature as Uint8Array) === true
    await agent.close()
    return 7
  }
  const options = { auth: accepting(first), agentForwarding: true, exec }
  const lendTo = async (
    server: OurServer,
    forwardedAgent?: string,
  ): Promise<number | undefined> => {
    const login = { port: server.port, username, hostKey: first.key, proof: first }
    const forwarding = { ...login, ...(forwardedAgent && { forwardedAgent }) }
    return (await client.exec?.(forwarding, 'use the agent', data))?.code
  }
  await withAgent([lent], (agent) =>
    withOurServer(first.key, options, async (server) => {
      assert.is(await lendTo(server, agent), told(client, 7), server.report())
      assert.ok(borrowed, 'the agent signed')
      assert.is(await lendTo(server), told(client, 1), 'an agent that nobody lent')
      assert.equal(asked, [true, false])
    }),
  )
}

/** A server gives its commands our client's agent. */
export function agentsOfServer(
  peer: PeerServer,
  server: RunningPeer,
  keys: Keys,
): readonly Trial[] {
  if (peer.forwardsAgent !== true) return []
  const run = async (): Promise<void> => {
    const keyring = new Keyring()
    keyring.add(generateKey('ed25519', { comment: 'far from home' }))
    const agentForward = (): ReturnType<typeof memoryPair>[0] => {
      const [ours, theirs] = memoryPair()
      serveAgent(theirs, keyring, { readOnly: true }).catch(() => {})
      return ours
    }
    await withOurClient(server, keys, { agentForward }, async (client) => {
      assert.match((await client.run('ssh-add -L')).text(), /^ssh-ed25519 .* far from home\n$/)
    })
    await withOurClient(server, keys, {}, async (client) => {
      assert.is.not((await client.run('ssh-add -L')).code, 0, 'an agent that nobody lent')
    })
  }
  const area = 'Our client of other servers: agents'
  return [{ area, name: 'forwarded to a command', run }]
}

/** Has a keyring of ours answer on a socket while `body` runs. */
async function withAgent(
  keys: readonly PrivateKey[],
  body: (socket: string) => Promise<void>,
): Promise<void> {
  const keyring = new Keyring()
  for (const key of keys) keyring.add(key)
  const path = join(temporaryFolder(), 'agent')
  const server = createServer((socket) => {
    serveAgent(nodeSocket(socket), keyring, { readOnly: true }).catch(() => {})
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  try {
    await body(path)
  } finally {
    server.close()
  }
}
