// OpenSSH's own regress scripts with our sftp-server in place of OpenSSH's. They come with Debian's
// package openssh-tests; where it is not installed, OPENSSH_REGRESS names the folder it was unpacked
// to, and without either the scripts are skipped.
// Time limit: 900 s

import { cpSync, existsSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { sftpServerPath } from '../../scripts/programs.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { run } from '../peers/run.ts'

const scripts = [
  'sftp',
  'sftp-cmds',
  'sftp-badcmds',
  'sftp-batch',
  'sftp-glob',
  'sftp-perm',
  'sftp-resume',
  'sftp-uri',
  'scp',
  'scp3',
  'scp-uri',
]

/** Compiled helpers and data that the scripts look for among their results. */
const helpers = ['misc', 'netcat', 'modpipe', 'mkdtemp', 'setuid-allowed']

const folder = [process.env['OPENSSH_REGRESS'] ?? '', '/usr/lib/openssh/regress'].find(
  (path) => path !== '' && existsSync(join(path, 'test-exec.sh')),
)

if (folder === undefined) {
  test.skip("OpenSSH's regress scripts are not installed (package openssh-tests)", () => {})
} else {
  // Not every version has them all.
  for (const script of scripts.filter((name) => existsSync(join(folder, `${name}.sh`)))) {
    test(`the regress script ${script} passes`, async () => {
      const object = temporaryFolder()
      for (const helper of helpers) {
        const path = join(folder, helper)
        if (existsSync(path)) cpSync(path, join(object, helper), { recursive: true })
      }
      const { username } = userInfo()
      const { code, stdout, stderr } = await run(
        ['sh', './test-exec.sh', object, `./${script}.sh`],
        {
          cwd: folder,
          limitMs: 300_000,
          env: {
            OBJ: object,
            TEST_SHELL: '/bin/sh',
            // Only written into configurations: these scripts start no daemon.
            TEST_SSH_PORT: '4242',
            USER: username,
            LOGNAME: username,
            TEST_SSH_SSHD: '/usr/sbin/sshd',
            TEST_SSH_SFTPSERVER: sftpServerPath,
          },
        },
      )
      assert.is(code, 0, `${stdout.toString().slice(-2000)}\n${stderr.slice(-2000)}`)
    })
  }
}

test.run()
