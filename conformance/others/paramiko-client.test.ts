// The client of paramiko with our server.

import { paramikoClient } from '../peers/paramiko.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ client: paramikoClient })
