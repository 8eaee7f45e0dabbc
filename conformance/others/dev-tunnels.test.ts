// npm's @microsoft/dev-tunnels-ssh in both roles, in one process with us.

import { devTunnelsClient, devTunnelsServer } from '../peers/dev-tunnels.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ client: devTunnelsClient, server: devTunnelsServer })
