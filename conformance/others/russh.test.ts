// The client of npm's russh, which is Rust's, in one process with us.

import { russhClient } from '../peers/russh.ts'
import { tryPeers } from './trial.ts'

await tryPeers({ client: russhClient })
