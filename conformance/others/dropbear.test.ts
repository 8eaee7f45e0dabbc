// Dropbear in both roles.
// Time limit: 240 s

import { dbclient, dropbear } from '../peers/dropbear.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ client: dbclient, server: dropbear })
