// asyncssh as a peer, in both roles.

import { forwardKinds } from './peer.ts'
import { type Library, pythonClient, pythonServer } from './python.ts'

const abilities: Library['client'] = {
  secrets: ['password', 'keyboard-interactive'],
  rekeys: true,
  // It goes on with its data while keys are exchanged, which takes long with all that in between.
  loadBytes: 16 << 20,
  forwards: forwardKinds,
  forwardsAgent: true,
  certificates: true,
}

const library: Library = {
  name: 'asyncssh',
  script: 'asyncssh_peer.py',
  package: 'python3-asyncssh',
  probe: 'import asyncssh',
  client: { ...abilities, usesAgent: true },
  server: abilities,
}

/** Its client. */
export const asyncsshClient = pythonClient(library)
/** Its server. */
export const asyncsshServer = pythonServer(library)
