// paramiko as a peer, in both roles.

import { type Library, pythonClient, pythonServer } from './python.ts'

const library: Library = {
  name: 'paramiko',
  script: 'paramiko_peer.py',
  package: 'python3-paramiko',
  secrets: ['password', 'keyboard-interactive'],
}

/** Its client. */
export const paramikoClient = pythonClient(library)
/** Its server. */
export const paramikoServer = pythonServer(library)
