// OpenSSH's sshd with our client, with every algorithm that both sides have.
// Time limit: 300 s

import { sshd } from '../peers/openssh-peers.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ server: sshd })
