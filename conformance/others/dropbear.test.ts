// Dropbear in both roles.

import { dbclient, dropbear } from '../peers/dropbear.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ client: dbclient, server: dropbear })
