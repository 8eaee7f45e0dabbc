// asyncssh as a peer, in both roles.

import { type Library, pythonClient, pythonServer } from './python.ts'

const library: Library = {
  name: 'asyncssh',
  script: 'asyncssh_peer.py',
  package: 'python3-asyncssh',
  secrets: ['password', 'keyboard-interactive'],
  // It goes on with its data while keys are exchanged, which takes long with all that in between.
  loadBytes: 16 << 20,
}

/** Its client. */
export const asyncsshClient = pythonClient(library)
/** Its server. */
export const asyncsshServer = pythonServer(library)
