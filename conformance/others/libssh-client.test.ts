// libssh's client with our server.

import { libsshClient } from '../peers/libssh.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ client: libsshClient })
