// OpenSSH's ssh-agent as a peer.

import { createConnection } from 'node:net'
import { join } from 'node:path'
import { type AgentClient, agentClient, nodeSocket } from '@sandbox-ssh/protocol'
import { startDaemon } from './daemon.ts'
import { temporaryFolder } from './folder.ts'

/** Runs with an ssh-agent, given these options, that ends afterwards. */
export async function withAgent(
  body: (agent: AgentClient, socket: string) => Promise<void>,
  options: readonly string[] = [],
): Promise<void> {
  const socket = join(temporaryFolder(), 'agent')
  // It says nothing on stderr when it is ready, and does not listen yet when its socket is there:
  // ssh-add ends with 2 as long as nobody answers.
  const { daemon } = await startDaemon(
    [
      'sh',
      '-c',
      `ssh-agent -D -a ${socket} ${options.join(' ')} & child=$!; trap "kill $child" TERM; until ssh-add -l >/dev/null 2>&1 || test $? = 1; do sleep 0.02; done; echo ready >&2; wait $child; wait`,
    ],
    /ready/,
    { SSH_AUTH_SOCK: socket },
  )
  const agent = agentClient(nodeSocket(createConnection(socket)))
  try {
    await body(agent, socket)
  } finally {
    await agent.close()
    await daemon.stop()
  }
}
