// The built guest program on Bun behind the built command. The guest's own tests run on Bun as well:
// see `// Also on: bun` in them.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { root } from '../../scripts/bundle.mjs'
import { bytes, sha256 } from '../data.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { msbCommand } from '../peers/msb.ts'
import { run } from '../peers/run.ts'
import { Terminal } from '../peers/terminal.ts'

const bun = ['x64', 'aarch64']
  .map((cpu) => join(root, `conformance/runtimes/node_modules/@oven/bun-linux-${cpu}/bin/bun`))
  .find((path) => existsSync(path))

function bunTests(program: string): void {
  test('the built program serves the built command', async () => {
    const guest = join(root, 'packages/sandbox-bridge/dist/msb-guest.mjs')
    const endpoint = `stdio:${program} ${guest} --stdio`
    const env = { MSB_HOME: temporaryFolder() }
    const data = bytes(3_000_000)
    const { code, stdout, stderr } = await run(msbCommand([endpoint, '--', 'cat; exit 5']), {
      env,
      stdin: data,
    })
    assert.is(code, 5, stderr)
    assert.is(sha256(stdout), sha256(data))
    const shell = msbCommand([endpoint, '--tty', '--', 'exec sh'])
    const terminal = new Terminal(['env', `MSB_HOME=${env.MSB_HOME}`, ...shell], 91, 37)
    terminal.type("PS1=; echo 're''ady'\n")
    await terminal.expect(/ready\r\n/)
    terminal.type('stty size; seq 1 30000 | tail -1; exit 6\n')
    await terminal.expect(/37 91\r\n30000\r\n/)
    assert.is(await terminal.exited, 6)
  })
}

if (bun !== undefined) bunTests(bun)
else test.skip('Bun is not installed (npm ci in conformance/runtimes)', () => {})

test.run()
