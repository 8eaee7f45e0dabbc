// The server of asyncssh with our client.

import { asyncsshServer } from '../peers/asyncssh.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ server: asyncsshServer })
