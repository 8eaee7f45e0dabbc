/** §2.6 and 2.7 of the reference: what a person at a terminal gets, in every sandbox. */
// Time limit: 240 s
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { endTerminals, inTerminal, msbEnv, msbPath, type TerminalRun } from '../msb.ts'
import { agentWorld, localWorld, type World } from './world.ts'

const worlds: readonly World[] = [await localWorld(), await agentWorld()]
test.after(async () => {
  endTerminals()
  for (const world of worlds) await world.stop()
})

/** `msb ssh` on a terminal. */
function session(
  { home }: World,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): TerminalRun {
  return inTerminal(process.execPath, [msbPath, 'ssh', ...args], { ...msbEnv(home), ...env })
}

const PROMPT = /[$#] $/

for (const world of worlds) {
  const { sandbox, what } = world

  test(`${what}: the shell has this terminal's size and type; its status is ours`, async () => {
    for (const [env, args, term] of [
      [{}, [], 'xterm-256color'],
      [{ TERM: 'dumb' }, [], 'xterm'],
      [{ TERM: '' }, [], 'xterm'],
      [{}, ['--term', 'vt100'], 'vt100'],
    ] as const) {
      const run = session(world, [sandbox, ...args], env)
      await run.expect(PROMPT)
      run.type('stty size; echo "term $TERM"; exit 6\r')
      await run.expect(new RegExp(`30 100\\r\\nterm ${term}\\r\\n`))
      assert.is((await run.exit).code, 6)
    }
  })

  test(`${what}: it follows the size, and keys reach the program`, async () => {
    const run = session(world, [sandbox])
    await run.expect(PROMPT)
    run.resize(91, 19)
    run.type('stty size\r')
    await run.expect(/19 91\r\n/)
    // A key may be faster than `sleep` is started; a trap waits for its end.
    run.type(
      `sh -c 'trap "echo caught int; exit 5" INT; echo re"ad"y; while :; do sleep 1; done'\r`,
    )
    await run.expect(/ready\r\n/)
    run.type('\u0003')
    await run.expect(/caught int\r\n.*[$#] $/s)
    run.type('echo re"ad"y; cat\r')
    await run.expect(/ready\r\n/)
    // The end of input, to `cat` and then to the shell, each when it is what reads: a shell sets
    // the terminal to its liking around its commands, and a key in between means something else.
    run.type('\u0004')
    await run.expect(PROMPT)
    run.type('\u0004')
    await run.exit
  })

  test(`${what}: detach keys, with the bytes before them still sent`, async () => {
    for (const [args, keys] of [
      [[], '\u001d'],
      [['--detach-keys', 'ctrl-p, ctrl-Q'], '\u0010\u0011'],
      [['--detach-keys', 'ctrl-_,~'], '\u001f~'],
    ] as const) {
      const run = session(world, [sandbox, '--cwd', world.directory, ...args])
      await run.expect(PROMPT)
      // It is hung up on right afterwards, and would end before it has read.
      run.type('rm -f typed; trap "" HUP; echo re"ad"y; head -1 > typed\r')
      await run.expect(/ready\r\n/)
      // In one piece: these are what the reference's own program would have lost.
      run.type(`before${args.length}\r${keys}after`)
      assert.is((await run.exit).code, 0)
      const look = session(world, [sandbox, '--cwd', world.directory, '--', 'cat typed'])
      await look.expect(new RegExp(`before${args.length}\\r?\\n`))
      assert.not.match(look.text(), /after/)
    }
  })

  test(`${what}: a shell that a signal ends is 128+n`, async () => {
    const run = session(world, [sandbox])
    await run.expect(PROMPT)
    run.type('kill -KILL $$\r')
    assert.is((await run.exit).code, 137)
  })

  test(`${what}: -N and -W take no terminal; a word gets one if it is asked for`, async () => {
    const with_ = session(world, [sandbox, '-t', '--', 'stty size'])
    await with_.expect(/30 100\r\n/)
    const without = session(world, [sandbox, '--', 'tty'])
    await without.expect(/not a tty/)
    assert.is((await without.exit).code, 1)
  })
}

test('what is no sequence of keys is refused before anything is started', async () => {
  const [world = await localWorld()] = worlds
  for (const [keys, part] of [
    ['ctrl-1', 'ctrl-1'],
    ['ab', 'ab'],
    ['ctrl-p,', ''],
    ['ctrl-', 'ctrl-'],
    ['é', 'é'],
  ] as const) {
    const run = session(world, [world.sandbox, '--detach-keys', keys])
    await run.expect(/invalid config: invalid detach key:/)
    assert.is((await run.exit).code, 1)
    assert.ok(run.text().includes(`invalid detach key: ${part}`.trimEnd()), run.text())
  }
})

test('errors are red on a terminal, and plain if colour is not wanted', async () => {
  const [world = await localWorld()] = worlds
  const red = session(world, ['nobody'])
  assert.is((await red.exit).code, 1)
  assert.ok(red.text().startsWith('\u001b[1;31merror:\u001b[0m sandbox not found: nobody'))
  const plain = session(world, ['nobody'], { NO_COLOR: '1' })
  await plain.expect(/^error: sandbox not found: nobody/)
  assert.is((await plain.exit).code, 1)
})

test.run()
