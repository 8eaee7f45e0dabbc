// PuTTY's plink with our server.
// Time limit: 240 s

import { plink } from '../peers/putty.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ client: plink })
