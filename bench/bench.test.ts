// Keeps the benchmarks alive: runs them once, tiny, and looks at what they print.

import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { run } from '../conformance/peers/run.ts'
import { root } from '../scripts/bundle.mjs'

test('the end-to-end benchmark runs and compares', async () => {
  const { code, stdout, stderr } = await run([
    process.execPath,
    join(root, 'scripts/run.mjs'),
    'bench/end-to-end.ts',
    ...['--mib=1', '--handshakes=1', '--rounds=1'],
  ])
  assert.is(code, 0, stderr)
  const lines = stdout.toString().split('\n')
  const measured = lines.filter((line) => /^ {2}\S.* [\d.]+ (MiB)?\/s .*×[\d.]+$/.test(line))
  assert.is(measured.length, 12, stdout.toString())
})

test.run()
