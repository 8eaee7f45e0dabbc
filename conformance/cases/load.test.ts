// Rekeying while data flows, many sessions on one connection, many connections at once.
// Time limit: 300 s

import { createHash } from 'node:crypto'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { bytes, stream } from '../data.ts'
import { againstServers } from '../matrix.ts'
import { startDaemon } from '../peers/daemon.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { OpenSsh } from '../peers/openssh.ts'
import { run } from '../peers/run.ts'

const MiB = 1 << 20

againstServers('Load', [
  {
    name: 'RekeyLimit 1M under a 50 MiB transfer to the server',
    limitMs: 150_000,
    run: async ({ openssh }) => {
      const { readable, sha256 } = stream(50 * MiB)
      const { code, stdout, stderr } = await openssh.ssh('sha256sum', {
        stdin: readable,
        args: ['-o', 'RekeyLimit=1M', '-o', 'LogLevel=DEBUG1'],
        limitMs: 120_000,
      })
      assert.is(code, 0, stderr.slice(-2000))
      assert.is(stdout.toString().split(' ')[0], sha256)
      const exchanges = stderr.match(/SSH2_MSG_NEWKEYS received/g)?.length ?? 0
      assert.ok(exchanges >= 20, `only ${exchanges} key exchanges`)
    },
  },
  {
    name: 'RekeyLimit 1M under a 50 MiB transfer from the server',
    limitMs: 150_000,
    run: async ({ openssh }) => {
      const hash = createHash('sha256')
      const file = (await openssh.text('mktemp')).trim()
      const { readable, sha256 } = stream(50 * MiB)
      assert.is((await openssh.ssh(`cat > ${file}`, { stdin: readable, limitMs: 120_000 })).code, 0)
      const { code, stderr } = await openssh.ssh(`cat ${file}; rm ${file}`, {
        onStdout: (chunk) => hash.update(chunk),
        args: ['-o', 'RekeyLimit=1M', '-o', 'LogLevel=DEBUG1'],
        limitMs: 120_000,
      })
      assert.is(code, 0, stderr.slice(-2000))
      assert.is(hash.digest('hex'), sha256)
      const exchanges = stderr.match(/SSH2_MSG_NEWKEYS received/g)?.length ?? 0
      assert.ok(exchanges >= 20, `only ${exchanges} key exchanges`)
    },
  },
  {
    name: '20 parallel sessions on one connection',
    run: async ({ server }) => {
      const path = join(temporaryFolder(), 'control')
      const master = new OpenSsh(server, [`ControlPath ${path}`])
      const { daemon } = await startDaemon(
        master.command(['-M', '-N', '-o', 'LogLevel=DEBUG1']),
        /Entering interactive session/,
      )
      try {
        const sessions = Array.from({ length: 20 }, async (_, index) => {
          const data = bytes(500_000 + index)
          const { code, stdout, stderr } = await master.ssh(`cat; exit ${index}`, { stdin: data })
          assert.is(code, index, stderr)
          assert.ok(stdout.equals(data), `session ${index} got something else`)
        })
        await Promise.all(sessions)
        const sockets = await run(['ssh', '-F', master.config, '-O', 'check', 'peer'])
        assert.match(sockets.stderr, /Master running/)
      } finally {
        await daemon.stop()
      }
    },
  },
  {
    name: '50 connections at once',
    limitMs: 150_000,
    run: async ({ openssh }) => {
      // The first learns the host key, which the others would all write down at the same time.
      await openssh.text('true')
      const connections = Array.from({ length: 50 }, async (_, index) => {
        const { code, stdout, stderr } = await openssh.ssh(`echo ${index}; cat`, {
          stdin: 'end\n',
          args: ['-o', 'ConnectTimeout=60'],
          limitMs: 90_000,
        })
        assert.is(code, 0, stderr)
        assert.is(stdout.toString(), `${index}\nend\n`)
      })
      await Promise.all(connections)
    },
  },
])
