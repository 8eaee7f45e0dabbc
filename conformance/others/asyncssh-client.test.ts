// The client of asyncssh with our server.

import { asyncsshClient } from '../peers/asyncssh.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ client: asyncsshClient })
