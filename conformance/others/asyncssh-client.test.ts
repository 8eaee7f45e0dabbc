// The client of asyncssh with our server.
// Time limit: 240 s

import { asyncsshClient } from '../peers/asyncssh.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ client: asyncsshClient })
