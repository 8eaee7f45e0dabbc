// Our client in the page of a real browser, through a real WebSocket proxy.
// Time limit: 240 s

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { root } from '../../scripts/bundle.mjs'
import { findChromium, runPage } from '../../scripts/page.ts'
import { againstServers, type Server } from '../matrix.ts'
import { startDaemon } from '../peers/daemon.ts'
import { missing } from '../peers/installed.ts'
import { freePort } from '../peers/openssh.ts'

const lacking =
  findChromium() === undefined
    ? 'no browser installed (apt install chromium-headless-shell)'
    : missing('websockify', ['websockify'])

/** Everything the page does with a server. */
async function tryPage(server: Server): Promise<void> {
  const port = await freePort()
  const to = `${server.host}:${server.port}`
  const listening = /proxying from/
  const { daemon } = await startDaemon(['websockify', `127.0.0.1:${port}`, to], listening)
  try {
    const query = new URLSearchParams({
      url: `ws://127.0.0.1:${port}/`,
      username: server.username,
      hostKey: server.hostKey,
      key: readFileSync(server.identity, 'utf8'),
      folder: '/tmp',
    })
    const page = join(root, 'conformance/client/page.ts')
    const { printed, passed } = await runPage(page, query.toString())
    assert.ok(passed, printed)
  } finally {
    await daemon.stop()
  }
}

if (lacking !== undefined && process.env['CI'] === undefined) {
  const test = suite('Our client in a browser')
  test.skip(lacking, () => {})
  test.run()
} else {
  againstServers('Our client in a browser', [
    {
      name: 'a page runs commands, has a terminal and copies files',
      limitMs: 100_000,
      run: ({ server }) => tryPage(server),
    },
  ])
}
