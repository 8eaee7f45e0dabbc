// Our own client as the peer of a server under test.

import { readFileSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import {
  type Client,
  type ClientOptions,
  connect,
  nodeSocket,
  PublicKey,
  parsePrivateKey,
  pinned,
  publickey,
} from '@sandbox-ssh/protocol'
import type { Endpoint } from './openssh.ts'

/** Connects to a server whose host key is known, with the key that may log in. */
export async function connectTo(
  server: Endpoint & { readonly hostKey: string },
  options: Partial<ClientOptions> = {},
): Promise<Client> {
  const key = await parsePrivateKey(readFileSync(server.identity, 'utf8'))
  return connect(nodeSocket(connectTcp(server.port, server.host)), {
    username: server.username,
    hostKey: pinned(PublicKey.parse(server.hostKey)),
    auth: [publickey(key)],
    ...options,
  })
}
