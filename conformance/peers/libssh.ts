// libssh as a peer, in both roles, by a script that calls its functions.

import { type Library, pythonClient, pythonServer } from './python.ts'

const library: Library = {
  name: 'libssh',
  script: 'libssh_peer.py',
  package: 'libssh-4',
  probe: 'import ctypes; ctypes.CDLL("libssh.so.4")',
  client: {
    secrets: ['password', 'keyboard-interactive'],
    rekeys: true,
    forwards: ['-L to a TCP port', '-L to a Unix socket', '-R of a TCP port'],
    usesAgent: true,
    forwardsAgent: true,
    certificates: 'of users',
  },
  server: {
    secrets: ['password', 'keyboard-interactive'],
    rekeys: true,
    // It holds a single key of ECDSA.
    hostKeysMax: 1,
    forwards: ['-L to a TCP port', '-R of a TCP port'],
  },
}

/** Its client. */
export const libsshClient = pythonClient(library)
/** Its server. */
export const libsshServer = pythonServer(library)
