// libssh's server with our client.

import { libsshServer } from '../peers/libssh.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ server: libsshServer })
