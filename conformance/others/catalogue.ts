// What every peer is tried with beyond the algorithms that it proposes. A peer that is not, in a role
// that it has, has to say why: otherwise that is a failure.

import { areaOf, type Role } from '../feature.ts'
import type { PeerClient, PeerServer } from '../peers/peer.ts'
import type { Trial } from './trial.ts'

const both = {
  working: [
    '5 MiB each way',
    'keys exchanged anew by us several times under load',
    'keys exchanged anew by the peer several times under load',
    'password',
    'keyboard-interactive',
    'a wrong password is refused',
    'a wrong keyboard-interactive is refused',
    'a key that is not authorized is refused',
    'a host key that is not the expected one is refused',
    'exit status 0',
    'exit status 1',
    'exit status 42',
    'exit status 255',
    'eight commands at once on one connection',
    'a user certificate that has expired is refused',
    'a user certificate for another name is refused',
    'a host certificate that has expired is refused',
    'a host certificate for another name is refused',
  ],
  proofs: [
    'several questions in several rounds',
    'a wrong answer in the last round is refused',
    'a password is changed on demand',
    'a key and then a password, of which neither is enough',
  ],
  forwards: [
    '-L to a TCP port',
    '-L to a Unix socket',
    '-R of a TCP port',
    '-R of a Unix socket',
    '-J',
  ],
  agents: ['forwarded to a command'],
} as const

const onlyOfClients = {
  ...both,
  forwards: [...both.forwards, '-D'],
  agents: ['that holds another key lets nobody in', ...both.agents],
} as const

const rows: Readonly<Record<Role, Readonly<Record<string, readonly string[]>>>> = {
  client: onlyOfClients,
  server: both,
}

/** The trials and, for each row that none of them is, one that fails unless the peer says why. */
export function completed(
  role: Role,
  { name: peer }: PeerClient | PeerServer,
  trials: readonly Trial[],
): readonly Trial[] {
  const missing = Object.entries(rows[role]).flatMap(([topic, names]) => {
    const area = `${areaOf[role]}: ${topic}`
    return names
      .filter((name) => !trials.some((trial) => trial.area === area && trial.name === name))
      .map((name) => ({
        ...{ area, name },
        run: () => Promise.reject(new Error(`${peer} is not tried, and does not say why`)),
      }))
  })
  return [...trials, ...missing]
}
