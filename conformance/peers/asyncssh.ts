// asyncssh as a peer, in both roles.

import { forwardKinds } from './peer.ts'
import { type Library, pythonClient, pythonServer } from './python.ts'

const abilities: Library['client'] & Library['server'] = {
  secrets: ['password', 'keyboard-interactive'],
  rekeys: true,
  // It goes on with its data while keys are exchanged, which takes long with all that in between.
  loadBytes: 16 << 20,
  forwards: forwardKinds.filter((kind) => kind !== '-D'),
  forwardsAgent: true,
  certificates: true,
}

const byOneName = 'it names certificates for RSA by the name that means SHA-1'
const misnamed = 'it names the algorithm of the key beside the certificate'

const library: Library = {
  name: 'asyncssh',
  script: 'asyncssh_peer.py',
  package: 'python3-asyncssh',
  probe: 'import asyncssh',
  client: {
    ...abilities,
    forwards: forwardKinds,
    usesAgent: true,
    securityKeys: 'by agent',
    proposesKnown: true,
    unable: {
      'user keys: rsa-sha2-512-cert-v01@openssh.com': byOneName,
      'user keys: rsa-sha2-256-cert-v01@openssh.com': byOneName,
      'user keys: sk-ssh-ed25519-cert-v01@openssh.com': misnamed,
      'user keys: sk-ecdsa-sha2-nistp256-cert-v01@openssh.com': misnamed,
    },
  },
  server: {
    ...abilities,
    securityKeys: 'of users',
    unable: {
      'a key and then a password, of which neither is enough': 'one proof is enough to it',
    },
  },
}

/** Its client. */
export const asyncsshClient = pythonClient(library)
/** Its server. */
export const asyncsshServer = pythonServer(library)
