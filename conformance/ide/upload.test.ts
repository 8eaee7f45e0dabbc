// What JetBrains' Gateway does: ask what the machine is, upload its worker by SFTP to a name of its
// own, make it executable, move it to its place and run it, with its protocol on stdin and stdout;
// all as an ordinary user.
// Time limit: 180 s

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { temporaryFolder } from '../peers/folder.ts'
import { missing } from '../peers/installed.ts'
import { agentBox, type Box, NO_USER } from './box.ts'

const programs = missing('openssh-client bubblewrap', ['ssh', 'sftp', 'bwrap'])
const box: Box | undefined = programs === undefined ? await agentBox() : undefined
const absent = programs ?? (box?.user === undefined ? NO_USER : undefined)
const add = absent === undefined ? test : test.skip
if (absent !== undefined) console.log(`skipped: ${absent}`)
test.after(() => box?.stop())

/** Echoes lines with who it is; large enough to need many packets. */
const helper = join(temporaryFolder(), 'helper')
writeFileSync(
  helper,
  `#!/bin/sh\nwhile read -r line; do echo "$(id -un): $line"; done\nexit 7\n#${'x'.repeat(700_000)}\n`,
  { mode: 0o644 },
)

/** What an earlier version might be. */
const empty = join(temporaryFolder(), 'empty')
writeFileSync(empty, '')

async function sftp(host: string, lines: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await (box as Box).run(
    'sftp',
    ['-q', '-b', '-', host],
    `${lines.join('\n')}\n`,
  )
  assert.is(code, 0, stderr)
  return stdout.toString()
}

add('JetBrains: a worker is uploaded by an ordinary user and runs as him', async () => {
  const { user: host = '', run } = box as Box
  const place = '.cache/JetBrains/RemoteDev/remote-dev-worker'
  const uname = await run('ssh', [host, 'uname -sm; id -un; echo "$SHELL"'])
  assert.match(uname.stdout.toString(), /^Linux \S+\ndev\n\/bin\/bash\n$/)
  assert.is((await run('ssh', [host, `mkdir -p ~/${place}`])).code, 0)
  const listed = await sftp(host, [
    `cd ${place}`,
    `put ${helper} worker.123.tmp`,
    'chmod 755 worker.123.tmp',
    // The second upload of an update: rename replaces.
    `put ${empty} worker`,
    'rename worker.123.tmp worker',
    'mkdir data',
    'symlink ../worker data/current',
    'ls -l',
  ])
  // His, or he could not run, replace and remove it.
  assert.match(listed, /-rwxr-xr-x +\S+ +dev +dev +\d+ .* worker\r?\n/)
  assert.match(listed, /drwxr-xr-x +\S+ +dev +dev +\S+ .* data\r?\n/)
  const ran = await run('ssh', ['-T', host, `~/${place}/data/current`], 'hello\nagain\n')
  assert.is(ran.stdout.toString(), 'dev: hello\ndev: again\n')
  assert.is(ran.code, 7)
  const back = join(temporaryFolder(), 'back')
  await sftp(host, [`get ${place}/worker ${back}`])
  assert.ok(readFileSync(back).equals(readFileSync(helper)))
  assert.is((await run('ssh', [host, `rm -r ~/${place} && test ! -e ~/${place}`])).code, 0)
})

add('what is not his he cannot touch', async () => {
  const { user: host = '', run } = box as Box
  for (const line of [
    `put ${empty} /etc/profile`,
    'rm /etc/profile',
    'mkdir /etc/x',
    'get /etc/shadow /dev/null',
  ]) {
    const { code, stderr } = await run('sftp', ['-q', '-b', '-', host], `${line}\n`)
    assert.is(code, 1, line)
    assert.match(stderr, /[Pp]ermission denied/, line)
  }
})

test.run()
