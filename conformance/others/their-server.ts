// Trials of another implementation's server with our client.

import {
  AuthenticationError,
  type AuthMethod,
  type Client,
  type ClientOptions,
  certified,
  keyboardInteractive,
  password,
  pinned,
  publickey,
  type Signer,
  type SshError,
} from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { areaOf } from '../feature.ts'
import type { PeerServer, RunningPeer, SecretMethod } from '../peers/peer.ts'
import { pool } from '../pool.ts'
import { agentsOfServer } from './agents.ts'
import { isCertified, kindOf, RSA_SHA1, shared, sharedSignatures } from './algorithms.ts'
import { unfitOfServer } from './certificates.ts'
import { forwardsOfServer } from './forwards.ts'
import { another, type Keys, keyFor } from './keys.ts'
import { withOurClient } from './our-client.ts'
import { proofsOfServer } from './proofs.ts'
import { type Proposal, proposalOfServer } from './proposal.ts'
import { securityKeysOfServer } from './security-keys.ts'
import { sessionsOfServer } from './sessions.ts'
import { strictOfServer } from './strict.ts'
import type { Trial } from './trial.ts'
import { secret, username } from './user.ts'

const MiB = 1 << 20

/** All trials that a server can take, by what it proposes; and what ends the server. */
export async function serverTrials(
  peer: PeerServer,
  keys: Keys,
): Promise<{ readonly trials: readonly Trial[]; readonly stop: () => Promise<void> }> {
  const { plain, host, authority } = keys
  const hostFiles = peer.certificates === true ? [...plain, ...host] : plain
  const users = { username, password: secret, userKeys: plain, userAuthority: authority }
  const setup = { ...users, hostKeys: hostFiles }
  const { loadBytes = 5 * MiB } = peer
  // Servers with the same setup, because not all take so many host keys.
  const most = peer.hostKeysMax ?? hostFiles.length
  const servers: RunningPeer[] = []
  const proposals: Proposal[] = []
  for (let at = 0; at < hostFiles.length; at += most) {
    const running = await peer.start({ ...setup, hostKeys: hostFiles.slice(at, at + most) })
    servers.push(running)
    proposals.push(await proposalOfServer(running.port))
  }
  const [server, proposal] = [servers[0], proposals[0]] as [RunningPeer, Proposal]
  // By the key that it was given: Dropbear claims RSA even if it has no such key, and then fails.
  const indexFor = (hostKey: string): number =>
    Math.floor(hostFiles.indexOf(keyFor(hostKey, 'host', keys)) / most)
  const knows = (name: string): boolean =>
    kindOf(name) !== undefined && (peer.certificates === true || !isCertified(name))
  const hostKeys = proposals.flatMap((one, index) =>
    one.hostKeys.filter((name) => knows(name) && indexFor(name) === index),
  )
  const trial = (area: string, name: string, run: () => Promise<void>): Trial => ({
    ...{ area: `${areaOf.server}: ${area}`, name, run },
  })
  const working = (name: string, attempt: Attempt): Trial =>
    trial('working', name, () => succeed(server, keys, attempt))
  const refused = (name: string, method: AuthMethod): Trial =>
    trial('working', name, () => refuse(server, keys, method))
  // asyncssh notes in a key, which its connections share, by which algorithm it is to sign: with
  // two of them at once one gets a signature by the algorithm of the other.
  const inTurn = pool(1)
  const trials = [
    ...shared({ ...proposal, hostKeys }).map(({ family, name, narrow }) => {
      const attempt = {
        options: { algorithms: narrow },
        check: ({ negotiated }: Client) => assert.match(JSON.stringify(negotiated), `"${name}"`),
      }
      if (family !== 'host keys') return trial(family, name, () => succeed(server, keys, attempt))
      const holder = servers[indexFor(name)] ?? server
      return trial(
        family,
        name,
        inTurn(() => succeed(holder, keys, attempt)),
      )
    }),
    ...sharedSignatures({ ...proposal, hostKeys })
      .filter((name) => name !== RSA_SHA1)
      .map((name) =>
        trial('user keys', name, () => {
          const { key, certificate } = keyFor(name, 'user', keys)
          const signer = certificate === undefined ? key : certified(key, certificate)
          const { publicKey } = signer
          const sign: Signer['sign'] = (data) => signer.sign(data, name)
          const auth = [publickey({ publicKey, algorithms: [name], sign })]
          return succeed(server, keys, { options: { auth } })
        }),
      ),
    working('5 MiB each way', { length: 5 * MiB }),
    working('keys exchanged anew by us several times under load', {
      length: loadBytes,
      options: { rekey: { bytes: MiB } },
      exchanges: 4,
    }),
    ...(peer.rekeys
      ? [
          trial('working', 'keys exchanged anew by the peer several times under load', async () => {
            const eager = await peer.start({ ...setup, rekeyBytes: MiB })
            try {
              await succeed(eager, keys, { length: loadBytes, exchanges: 4 })
            } finally {
              await eager.stop()
            }
          }),
        ]
      : []),
    ...peer.secrets.flatMap((method) => [
      working(method, { options: { auth: [answering(method, secret)] } }),
      refused(`a wrong ${method} is refused`, answering(method, 'wrong')),
    ]),
    refused('a key that is not authorized is refused', publickey(another(keys.usual))),
    trial('working', 'a host key that is not the expected one is refused', async () => {
      const hostKey = pinned(another(keys.usual).publicKey)
      const attempt = withOurClient(server, keys, { hostKey }, async () => {})
      const outcome = await attempt.catch((error: unknown) => error)
      assert.is((outcome as SshError | undefined)?.code, 'SSH_HOST_KEY_REJECTED', String(outcome))
    }),
    ...[0, 1, 42, 255].map((code) =>
      trial('working', `exit status ${code}`, () =>
        withOurClient(server, keys, {}, async (client) => {
          assert.is((await client.run(`exit ${code}`)).code, code)
        }),
      ),
    ),
    ...securityKeysOfServer(peer, setup, keys),
    ...strictOfServer(peer, server, setup, keys, proposal),
    ...sessionsOfServer(server, keys),
    ...proofsOfServer(peer, setup, keys),
    ...unfitOfServer(peer, server, setup, keys),
    ...forwardsOfServer(peer, server, keys),
    ...agentsOfServer(peer, server, keys),
  ]
  const stop = async (): Promise<void> => {
    await Promise.all(servers.map((one) => one.stop()))
  }
  return { trials, stop }
}

