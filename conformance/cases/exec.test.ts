// Commands through OpenSSH's client: exit statuses, streams, environment, who is let in.
// Time limit: 300 s

import { createHash } from 'node:crypto'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { bytes, stream } from '../data.ts'
import { againstServers } from '../matrix.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { generateKeyFile, OpenSsh } from '../peers/openssh.ts'
import { run } from '../peers/run.ts'

const MiB = 1 << 20

againstServers('Commands', [
  ...[0, 3, 255].map((code) => ({
    name: `exit status ${code} arrives`,
    run: async ({ openssh }: { openssh: OpenSsh }) => {
      assert.is((await openssh.ssh(`exit ${code}`)).code, code)
    },
  })),
  {
    name: 'a command killed by a signal is reported as such',
    run: async ({ openssh }) => {
      const { code, stderr } = await openssh.ssh('kill -TERM $$', {
        args: ['-o', 'LogLevel=DEBUG1'],
      })
      // OpenSSH has no other way to tell its caller.
      assert.is(code, 255)
      assert.match(stderr, /rtype exit-signal/)
    },
  },
  {
    name: 'a command that does not exist gives 127 and says so on stderr',
    run: async ({ openssh }) => {
      const { code, stderr } = await openssh.ssh('no-such-command-anywhere')
      assert.is(code, 127)
      assert.match(stderr, /not found/)
    },
  },
  {
    name: 'stdout and stderr arrive whole and apart',
    run: async ({ openssh }) => {
      const command = 'for i in 1 2 3; do echo out $i; echo err $i >&2; done; exit 4'
      const { code, stdout, stderr } = await openssh.ssh(command)
      assert.is(stdout.toString(), 'out 1\nout 2\nout 3\n')
      assert.is(stderr, 'err 1\nerr 2\nerr 3\n')
      assert.is(code, 4)
    },
  },
  {
    name: 'a large stderr does not hold up stdout',
    run: async ({ openssh }) => {
      const command = `head -c ${5 * MiB} /dev/zero >&2; head -c ${5 * MiB} /dev/zero; echo end`
      const { code, stdout, stderr } = await openssh.ssh(command)
      assert.is(stdout.length, 5 * MiB + 4)
      assert.is(stderr.length, 5 * MiB)
      assert.is(code, 0)
    },
  },
  {
    name: 'bytes pass unchanged in both directions, and the end of stdin arrives',
    run: async ({ openssh }) => {
      const data = bytes(300_001)
      const { stdout, code } = await openssh.ssh('cat', { stdin: data })
      assert.ok(stdout.equals(data))
      assert.is(code, 0)
      assert.is(
        (await openssh.ssh('sort | tr a-z A-Z', { stdin: 'b\na\n' })).stdout.toString(),
        'A\nB\n',
      )
    },
  },
  {
    name: 'stdin that nobody reads does not hold up the end',
    run: async ({ openssh }) => {
      const { code } = await openssh.ssh('exit 5', { stdin: bytes(8 * MiB), limitMs: 20_000 })
      assert.is(code, 5)
    },
  },
  {
    name: 'a command line keeps its quotes, lines and letters',
    run: async ({ openssh }) => {
      const text = await openssh.text(`printf '%s|' "a  b" 'c"d' $'e' 'ü漢' "two\nlines"`)
      assert.match(text, /^a {2}b\|c"d\|\$?e\|ü漢\|two\nlines\|$/)
    },
  },
  {
    name: '100 MiB through stdin and stdout have equal SHA-256',
    limitMs: 150_000,
    run: async ({ openssh }) => {
      const { readable, sha256 } = stream(100 * MiB)
      const hash = createHash('sha256')
      const { code } = await openssh.ssh('cat', {
        stdin: readable,
        onStdout: (chunk) => hash.update(chunk),
        limitMs: 120_000,
      })
      assert.is(hash.digest('hex'), sha256)
      assert.is(code, 0)
      const summed = await openssh.text('sha256sum', { stdin: stream(100 * MiB).readable })
      assert.is(summed.split(' ')[0], sha256)
    },
  },
  {
    name: '`ssh HOST yes | head -1` ends, and so does `yes`',
    run: async ({ openssh }) => {
      const pidFile = (await openssh.text('mktemp')).trim()
      const ssh = openssh.command([], [`'echo $$ > ${pidFile}; exec yes'`]).join(' ')
      const { stdout } = await run(['sh', '-c', `${ssh} | head -1`], { limitMs: 15_000 })
      assert.is(stdout.toString(), 'y\n')
      const gone = `for i in $(seq 100); do kill -0 $(cat ${pidFile}) || exit 0; sleep 0.1; done; exit 1`
      assert.is((await openssh.ssh(`(${gone}) 2>/dev/null`)).code, 0)
    },
  },
  {
    name: 'LC_ variables arrive; others are refused without ending the session',
    run: async ({ openssh }) => {
      const args = ['-o', 'SetEnv=LC_CONFORMANCE="a b" LD_PRELOAD=/none.so']
      const text = await openssh.text('printf "%s/%s" "$LC_CONFORMANCE" "$LD_PRELOAD"', { args })
      assert.is(text, 'a b/')
    },
  },
  {
    name: 'an unknown subsystem is refused',
    run: async ({ openssh }) => {
      const { code } = await run(openssh.command(['-s'], ['no-such-subsystem']))
      assert.is(code, 255)
    },
  },
  {
    name: 'a key that is not authorized is refused',
    run: async ({ server }) => {
      const identity = await generateKeyFile(join(temporaryFolder(), 'stranger'))
      const stranger = new OpenSsh({ ...server, identity })
      const { code, stderr } = await stranger.ssh('echo in')
      assert.is(code, 255)
      assert.match(stderr, /Permission denied \(publickey\)/)
    },
  },
  {
    name: 'keepalives are answered',
    run: async ({ openssh }) => {
      const args = ['-o', 'ServerAliveInterval=1', '-o', 'ServerAliveCountMax=1']
      assert.is(await openssh.text('sleep 3.5; echo alive', { args }), 'alive\n')
    },
  },
])
