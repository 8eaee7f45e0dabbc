// OpenSSH's ssh with our server, with every algorithm that both sides have.
// Time limit: 300 s

import { ssh } from '../peers/openssh-peers.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ client: ssh })
