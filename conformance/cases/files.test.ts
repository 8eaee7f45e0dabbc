// Files through OpenSSH's sftp and scp, and rsync.
// Time limit: 300 s

import { chmodSync, mkdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { againstServers, type Subject } from '../matrix.ts'
import { temporaryFolder } from '../peers/folder.ts'
import type { OpenSsh } from '../peers/openssh.ts'
import type { Ran } from '../peers/run.ts'

const MiB = 1 << 20

/** A fresh folder on the peer. */
const remoteFolder = async (openssh: OpenSsh): Promise<string> =>
  (await openssh.text('mktemp -d')).trim()

/** Fails with what the program said, unless it succeeded. */
function succeeded({ code, stdout, stderr }: Ran): string {
  assert.is(code, 0, `exit code ${code}: ${stderr}${stdout}`)
  return stdout.toString()
}

/** A folder with what is easily lost in a copy: empty files, modes, times, links, odd names. */
function sampleTree(): string {
  const tree = join(temporaryFolder(), 'tree')
  mkdirSync(join(tree, 'deep/er'), { recursive: true })
  writeFileSync(join(tree, 'empty'), '')
  writeFileSync(join(tree, 'small'), 'small\n')
  writeFileSync(join(tree, 'deep/er/large'), bytes(3 * MiB + 17))
  writeFileSync(join(tree, 'deep/with space ü漢'), 'odd name\n')
  writeFileSync(join(tree, 'program'), '#!/bin/sh\necho ran\n')
  chmodSync(join(tree, 'program'), 0o750)
  chmodSync(join(tree, 'small'), 0o640)
  symlinkSync('small', join(tree, 'link'))
  symlinkSync('/no/where', join(tree, 'dangling'))
  for (const name of ['small', 'program', 'deep/er/large']) {
    utimesSync(join(tree, name), 1_600_000_000, 1_500_000_000)
  }
  return tree
}

/** What rsync would still change to make `to` equal `from`, contents compared. */
async function difference(openssh: OpenSsh, from: string, to: string): Promise<string> {
  const args = ['-a', '--checksum', '--delete', '--dry-run', '--itemize-changes', `${from}/`, to]
  return succeeded(await openssh.rsync(args))
}

async function upAndDown({ openssh }: Subject, how: 'sftp' | 'scp'): Promise<void> {
  const local = temporaryFolder()
  const remote = await remoteFolder(openssh)
  const data = bytes(20 * MiB + 3)
  writeFileSync(join(local, 'up'), data)
  if (how === 'sftp') {
    succeeded(
      await openssh.sftp([`put ${local}/up ${remote}/file`, `get ${remote}/file ${local}/down`]),
    )
  } else {
    succeeded(await openssh.scp([`${local}/up`, `peer:${remote}/file`]))
    succeeded(await openssh.scp([`peer:${remote}/file`, `${local}/down`]))
  }
  assert.is((await openssh.text(`sha256sum < ${remote}/file`)).split(' ')[0], sha256(data))
  assert.ok(readFileSync(join(local, 'down')).equals(data))
}

againstServers('Files', [
  { name: 'sftp copies 20 MiB there and back', run: (subject) => upAndDown(subject, 'sftp') },
  { name: 'scp copies 20 MiB there and back', run: (subject) => upAndDown(subject, 'scp') },
  {
    name: 'sftp makes, lists, renames, links and removes',
    run: async ({ openssh }) => {
      const remote = await remoteFolder(openssh)
      const local = temporaryFolder()
      writeFileSync(join(local, 'f'), 'hello\n')
      const listing = succeeded(
        await openssh.sftp([
          `mkdir ${remote}/d`,
          `put ${local}/f ${remote}/d/a`,
          `rename ${remote}/d/a ${remote}/d/b`,
          `symlink b ${remote}/d/l`,
          `chmod 600 ${remote}/d/b`,
          `ls -la ${remote}/d`,
          `cd ${remote}/d`,
          'pwd',
        ]),
      )
      assert.match(listing, /-rw------- +\S+ +\S+ +\S+ +6 .*\bb\n/)
      assert.match(listing, /lrwxrwxrwx .*\bl/)
      assert.match(listing, `Remote working directory: ${remote}/d`)
      assert.is(await openssh.text(`cat ${remote}/d/l; readlink ${remote}/d/l`), 'hello\nb\n')
      succeeded(await openssh.sftp([`rm ${remote}/d/b`, `rm ${remote}/d/l`, `rmdir ${remote}/d`]))
      assert.is(await openssh.text(`ls -A ${remote}`), '')
    },
  },
  {
    name: 'sftp starts in the home folder',
    run: async ({ openssh }) => {
      const home = (await openssh.text('cd && pwd')).trim()
      assert.match(succeeded(await openssh.sftp(['pwd'])), `Remote working directory: ${home}\n`)
    },
  },
  {
    name: 'sftp reports what fails, and why',
    run: async ({ openssh }) => {
      const missing = await openssh.sftp(['get /no/such/file /dev/null'])
      assert.is(missing.code, 1)
      assert.match(missing.stderr, /not found|No such file/)
      const remote = await remoteFolder(openssh)
      const occupied = await openssh.sftp([`mkdir ${remote}`])
      assert.is(occupied.code, 1)
      assert.match(occupied.stderr, /Failure|exists/)
    },
  },
  {
    name: 'scp copies a tree there and back',
    run: async ({ openssh }) => {
      const tree = sampleTree()
      const remote = await remoteFolder(openssh)
      const back = temporaryFolder()
      // A link that leads nowhere is an error to scp, which follows links.
      succeeded(
        await openssh.scp([
          '-r',
          '-p',
          join(tree, 'deep'),
          join(tree, 'program'),
          `peer:${remote}/`,
        ]),
      )
      assert.is(await openssh.text(`${remote}/program`), 'ran\n')
      succeeded(await openssh.scp(['-r', '-p', `peer:${remote}/deep`, back]))
      for (const name of ['deep/er/large', 'deep/with space ü漢']) {
        assert.ok(readFileSync(join(back, name)).equals(readFileSync(join(tree, name))), name)
      }
      const [mode, modified] = (await openssh.text(`stat -c '%a %Y' ${remote}/program`))
        .trim()
        .split(' ')
      assert.is(mode, '750')
      assert.is(modified, '1500000000')
    },
  },
  {
    name: '`rsync -a` copies a tree there and back, times, modes and links included',
    run: async ({ openssh }) => {
      const tree = sampleTree()
      const remote = await remoteFolder(openssh)
      const back = temporaryFolder()
      succeeded(await openssh.rsync(['-a', `${tree}/`, `peer:${remote}/t`]))
      assert.is(await difference(openssh, tree, `peer:${remote}/t`), '')
      succeeded(await openssh.rsync(['-a', `peer:${remote}/t/`, back]))
      assert.is(await difference(openssh, `peer:${remote}/t`, back), '')
      // The check itself must see a difference.
      succeeded(await openssh.ssh(`echo changed > ${remote}/t/small`))
      assert.match(await difference(openssh, tree, `peer:${remote}/t`), /small/)
    },
  },
])
