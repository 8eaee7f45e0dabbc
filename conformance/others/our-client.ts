// Our client, at a server of another implementation.

import { connect as connectTcp } from 'node:net'
import {
  type Client,
  type ClientOptions,
  connect,
  isCertificate,
  knownHosts,
  nodeSocket,
  publickey,
} from '@sandbox-ssh/protocol'
import type { RunningPeer } from '../peers/peer.ts'
import type { Keys } from './keys.ts'
import { username } from './user.ts'

/** Logs in with a key, unless told otherwise, and out when `use` is done. */
export async function withOurClient(
  { port }: RunningPeer,
  keys: Keys,
  options: Partial<ClientOptions>,
  use: (client: Client) => Promise<void>,
): Promise<void> {
  const client = await connect(nodeSocket(connectTcp(port, '127.0.0.1')), {
    username,
    hostKey: (key) =>
      isCertificate(key)
        ? knownHosts(`@cert-authority * ${keys.authority}\n`, '127.0.0.1')(key)
        : keys.plain.some((file) => file.key.publicKey.equals(key)),
    auth: [publickey(keys.usual.key)],
    ...options,
  })
  try {
    await use(client)
  } finally {
    await client.close()
  }
}
