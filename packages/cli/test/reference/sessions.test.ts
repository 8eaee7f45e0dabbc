/** §2.2 to 2.5 and 2.11 of the reference: commands without a terminal, in every sandbox. */
// Time limit: 240 s
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { finished, start, temporaryDirectory } from '../msb.ts'
import { agentWorld, checkAll, localWorld, type Row, relaySocket, type World } from './world.ts'

const agent = await agentWorld()
const worlds: readonly World[] = [await localWorld(), agent]
test.after(async () => {
  for (const world of worlds) await world.stop()
})

/** Runs words in the sandbox; what they come to. */
function run(words: readonly string[], row: Omit<Row, 'args'>, flags: readonly string[] = []): Row {
  return { args: ['ssh', 'BOX', ...flags, '--', ...words], ...row }
}

for (const world of worlds) {
  const inside = ['--cwd', world.directory]
  const all = (rows: readonly Row[]): Promise<void> => checkAll(rows, world)

  test(`${world.what}: every exit code`, () =>
    all([
      ...[0, 3, 128, 255].map((exit) => run([`exit ${exit}`], { exit })),
      // Of signals: of the shell itself, and of a child of it.
      run(['kill -KILL $$'], { exit: 137 }),
      run(['kill -HUP $$'], { exit: 129 }),
      run(['sh -c "kill -TERM \\$\\$"; exit $?'], { exit: 143, stderr: /^(Terminated\n)?$/ }),
      run(['no-such-program'], { exit: 127, stderr: /no-such-program.*not found/ }),
      run(['/etc/passwd'], { exit: 126, stderr: /[Pp]ermission denied/ }),
      run(['id'], { exit: 127, stderr: 'error: no user "nobody-here" in the sandbox\n' }, [
        ...['--user', 'nobody-here'],
      ]),
      run(['pwd'], { exit: 127, stderr: 'error: no directory "/no/where" in the sandbox\n' }, [
        ...['--cwd', '/no/where'],
      ]),
    ]))

  test(`${world.what}: words, streams, user and directory`, () =>
    all([
      { args: ['ssh', 'connect', 'BOX', '--', 'echo', 'a'], exit: 0, stdout: 'a\n' },
      { args: ['ssh', '--name', 'BOX', '--', 'echo', 'a'], exit: 0, stdout: 'a\n' },
      { args: ['ssh', '--', 'BOX', 'echo', 'a'], exit: 0, stdout: 'a\n' },
      run(['echo one two | tr a-z A-Z'], { exit: 0, stdout: 'ONE TWO\n' }),
      run(['printf', '%s|', 'a b', '', '*', '$x', '--', '-n'], {
        exit: 0,
        stdout: 'a b||*|$x|--|-n|',
      }),
      run(['echo out; echo err >&2; exit 4'], { exit: 4, stdout: 'out\n', stderr: 'err\n' }),
      run(['cat'], { exit: 0, input: 'in\0\xff\n', stdout: 'in\0\xff\n' }),
      run(['cat; echo end'], { exit: 0, stdout: 'end\n' }),
      run(['id -un; pwd'], { exit: 0, stdout: /^root\n\/\S*\n$/ }),
      run(['pwd'], { exit: 0, stdout: `${world.directory}\n` }, inside),
      run(['id -u'], { exit: 0, stdout: '0\n' }, ['-u', '0']),
      run(['echo "$A,$B"'], { exit: 0, env: { B: 'here' }, stdout: 'x=y,here\n' }, [
        ...['-e', 'A=x=y', '--env', 'B'],
      ]),
      run(['tty'], { exit: 1, stdout: 'not a tty\n' }),
      run(
        ['tty; stty size; echo $TERM'],
        { exit: 0, stdout: /^\/dev\/pts\/\d+\r\n24 80\r\nvt220/ },
        [...['--tty', '--term', 'vt220']],
      ),
      run(['echo $TERM'], { exit: 0, env: { TERM: 'dumb' }, stdout: 'xterm\r\n' }, ['-t']),
      run(['echo $TERM'], { exit: 0, env: { TERM: '' }, stdout: 'xterm\r\n' }, ['-t']),
      // A shell that is not at a terminal reads what it is given.
      { args: ['ssh', 'BOX'], input: 'echo "$((6 * 7))"; exit 9\n', exit: 9, stdout: '42\n' },
      { args: ['ssh', 'BOX', '-T'], input: 'tty', exit: 1, stdout: 'not a tty\n' },
    ]))

  test(`${world.what}: silence that was limited ends it with a reason`, () =>
    all([
      run(['sleep 100'], { exit: 255, stderr: /^error: .*no activity for 1 seconds\b.*\n$/ }, [
        ...['--inactivity-timeout', '300ms'],
      ]),
      run(['sleep 2; echo on'], { exit: 0, stdout: 'on\n' }, ['--no-inactivity-timeout']),
    ]))
}

test('the limit of config.json counts for those who give none', async () => {
  const { home, sandbox } = agent
  const path = join(temporaryDirectory(), 'config.json')
  writeFileSync(path, '{"ssh":{"inactivity_timeout_secs":1}}')
  const env = { MSB_CONFIG_PATH: path }
  const cut = { exit: 255, stderr: /no activity for 1 seconds/, env }
  const rows = [
    run(['sleep 100'], cut),
    run(['sleep 2; echo on'], { exit: 0, stdout: 'on\n', env }, ['--no-inactivity-timeout']),
  ]
  await checkAll(rows, { home, sandbox })
})

test('a sandbox that cannot be had', async () => {
  const home = temporaryDirectory()
  mkdirSync(join(home, 'sandboxes', 'stopped'), { recursive: true })
  mkdirSync(dirname(relaySocket(home, 'stopped')), { recursive: true })
  const refused = (name: string, stderr: RegExp): Row => ({
    args: ['ssh', name, '--', 'true'],
    exit: 1,
    stderr,
  })
  await checkAll(
    [
      refused('nobody', /^error: sandbox not found: nobody \(.*\)\n$/),
      refused('stopped', /^error: sandbox is (stopped|not running): stopped .*msb start.*\n$/),
      refused('-x', /unknown option|invalid sandbox name/),
      refused('a/b', /^error: invalid sandbox name/),
      refused('ftp:box', /^error: unknown kind of sandbox: "ftp"/),
      refused('unix:/no/agent.sock', /^error: no socket at \/no\/agent\.sock/),
    ].map((row) => (row.args[1] === '-x' ? { ...row, exit: 2 } : row)),
    { home, sandbox: '' },
  )
})

test('a command ends although its stdin stays open', async () => {
  const child = start(['ssh', agent.sandbox, '--', 'echo done; exit 4'], agent.home)
  const { code, stdout } = await finished(child)
  assert.is(code, 4)
  assert.is(stdout.toString(), 'done\n')
})

test('a sandbox that dies under a command is an error and never a status', async () => {
  const world = await agentWorld('mortal')
  const child = start(['ssh', 'mortal', '--', 'echo up; sleep 100'], world.home)
  await new Promise((resolve) => child.stdout?.once('data', resolve))
  const [end] = await Promise.all([finished(child), world.stop()])
  assert.is(end.code, 255)
  assert.match(end.stderr, /^error: .*\n$/)
})

test.run()
