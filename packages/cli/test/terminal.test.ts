/** Interactive sessions in a pseudo-terminal, as a person would use them. */
// Time limit: 240 s
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  endTerminals,
  finished,
  inTerminal,
  msbEnv,
  msbPath,
  type TerminalRun,
  temporaryDirectory,
} from './msb.ts'

const home = temporaryDirectory()
const env = { ...msbEnv(home), PS1: '$ ' }

/** `msb` itself is the terminal's program. */
function session(...args: string[]): TerminalRun {
  return inTerminal(process.execPath, [msbPath, 'ssh', ...args], env)
}

/** A local shell runs `msb`, so that the terminal can be looked at afterwards. */
function fromShell(command: string): TerminalRun {
  const msb = `"${process.execPath}" "${msbPath}"`
  return inTerminal(
    'bash',
    ['--norc', '-c', `${command.replaceAll('MSB', msb)}; echo "left $?"; stty -a`],
    env,
  )
}

test('a shell has a terminal with our size and type, and follows it', async () => {
  const run = session('local:box')
  await run.expect(/[$#] $/)
  run.type('tty; stty size; echo "term $TERM"\r')
  await run.expect(/\/dev\/pts\/\d+\r\n30 100\r\nterm xterm-256color\r\n/)
  run.resize(77, 22)
  run.type('stty size\r')
  await run.expect(/22 77\r\n/)
  run.type('exit 7\r')
  assert.is((await run.exit).code, 7)
})

test('Ctrl-C and Ctrl-D reach the remote side', async () => {
  const run = session('local:box')
  await run.expect(/[$#] $/)
  run.type('echo "go" "on"; cat\r')
  await run.expect(/go on\r\n/)
  run.type('typed\r')
  await run.expect(/typed\r\ntyped\r\n/)
  run.type('\u0003')
  await run.expect(/\^C\r\n.*[$#] $/s)
  run.type('echo "status $?"\r')
  // Not before the shell reads keys again: what ends input elsewhere is no key to it.
  await run.expect(/status 130\r\n.*[$#] $/s)
  run.type('\u0004')
  assert.is((await run.exit).code, 0)
})

test('the detach keys leave with status 0, after what was typed before them', async () => {
  const run = fromShell('MSB ssh local:box')
  await run.expect(/[$#] $/)
  run.type('echo one > ~/detached; echo "is" "written"\r')
  await run.expect(/is written/)
  run.type('\u001d')
  await run.expect(/left 0\r\n/)
  await run.expect(/ icanon .* echo /s)
  await run.exit
})

test('the terminal is usable again whatever way a session ends', async () => {
  const ends: readonly [string, (run: TerminalRun) => void, RegExp][] = [
    ['exit', (run) => run.type('exit 3\r'), /left 3\r\n/],
    ['a signal to the remote shell', (run) => run.type('kill -KILL $$\r'), /left 137\r\n/],
    ['a lost connection', (run) => run.type('kill -KILL $PPID\r'), /left 255\r\n/],
  ]
  for (const [how, end, left] of ends) {
    const run = fromShell('MSB ssh local:box')
    await run.expect(/[$#] $/)
    end(run)
    await run.expect(left)
    const { input } = (await run.expect(/speed.*extproc/s)) as { input: string }
    assert.match(input, /(^|\s)icanon /, how)
    assert.match(input, /(^|\s)isig /, how)
    assert.match(input, /(^|\s)opost /, how)
    await run.exit
  }
})

/** Sends a signal to `msb` below the local shell: the remote one cannot know its pid. */
function signal(run: TerminalRun, name: NodeJS.Signals): void {
  const child = readFileSync(`/proc/${run.pid}/task/${run.pid}/children`, 'utf8')
  process.kill(Number(child.trim()), name)
}

test('an error that nobody foresaw is one line, and restores the terminal', async () => {
  const fault = join(temporaryDirectory(), 'fault.cjs')
  writeFileSync(fault, "process.on('SIGUSR2', () => { throw new Error('out of the blue') })")
  const run = fromShell(`"${process.execPath}" --require "${fault}" "${msbPath}" ssh local:box`)
  await run.expect(/[$#] $/)
  signal(run, 'SIGUSR2')
  await run.expect(/error:.* unexpected: out of the blue\r\nleft 1\r\n/)
  await run.expect(/ icanon .* echo /s)
  await run.exit
})

test('SIGTERM ends a session with 143 and restores the terminal', async () => {
  const run = fromShell('MSB ssh local:box')
  await run.expect(/[$#] $/)
  signal(run, 'SIGTERM')
  await run.expect(/left 143\r\n/)
  await run.expect(/ icanon .* echo /s)
  await run.exit
})

test('a command gets a terminal only if asked to', async () => {
  const without = session('local:box', '--', 'tty')
  await without.expect(/not a tty/)
  assert.is((await without.exit).code, 1)
  const with_ = session('local:box', '--tty', '--', 'tty; stty size')
  await with_.expect(/\/dev\/pts\/\d+\r\n30 100/)
  assert.is((await with_.exit).code, 0)
  const shell = session('local:box', '--no-tty')
  shell.type('tty\r')
  await shell.expect(/not a tty/)
  shell.type('exit\r')
  await shell.exit
})

test('errors before the session leave the terminal alone and are one line', async () => {
  const run = fromShell('MSB ssh nobody')
  await run.expect(/error:.* sandbox not found: nobody/)
  await run.expect(/left 1\r\n/)
  await run.expect(/ echo /)
  await run.exit
})
test.after(endTerminals)

test('a terminal that is closed ends the session by SIGHUP, and nothing crashes', async () => {
  // What holds the master of the terminal is killed, as a window is whose program crashes.
  const holder = [
    'import os, pty, sys, select',
    'pid, fd = pty.fork()',
    'if pid == 0: os.execv(sys.argv[1], sys.argv[1:])',
    'text = b""',
    'while not text.rstrip().endswith((b"$", b"#")): text += os.read(fd, 4096)',
    'os.close(fd)',
    'print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))',
  ].join('\n')
  const args = ['-c', holder, process.execPath, msbPath, 'ssh', 'local:box']
  const child = spawn('python3', args, { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const { stdout } = await finished(child)
  assert.is(stdout.toString(), '-1\n')
})

test.run()
