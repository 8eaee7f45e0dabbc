// Terminals: OpenSSH's client runs in one of ours, and the shell at the other end in one of the
// server's.

import * as assert from 'uvu/assert'
import { againstServers } from '../matrix.ts'
import type { OpenSsh } from '../peers/openssh.ts'
import { Terminal } from '../peers/terminal.ts'

/** Runs `body` with a shell of the peer in a terminal, which is gone afterwards. */
async function inShell(
  openssh: OpenSsh,
  body: (terminal: Terminal) => Promise<void>,
): Promise<void> {
  const terminal = new Terminal(openssh.command(['-tt'], ['exec sh']), 91, 37)
  try {
    // The marker is put together by the shell, so that the echo of the typing does not match.
    terminal.type("PS1=; echo 're''ady'\n")
    await terminal.expect(/ready\r\n/)
    await body(terminal)
  } finally {
    terminal.close()
  }
}

againstServers('Terminals', [
  {
    name: 'a session with a terminal has one, of the right size and kind',
    run: async ({ openssh }) => {
      await inShell(openssh, async (terminal) => {
        terminal.type('tty; stty size; echo $TERM\n')
        await terminal.expect(/\/dev\/pts\/\d+\r\n37 91\r\nxterm-256color\r\n/)
      })
    },
  },
  {
    name: 'a session without a terminal has none',
    run: async ({ openssh }) => {
      const { code, stdout } = await openssh.ssh('tty')
      assert.is(stdout.toString(), 'not a tty\n')
      assert.is(code, 1)
    },
  },
  {
    name: 'a changed size arrives, and the program is told',
    run: async ({ openssh }) => {
      await inShell(openssh, async (terminal) => {
        const trap = "trap 'stty size; echo chan''ged' WINCH"
        terminal.type(`sh -c "${trap}; echo loo''ping; while :; do sleep 0.05; done"\n`)
        await terminal.expect(/looping\r\n/)
        terminal.resize(120, 50)
        await terminal.expect(/50 120\r\nchanged\r\n/)
      })
    },
  },
  {
    name: 'Ctrl-C interrupts the command, not the shell',
    run: async ({ openssh }) => {
      await inShell(openssh, async (terminal) => {
        const loop = "trap 'exit 42' INT; echo loo''ping; while :; do sleep 0.05; done"
        terminal.type(`sh -c "${loop}"\n`)
        await terminal.expect(/looping\r\n/)
        terminal.type('\x03')
        terminal.type("echo status $?; echo 'ali''ve'\n")
        await terminal.expect(/status 42\r\n/)
        await terminal.expect(/alive\r\n/)
      })
    },
  },
  {
    name: 'Ctrl-D ends the shell, and its exit status arrives',
    run: async ({ openssh }) => {
      await inShell(openssh, async (terminal) => {
        terminal.type("trap 'exit 7' EXIT\n\x04")
        assert.is(await terminal.exited, 7)
      })
    },
  },
  {
    name: "the modes of the client's terminal are those of the remote one",
    run: async ({ openssh }) => {
      const ssh = openssh.command(['-tt'], ["'stty -a'"]).join(' ')
      const terminal = new Terminal(['sh', '-c', `stty intr ^X -ixon; ${ssh}`], 80, 24)
      try {
        await terminal.expect(/intr = \^X/)
        await terminal.expect(/-ixon/)
        assert.is(await terminal.exited, 0)
      } finally {
        terminal.close()
      }
    },
  },
])
