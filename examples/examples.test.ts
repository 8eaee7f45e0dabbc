// Runs every example as a user would. An example says in its header what it prints, and must print
// exactly that. Samples in texts and doc comments are run by scripts/docs/samples.test.ts.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { temporaryFolder } from '../conformance/peers/folder.ts'
import { run } from '../conformance/peers/run.ts'
import { root } from '../scripts/bundle.mjs'
// Examples with a sandbox need its guest program, which the test runner builds for who imports it.
import '../scripts/programs.ts'

/** Runs a program with an empty home for sandboxes; gives what it printed. */
async function runProgram(path: string): Promise<string> {
  const command = [process.execPath, join(root, 'scripts/run.mjs'), path]
  const { code, stdout, stderr } = await run(command, { env: { MSB_HOME: temporaryFolder() } })
  assert.is(code, 0, stderr)
  assert.is(stderr, '')
  return stdout.toString()
}

/** What a header says the program prints. */
function announced(source: string): string {
  const block = /^\/\/ Prints:\n((?:\/\/ {3}.*\n)+)/m.exec(source)?.[1]
  assert.ok(block, 'the header does not say what it prints')
  return block.replaceAll(/^\/\/ {3}/gm, '')
}

for (const name of readdirSync(join(root, 'examples')).filter((file) => file.endsWith('.ts'))) {
  if (name.endsWith('.test.ts')) continue
  test(`examples/${name} prints what it says`, async () => {
    const source = readFileSync(join(root, 'examples', name), 'utf8')
    assert.is(await runProgram(`examples/${name}`), announced(source))
  })
}

test.run()
