// libssh as a peer, in both roles, by a script that calls its functions.

import { forwardKinds } from './peer.ts'
import { type Library, pythonClient, pythonServer } from './python.ts'
import { because, hostCertificates, userCertificates } from './reasons.ts'

const library: Library = {
  name: 'libssh',
  script: 'libssh_peer.py',
  package: 'libssh-4',
  probe: 'import ctypes; ctypes.CDLL("libssh.so.4")',
  client: {
    secrets: ['password', 'keyboard-interactive'],
    rekeys: true,
    forwards: forwardKinds.filter((kind) => kind !== '-D'),
    unable: {
      'a password is changed on demand': 'it does not know that message',
      '-D': 'it does not speak SOCKS',
      ...because('it knows no certificates of hosts', hostCertificates),
      '-R of a Unix socket': 'it has no function for it',
      'host keys: sk-ssh-ed25519@openssh.com': 'it does not give out what key it was shown',
      'host keys: sk-ecdsa-sha2-nistp256@openssh.com': 'it does not give out what key it was shown',
    },
    usesAgent: true,
    securityKeys: 'by agent',
    forwardsAgent: true,
    certificates: 'of users',
  },
  server: {
    secrets: ['password', 'keyboard-interactive'],
    rekeys: true,
    // It holds a single key of ECDSA.
    hostKeysMax: 1,
    securityKeys: 'of users',
    forwards: forwardKinds.filter((kind) => kind !== '-D'),
    unable: {
      'a password is changed on demand': 'it does not ask for it',
      ...because('it takes and shows none', [...userCertificates, ...hostCertificates]),
      '-L to a Unix socket': 'it does not know such requests',
      '-R of a Unix socket': 'it does not know such requests',
    },
    forwardsAgent: true,
  },
}

/** Its client. */
export const libsshClient = pythonClient(library)
/** Its server. */
export const libsshServer = pythonServer(library)
