// npm's ssh2 in both roles, in one process with us.

import { ssh2Client, ssh2Server } from '../peers/ssh2-peers.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ client: ssh2Client, server: ssh2Server })
