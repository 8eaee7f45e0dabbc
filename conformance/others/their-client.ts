// Trials of another implementation's client with our server.

import { certified, type ServerOptions, type Signer } from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { areaOf } from '../feature.ts'
import type { KeyFile, Login, PeerClient } from '../peers/peer.ts'
import { agentsOfClient } from './agents.ts'
import {
  isCertified,
  narrowUserKeys,
  RSA_SHA1,
  shared,
  sharedSignatures,
  signaturesOf,
} from './algorithms.ts'
import { unfitOfClient } from './certificates.ts'
import { forwardsOfClient } from './forwards.ts'
import { another, type Keys, keyFor } from './keys.ts'
import { accepting, type OurServer, withOurServer } from './our-server.ts'
import { proofsOfClient } from './proofs.ts'
import { type Proposal, proposalOfClient } from './proposal.ts'
import { securityKeysOfClient } from './security-keys.ts'
import { sessionsOfClient } from './sessions.ts'
import { strictOfClient } from './strict.ts'
import type { Trial } from './trial.ts'
import { use } from './use.ts'
import { secret, username } from './user.ts'

const MiB = 1 << 20

/** All trials that a client can take, by what it proposes. */
export async function clientTrials(client: PeerClient, keys: Keys): Promise<readonly Trial[]> {
  const first = keys.usual
  const login = { username, hostKey: first.key, proof: first }
  const { loadBytes = 5 * MiB } = client
  const rekeyed = (server: OurServer): void =>
    assert.ok(server.keyExchanges() >= 4, server.report())
  const proposal = await proposalOf(client, keys, login)
  const trial = (area: string, name: string, run: () => Promise<void>): Trial => ({
    ...{ area: `${areaOf.client}: ${area}`, name, run },
  })
  const working = (name: string, attempt: Attempt): Trial =>
    trial('working', name, () => succeed(client, keys, attempt))
  const knows = (name: string): boolean => client.certificates === true || !isCertified(name)
  const signatures = signaturesOf(client, sharedSignatures(proposal))
  return [
    ...shared(proposal)
      .filter(({ family, name }) => knows(name) && !(family === 'host keys' && name === RSA_SHA1))
      .map(({ family, name, narrow }) =>
        trial(family, name, () =>
          succeed(client, keys, {
            ...(family === 'host keys' && { hostKey: keyFor(name, 'host', keys) }),
            options: { algorithms: narrow },
            check: ({ connections: [connection] }) =>
              assert.match(JSON.stringify(connection?.negotiated), `"${name}"`),
          }),
        ),
      ),
    ...signatures.map((name) =>
      trial('user keys', name, () =>
        succeed(client, keys, {
          proof: keyFor(name, 'user', keys),
          signature: name,
          options: { algorithms: narrowUserKeys(name) },
        }),
      ),
    ),
    working('5 MiB each way', { length: 5 * MiB }),
    working('keys exchanged anew by us several times under load', {
      length: loadBytes,
      options: { rekey: { bytes: MiB } },
      // What is on its way when one begins counts for none.
      check: rekeyed,
    }),
    ...(client.rekeys
      ? [
          working('keys exchanged anew by the peer several times under load', {
            length: loadBytes,
            rekeyBytes: MiB,
            check: rekeyed,
          }),
        ]
      : []),
    ...client.secrets.map((method) =>
      working(method, { proof: { method, secret }, options: { auth: accepting(method) } }),
    ),
    ...client.secrets.map((method) =>
      trial('working', `a wrong ${method} is refused`, () =>
        refuse(client, keys, { method, secret: 'wrong' }, { auth: accepting(method) }),
      ),
    ),
    trial('working', 'a key that is not authorized is refused', () =>
      refuse(client, keys, first, { auth: { publickey: () => false } }),
    ),
    trial('working', 'a host key that is not the expected one is refused', () =>
      refuse(client, keys, first, {}, another(first)),
    ),
    ...(client.exec === undefined
      ? []
      : [0, 1, 42, 255].map((code) =>
          trial('working', `exit status ${code}`, () =>
            withOurServer(first.key, { auth: accepting(first) }, async (server) => {
              const { port } = server
              const ended = await client.exec?.({ ...login, port }, `exit ${code}`, bytes(0))
              assert.is(ended?.code, code, `${ended?.problem}\n${server.report()}`)
            }),
          ),
        )),
    ...securityKeysOfClient(client, keys, proposal),
    ...strictOfClient(client, keys, proposal),
    ...sessionsOfClient(client, keys),
    ...proofsOfClient(client, keys),
    ...unfitOfClient(client, keys),
    ...forwardsOfClient(client, keys),
    ...agentsOfClient(
      client,
      keys,
      signatures.filter((name) => !isCertified(name) && name !== RSA_SHA1),
    ),
  ]
}

/** What it proposes; to hosts with other keys, if that makes a difference to it. */
async function proposalOf(
  client: PeerClient,
  { plain, authority }: Keys,
  login: Omit<Login, 'port'>,
): Promise<Proposal> {
  const ask = (hosts: Partial<Login> = {}): Promise<Proposal> =>
    proposalOfClient((port) => use(client, { ...login, port, ...hosts }, bytes(1)))
  const first = await ask()
  if (client.proposesKnown !== true) return first
  const all = [first]
  for (const { key } of plain) all.push(await ask({ hostKey: key }))
  all.push(await ask({ hostAuthority: authority }))
  return { ...first, hostKeys: [...new Set(all.flatMap(({ hostKeys }) => hostKeys))] }
}

interface Attempt {
  readonly options?: Partial<ServerOptions>
  readonly hostKey?: KeyFile
  readonly proof?: Login['proof']
  readonly signature?: string
  readonly length?: number
  readonly rekeyBytes?: number
  readonly check?: (server: OurServer) => void
}

/** The client logs in and gets back what it sends. */
async function succeed(client: PeerClient, keys: Keys, attempt: Attempt): Promise<void> {
  const first = keys.usual
  const {
    hostKey = first,
    proof = first,
    signature,
    options,
    length = 100_000,
    rekeyBytes,
    check,
  } = attempt
  await withOurServer(
    signerOf(hostKey),
    { auth: accepting(proof, keys.authority), ...options },
    async (server) => {
      const data = bytes(length)
      const login = {
        ...{ port: server.port, username, hostKey: hostKey.key, proof },
        ...(signature !== undefined && { signature }),
        ...(hostKey.certificate && { hostAuthority: keys.authority }),
      }
      const came = await use(client, { ...login, ...(rekeyBytes && { rekeyBytes }) }, data).catch(
        (error) => {
          throw new Error(`${error}\n${server.report()}`)
        },
      )
      assert.is(sha256(came), sha256(data), server.report())
      check?.(server)
    },
  )
}

/** The client does not get in, and says so. */
async function refuse(
  client: PeerClient,
  keys: Keys,
  proof: Login['proof'],
  options: Partial<ServerOptions>,
  hostKey?: Signer,
): Promise<void> {
  const first = keys.usual
  const auth = accepting(first)
  await withOurServer(hostKey ?? first.key, { auth, ...options }, async (server) => {
    const login = { port: server.port, username, hostKey: first.key, proof }
    const came = await use(client, login, bytes(10)).catch((error: Error) => error)
    assert.instance(came, Error, 'it came in')
    assert.is(server.connections.length, 0, 'it came in')
  })
}

function signerOf({ key, certificate }: KeyFile): Signer {
  return certificate === undefined ? key : certified(key, certificate)
}
