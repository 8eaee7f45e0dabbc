// What a session finds: the same variables, directory and kind of shell as from Debian's sshd for the
// same user of the same system.

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { root } from '../../scripts/bundle.mjs'
import { temporaryFolder } from '../peers/folder.ts'
import { missing } from '../peers/installed.ts'
import { type Msb, startMsb } from '../peers/msb.ts'
import { OpenSsh, type Sshd, startSshd } from '../peers/openssh.ts'

const guest = join(root, 'packages/sandbox-bridge/dist/msb-guest.mjs')

/** Ways to ask, each of which prints the environment and the directory. */
const WAYS = {
  'a command': { args: [], stdin: undefined },
  'a command in a terminal': { args: ['-tt'], stdin: undefined },
  'a shell that reads commands': { args: ['-T'], stdin: 'pwd; env; exit\n' },
} as const

/** Of sshd only: the user's mail on this machine, and what the test itself has it set. */
const SSHD_ONLY = new Set(['MAIL', 'SETTLED'])

let agent: ChildProcess
let msb: Msb
let sshd: Sshd

/** What it gave, without what differs from one connection to the next. */
async function environment(server: Sshd | Msb, way: keyof typeof WAYS): Promise<string[]> {
  const { args, stdin } = WAYS[way]
  const env = { LANG: 'C.UTF-8', LC_TIME: 'C', EVIL: '1', COLORTERM: 'truecolor', TERM: 'vt220' }
  const openssh = new OpenSsh(server, ['SendEnv LANG LC_* EVIL'])
  const command = stdin === undefined ? 'pwd; env' : ''
  const { code, stdout, stderr } = await openssh.ssh(command, {
    args: ['-o', 'LogLevel=ERROR', ...args],
    env,
    ...(stdin === undefined ? {} : { stdin }),
  })
  assert.is(code, 0, stderr)
  return stdout
    .toString()
    .replaceAll('\r', '')
    .trim()
    .split('\n')
    .map((line) =>
      line
        .replace(/^SSH_CONNECTION=127.0.0.1 \d+ 127.0.0.1 \d+$/, 'SSH_CONNECTION=both ends')
        .replace(/^SSH_CLIENT=127.0.0.1 \d+ \d+$/, 'SSH_CLIENT=one end')
        .replace(/^SSH_TTY=\/dev\/pts\/\d+$/, 'SSH_TTY=a terminal'),
    )
    .sort()
}

function without(lines: readonly string[], names: ReadonlySet<string>): readonly string[] {
  return lines.filter((line) => !names.has(line.split('=')[0] ?? ''))
}

function environmentTests(): void {
  test.before(async () => {
    const socket = join(temporaryFolder(), 'agent.sock')
    // As the first process of a machine has it, and nothing of this test's own.
    const bare = ['-i', 'HOME=/', 'TERM=linux']
    agent = spawn('env', [...bare, process.execPath, guest, '--relay', socket], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 20))
    msb = await startMsb(`unix:${socket}`)
    // As Debian ships it; and with something set, so that nothing else is.
    sshd = await startSshd(['AcceptEnv LANG LC_*', 'SetEnv SETTLED=1'])
  })

  test.after(async () => {
    await msb?.daemon.stop()
    await sshd?.daemon.stop()
    agent?.kill('SIGKILL')
  })

  for (const way of Object.keys(WAYS) as (keyof typeof WAYS)[]) {
    test(`${way} has the same environment and directory as from sshd`, async () => {
      const [theirs, ours] = await Promise.all([environment(sshd, way), environment(msb, way)])
      assert.equal(ours, without(theirs, SSHD_ONLY))
    })
  }
}

const why = missing('openssh-server', ['sshd'])
if (why === undefined && process.getuid?.() === 0 && existsSync(guest)) environmentTests()
else test.skip(`compared with sshd: ${why ?? 'needs root and the built guest'}`, () => {})

test.run()
