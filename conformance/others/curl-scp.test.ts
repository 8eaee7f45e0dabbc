// libssh2, in curl, with our server and its files, by scp.

import { curl } from '../peers/curl.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ client: curl('scp') })
