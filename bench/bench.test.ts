// Keeps the benchmarks alive: runs them once, tiny, and looks at what they print.

import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { run } from '../conformance/peers/run.ts'
import { root } from '../scripts/bundle.mjs'

/** Lines of a comparison. */
const COMPARED = /^ {2}\S.* [\d.]+ (MiB)?\/s .*×[\d.]+$/

/** Runs a benchmark, and gives the lines with figures that it prints. */
async function linesOf(
  pattern: RegExp,
  program: string,
  ...args: readonly string[]
): Promise<readonly string[]> {
  const command = [process.execPath, join(root, 'scripts/run.mjs'), program, ...args]
  const { code, stdout, stderr } = await run(command, { limitMs: 110_000 })
  assert.is(code, 0, stderr)
  const lines = stdout.toString().split('\n')
  return lines.filter((line) => pattern.test(line))
}

const figures = (program: string, ...args: readonly string[]): Promise<readonly string[]> =>
  linesOf(COMPARED, program, ...args)

test('the end-to-end benchmark runs and compares', async () => {
  const args = ['--mib=1', '--handshakes=1', '--rounds=1']
  assert.is((await figures('bench/end-to-end.ts', ...args)).length, 12)
})

test('the benchmark of files runs and compares, near and far', async () => {
  const args = ['--mib=1', '--files=20', '--rounds=1', '--delays=0,2']
  // Five ways to get and to put a file and a tree, each without and with a delay.
  assert.is((await figures('bench/sftp.ts', ...args)).length, 40)
})

test('the benchmark of a gateway runs, and tells what gateway and sshd used', async () => {
  const args = ['--logins=2', '--idle=2', '--sessions=2', '--mib=1', '--sandboxes=2']
  const used = /^ {2}(?:gateway|sshd) .* -?[\d.]+ (?:\/s|MiB\/s|KiB each) .*(?:CPU|MiB in all)/
  assert.is((await linesOf(used, 'bench/gateway.ts', ...args)).length, 13)
})

test.run()