interface Attempt {
  readonly options?: Partial<ClientOptions>
  readonly length?: number
  /** Key exchanges that there have to be at least. */
  readonly exchanges?: number
  readonly check?: (client: Client) => void
}

/** Our client logs in and gets back what it sends. */
async function succeed(
  server: RunningPeer,
  keys: Keys,
  { options, length = 100_000, exchanges = 1, check }: Attempt,
): Promise<void> {
  const trace: string[] = []
  const report = (): string => [...trace.slice(0, 20), '…', ...trace.slice(-30)].join('\n')
  const tracing = { trace: (line: string): void => void trace.push(line), ...options }
  const attempt = withOurClient(server, keys, tracing, async (client) => {
    const data = bytes(length)
    const { code, stdout } = await client.run('cat; exit 7', { stdin: data })
    assert.is(sha256(stdout), sha256(data))
    assert.is(code, 7)
    check?.(client)
  })
  await attempt.catch((error: unknown) => {
    throw new Error(`${error}\n${report()}`)
  })
  const seen = trace.filter((line) => line.startsWith('< NEWKEYS')).length
  assert.ok(seen >= exchanges, `${seen} key exchanges\n${report()}`)
}

/** The server lets nobody in who has only this. */
async function refuse(server: RunningPeer, keys: Keys, method: AuthMethod): Promise<void> {
  const attempt = withOurClient(server, keys, { auth: [method] }, async () => {})
  const outcome = await attempt.catch((error: unknown) => error)
  assert.instance(outcome, AuthenticationError, String(outcome))
}

function answering(method: SecretMethod, answer: string): AuthMethod {
  if (method === 'password') return password(answer)
  return keyboardInteractive(({ prompts }) => prompts.map(() => answer))
}
