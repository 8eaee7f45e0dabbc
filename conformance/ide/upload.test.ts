// What JetBrains' Gateway and Zed do: ask what the machine is, upload a program of theirs by SFTP
// to a new name, make it executable, move it to its place and run it, with its protocol on stdin
// and stdout; all as an ordinary user.
// Time limit: 120 s

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { temporaryFolder } from '../peers/folder.ts'
import { missing } from '../peers/installed.ts'
import { agentBox, type Box } from './box.ts'

const isRoot = process.getuid?.() === 0
const absent = isRoot
  ? missing('openssh-client', ['ssh', 'sftp'])
  : 'only root can have another user in its sandbox'
const add = absent === undefined ? test : test.skip
if (absent !== undefined) console.log(`skipped: ${absent}`)
const box: Box | undefined = absent === undefined ? await agentBox() : undefined
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

for (const [editor, place] of [
  ['JetBrains', '.cache/JetBrains/RemoteDev/dist'],
  ['Zed', '.zed_server'],
] as const) {
  add(`${editor}: a program is uploaded by an ordinary user and runs as him`, async () => {
    const { folder, user: host = '', run } = box as Box
    const there = join(folder, place)
    const uname = await run('ssh', [host, 'uname -sm; id -un'])
    assert.match(uname.stdout.toString(), /^Linux \S+\nnobody\n$/)
    assert.is((await run('ssh', [host, `mkdir -p '${there}'`])).code, 0)
    const listed = await sftp(host, [
      `cd ${there}`,
      `put ${helper} helper.part`,
      'chmod 755 helper.part',
      // The second upload of an update: rename replaces.
      `put ${empty} helper`,
      'rename helper.part helper',
      'mkdir data',
      'symlink ../helper data/current',
      'ls -l',
    ])
    // His, or he could not run, replace and remove it.
    assert.match(listed, /-rwxr-xr-x +\S+ +nobody +nogroup +\d+ .* helper\r?\n/)
    assert.match(listed, /drwxr-xr-x +\S+ +nobody +nogroup +\S+ .* data\r?\n/)
    const ran = await run('ssh', ['-T', host, `${there}/data/current`], 'hello\nagain\n')
    assert.is(ran.stdout.toString(), 'nobody: hello\nnobody: again\n')
    assert.is(ran.code, 7)
    const back = join(temporaryFolder(), 'back')
    await sftp(host, [`get ${there}/helper ${back}`])
    assert.ok(readFileSync(back).equals(readFileSync(helper)))
    assert.is((await run('ssh', [host, `rm -r '${there}' && test ! -e '${there}'`])).code, 0)
  })
}

add('what is not his he cannot touch', async () => {
  const { user: host = '', run } = box as Box
  for (const line of [
    `put ${empty} /etc/passwd`,
    'rm /etc/passwd',
    'mkdir /etc/x',
    'get /etc/shadow /dev/null',
  ]) {
    const { code, stderr } = await run('sftp', ['-q', '-b', '-', host], `${line}\n`)
    assert.is(code, 1, line)
    assert.match(stderr, /[Pp]ermission denied/, line)
  }
})

test.run()
