// paramiko as a peer, in both roles.

import { forwardKinds } from './peer.ts'
import { type Library, pythonClient, pythonServer } from './python.ts'
import { because, hostCertificates, unixSockets, userCertificates } from './reasons.ts'

const abilities: Library['client'] & Library['server'] = {
  secrets: ['password', 'keyboard-interactive'],
  rekeys: true,
  forwards: forwardKinds.filter((kind) => kind !== '-D'),
  unable: {
    ...because('it has no such channels', unixSockets),
    ...because('it knows no certificates of hosts', hostCertificates),
    '-D': 'it does not speak SOCKS',
    'a password is changed on demand': 'it does not know that message',
  },
  forwardsAgent: true,
}

const library: Library = {
  name: 'paramiko',
  script: 'paramiko_peer.py',
  package: 'python3-paramiko',
  probe: 'import paramiko',
  // It shows certificates of users, but checks none; it knows none of hosts.
  client: { ...abilities, usesAgent: true, securityKeys: 'by agent', certificates: 'of users' },
  server: {
    ...abilities,
    unable: { ...abilities.unable, ...because('it looks into no certificate', userCertificates) },
  },
}

/** Its client. */
export const paramikoClient = pythonClient(library)
/** Its server. */
export const paramikoServer = pythonServer(library)
