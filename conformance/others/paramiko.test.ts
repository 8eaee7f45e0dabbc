// paramiko in both roles.

import { pythonClient, pythonServer } from '../peers/python.ts'
import { tryPeers } from './trial.ts'

const library = {
  name: 'paramiko',
  script: 'paramiko_peer.py',
  package: 'python3-paramiko',
  secrets: ['password', 'keyboard-interactive'],
} as const

await tryPeers({ client: pythonClient(library), server: pythonServer(library) })
