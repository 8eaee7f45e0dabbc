// A relay on a Unix socket behind websockify, a proxy that is not ours, as `ws://` for the
// built command. The runtimes' own WebSockets, and on Node 20 that of the package ws.

import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { startDaemon } from '../peers/daemon.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { missing } from '../peers/installed.ts'
import { msbCommand } from '../peers/msb.ts'
import { freePort } from '../peers/openssh.ts'
import { run } from '../peers/run.ts'

const lacking = missing('websockify', ['websockify'])

async function throughProxy(): Promise<void> {
  const folder = temporaryFolder()
  const env = { MSB_HOME: folder }
  const socket = join(folder, 'agent.sock')
  const relaying = msbCommand(['relay', 'local:box', '--listen', socket])
  const relay = await startDaemon(relaying, /agent\.sock/, env)
  const port = await freePort()
  const listen = `127.0.0.1:${port}`
  const proxying = ['websockify', listen, `--unix-target=${socket}`]
  const proxy = await startDaemon(proxying, /proxying from/)
  try {
    const data = bytes(5_000_000)
    const command = msbCommand([`ws://${listen}/`, '--', 'cat; exit 5'])
    const { code, stdout, stderr } = await run(command, { env, stdin: data })
    assert.is(code, 5, stderr)
    assert.is(sha256(stdout), sha256(data))
    await proxy.daemon.stop()
    const gone = await run(command, { env })
    assert.is(gone.code, 1)
    assert.match(gone.stderr, new RegExp(`^error: .*ws://${listen}: `))
  } finally {
    await proxy.daemon.stop()
    await relay.daemon.stop()
  }
}

if (lacking === undefined || process.env['CI'] !== undefined) {
  test('a relay behind a WebSocket proxy serves the built command', throughProxy)
} else test.skip(lacking, () => {})

test.run()
