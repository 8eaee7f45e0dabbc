// Trials of certificates that must not be taken, with a peer at either end.

import {
  AuthenticationError,
  type ClientOptions,
  certified,
  publickey,
  type SshError,
} from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { bytes } from '../data.ts'
import type { KeyFile, PeerClient, PeerServer, RunningPeer, ServerSetup } from '../peers/peer.ts'
import type { Fault, Keys } from './keys.ts'
import { withOurClient } from './our-client.ts'
import { accepting, withOurServer } from './our-server.ts'
import type { Trial } from './trial.ts'
import { username } from './user.ts'

/** A trial for each that is no good in this role. */
function faulty(
  side: string,
  role: 'user' | 'host',
  keys: Keys,
  run: (file: KeyFile) => Promise<void>,
): readonly Trial[] {
  return (Object.entries(keys.unfit[role]) as [Fault, KeyFile][]).map(([fault, file]) => ({
    area: `${side}: working`,
    name: `a ${role} certificate ${fault} is refused`,
    run: () => run(file),
  }))
}

const signerOf = ({ key, certificate }: KeyFile): ReturnType<typeof certified> =>
  certificate === undefined ? key : certified(key, certificate)

/** A client shows such to our server, and is shown such by it. */
export function unfitOfClient(client: PeerClient, keys: Keys): readonly Trial[] {
  const side = 'Other clients of our server'
  const first = keys.usual
  const refused = (hostKey: KeyFile, proof: KeyFile): Promise<void> =>
    withOurServer(signerOf(hostKey), { auth: accepting(proof, keys.authority) }, async (server) => {
      const trust = hostKey.certificate && { hostAuthority: keys.authority }
      const login = { port: server.port, username, hostKey: hostKey.key, proof, ...trust }
      const ended = await client.exec?.(login, 'exit 7', bytes(0)).catch(() => undefined)
      assert.is.not(ended?.code, 7, 'it came in')
      assert.is(server.connections.length, 0, 'it came in')
    })
  const { certificates = false } = client
  return [
    ...(certificates === false ? [] : faulty(side, 'user', keys, (file) => refused(first, file))),
    ...(certificates === true ? faulty(side, 'host', keys, (file) => refused(file, first)) : []),
  ]
}

/** Our client shows such to a server, and is shown such by it. */
export function unfitOfServer(
  peer: PeerServer,
  server: RunningPeer,
  setup: ServerSetup,
  keys: Keys,
): readonly Trial[] {
  if (peer.certificates !== true) return []
  const side = 'Our client of other servers'
  const attempt = (at: RunningPeer, options: Partial<ClientOptions>): Promise<unknown> =>
    withOurClient(at, keys, options, async () => {}).catch((error: unknown) => error)
  return [
    ...faulty(side, 'user', keys, async (file) => {
      const outcome = await attempt(server, { auth: [publickey(signerOf(file))] })
      assert.instance(outcome, AuthenticationError, String(outcome))
    }),
    ...faulty(side, 'host', keys, async (file) => {
      // sshd wants the key by itself, too.
      const own = await peer.start({ ...setup, hostKeys: [keys.usual, file] })
      try {
        const algorithms: ClientOptions['algorithms'] = (all) => ({
          ...all,
          hostKeys: all.hostKeys.filter(({ keyType }) => keyType === file.certificate?.type),
        })
        const outcome = (await attempt(own, { algorithms })) as SshError | undefined
        assert.is(outcome?.code, 'SSH_HOST_KEY_REJECTED', String(outcome))
      } finally {
        await own.stop()
      }
    }),
  ]
}
