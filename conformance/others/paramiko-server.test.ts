// The server of paramiko with our client.

import { paramikoServer } from '../peers/paramiko.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ server: paramikoServer })
