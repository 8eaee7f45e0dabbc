// The server of asyncssh with our client.
// Time limit: 240 s

import { asyncsshServer } from '../peers/asyncssh.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ server: asyncsshServer })
