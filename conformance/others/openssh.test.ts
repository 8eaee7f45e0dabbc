// OpenSSH in both roles, with every algorithm that both sides have.

import { ssh, sshd } from '../peers/openssh-peers.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ client: ssh, server: sshd })
