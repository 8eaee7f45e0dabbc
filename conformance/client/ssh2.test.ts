// npm's ssh2, both ways, in one process with us.

import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { againstServers } from '../matrix.ts'
import { connectTo } from '../peers/connect.ts'
import { connectSsh2, execSsh2, startSsh2 } from '../peers/ssh2.ts'

const MiB = 1 << 20

againstServers('ssh2', [
  {
    name: "ssh2's client runs commands",
    run: async ({ server }) => {
      const client = await connectSsh2(server)
      try {
        assert.is((await execSsh2(client, 'exit 3')).code, 3)
        const data = bytes(20 * MiB)
        const { code, stdout } = await execSsh2(client, 'cat', data)
        assert.is(sha256(stdout), sha256(data))
        assert.is(code, 0)
      } finally {
        client.end()
      }
    },
  },
  {
    name: "our client runs commands on ssh2's server",
    only: 'msb',
    run: async () => {
      const server = await startSsh2()
      try {
        const client = await connectTo(server)
        assert.is((await client.run('exit 3')).code, 3)
        const data = bytes(20 * MiB)
        const { code, stdout } = await client.run('cat', { stdin: data })
        assert.is(sha256(stdout), sha256(data))
        assert.is(code, 0)
        await client.close()
      } finally {
        await server.stop()
      }
    },
  },
])
