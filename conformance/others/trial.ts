// Tries a peer in both roles, as suites whose outcomes are among the results.

import { suite } from 'uvu'
import type { PeerClient, PeerServer } from '../peers/peer.ts'
import { pool, TRIALS_AT_ONCE } from '../pool.ts'
import { recorded, recordUntried } from '../results.ts'
import { within } from '../within.ts'
import { completed } from './catalogue.ts'
import { generateKeyFiles, type Keys, keyFor } from './keys.ts'
import { clientTrials } from './their-client.ts'
import { serverTrials } from './their-server.ts'

/** One row of one table, with the peer as a column. */
export interface Trial {
  readonly area: string
  readonly name: string
  readonly run: () => Promise<void>
  /** Why it cannot be tried here, if so; in CI that is a failure. */
  readonly missing?: string
}

/** What there is to try of one implementation; `extra` are trials for what only it does. */
export interface Peers {
  readonly client?: PeerClient
  readonly server?: PeerServer
  readonly extra?: readonly Trial[]
}

/**
 * Tries all. A peer that is not installed is skipped, except in CI, where it must be. To be called
 * once a program: suites that are not made in one go would be run twice.
 */
export async function tryPeers({ client, server, extra = [] }: Peers): Promise<void> {
  const keys = await generateKeyFiles()
  const atOnce = pool(TRIALS_AT_ONCE)
  let stopServer = async (): Promise<void> => {}
  const asClient = await prepared(client, async (peer) =>
    completed('client', peer, await clientTrials(peer, suited(peer, keys))),
  )
  const asServer = await prepared(server, async (peer) => {
    const { trials, stop } = await serverTrials(peer, suited(peer, keys))
    stopServer = stop
    return completed('server', peer, trials)
  })
  for (const [peer, trials] of [...asClient, ...asServer]) {
    const test = suite(`${peer.name}: ${trials[0]?.area.split(':')[0] ?? ''}`)
    if (peer.missing !== undefined && process.env['CI'] === undefined) {
      recordUntried(peer.name, peer.missing)
      test.skip(peer.missing, () => {})
    }
    // All begin with the first, as far as there is room, and are waited for in their order.
    const all = trials === asClient[0]?.[1] ? [...trials, ...extra] : trials
    for (const { area, name, run, missing } of all) {
      const topic = area.slice(area.indexOf(': ') + 2)
      const able = peer.unable?.[`${topic}: ${name}`] ?? peer.unable?.[name]
      const why = able ?? (process.env['CI'] === undefined ? missing : undefined)
      if (why !== undefined) {
        recordUntried(peer.name, why, { area, name })
        test.skip(`${name}: ${why}`, () => {})
      } else
        test(
          name,
          recorded(
            area,
            name,
            peer.name,
            atOnce(() =>
              missing === undefined ? within(limitMs, run()) : Promise.reject(new Error(missing)),
            ),
          ),
        )
    }
    if (trials === asClient[0]?.[1]) {
      test.after(async () => client?.stop?.())
    }
    if (trials === asServer[0]?.[1]) test.after(() => stopServer())
    test.run()
  }
}

/** The same with what is usual for the peer. */
function suited({ usualKey }: PeerClient | PeerServer, keys: Keys): Keys {
  return usualKey === undefined ? keys : { ...keys, usual: keyFor(usualKey, 'user', keys) }
}

/** When to give up one trial. */
const limitMs = 60_000

/** The trials of a peer; one that fails if they cannot even be prepared. */
async function prepared<Peer extends PeerClient | PeerServer>(
  peer: Peer | undefined,
  prepare: (peer: Peer) => Promise<readonly Trial[]>,
): Promise<readonly (readonly [Peer, readonly Trial[]])[]> {
  if (peer === undefined) return []
  const broken = (problem: unknown): Trial => ({
    ...{ area: 'Other implementations', name: 'can be tried at all' },
    run: () => Promise.reject(problem),
  })
  if (peer.missing !== undefined) {
    return [[peer, process.env['CI'] === undefined ? [] : [broken(new Error(peer.missing))]]]
  }
  try {
    return [[peer, await prepare(peer)]]
  } catch (error) {
    return [[peer, [broken(error)]]]
  }
}
