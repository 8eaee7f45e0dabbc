// PuTTY's plink with our server.

import { plink } from '../peers/putty.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ client: plink })
