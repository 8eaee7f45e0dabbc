// Trials of several sessions at once on one connection, with a peer at either end.

import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { areaOf } from '../feature.ts'
import type { PeerClient, RunningPeer } from '../peers/peer.ts'
import type { Keys } from './keys.ts'
import { withOurClient } from './our-client.ts'
import { accepting, withOurServer } from './our-server.ts'
import type { Trial } from './trial.ts'
import { told } from './use.ts'
import { username } from './user.ts'

const data = bytes(100_000)
const codes = [0, 1, 2, 3, 4, 5, 6, 7]
const commands = codes.map((code) => `cat; exit ${code}`)
const name = 'eight commands at once on one connection'

/** A client of our server. */
export function sessionsOfClient(client: PeerClient, keys: Keys): readonly Trial[] {
  const { together } = client
  if (together === undefined) return []
  const key = keys.usual
  const run = (): Promise<void> =>
    withOurServer(key.key, { auth: accepting(key) }, async (server) => {
      const login = { port: server.port, username, hostKey: key.key, proof: key }
      const rans = await together(login, commands, data).catch((error: unknown) => {
        throw new Error(`${error}\n${server.report()}`)
      })
      assert.equal(
        rans.map(({ code }) => code),
        codes.map((code) => told(client, code)),
        rans.map(({ problem }) => problem).join('\n'),
      )
      for (const { stdout } of rans) assert.is(sha256(stdout), sha256(data))
      assert.is(server.connections.length, 1)
    })
  return [{ area: `${areaOf.client}: working`, name, run }]
}

/** Our client of a server. */
export function sessionsOfServer(server: RunningPeer, keys: Keys): readonly Trial[] {
  const run = (): Promise<void> =>
    withOurClient(server, keys, {}, async (client) => {
      const rans = await Promise.all(
        commands.map((command) => client.run(command, { stdin: data })),
      )
      assert.equal(
        rans.map(({ code }) => code),
        codes,
      )
      for (const { stdout } of rans) assert.is(sha256(stdout), sha256(data))
    })
  return [{ area: `${areaOf.server}: working`, name, run }]
}
