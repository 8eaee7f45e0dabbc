// Every sample of code in docs/, the READMEs and the doc comments is run. The compiler has its say in
// `npm run check`; sessions in a shell are in sessions.test.ts.
// Time limit: 240 s

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { temporaryFolder } from '../../conformance/peers/folder.ts'
import { run } from '../../conformance/peers/run.ts'
import { scratch } from '../bundle.mjs'
// The samples need `msb` and its guest program, which the test runner builds for who imports it.
import '../programs.ts'
import { findRuntime, runtimeCommands } from '../runtimes.ts'
import { loadPrograms, type SampleProgram, writePrograms } from './sample-programs.ts'
import { isAsPromised, notRun, promisedLines, readSamples } from './samples.ts'

const samples = readSamples()
const place = ({ file, line }: { file: string; line: number }): string => `${file}:${line}`

const folder = scratch('samples')
const programs = writePrograms(samples, folder)

test('the README of every library begins with a sample that prints', () => {
  for (const name of ['protocol', 'sftp', 'sandbox-bridge']) {
    const first = programs.find(({ sample }) => sample.file === `packages/${name}/README.md`)
    assert.ok(first && promisedLines(first.sample), name)
  }
})

// Sandboxes of samples live here and end with the test.
process.env['MSB_HOME'] = temporaryFolder()

let load: ReturnType<typeof loadPrograms> | undefined
const runProgram = async (program: SampleProgram): ReturnType<Awaited<typeof load & object>> => {
  load ??= loadPrograms(programs, folder)
  return (await load)(program)
}

for (const program of programs) {
  const { sample } = program
  if (notRun(sample) !== undefined) continue
  test(`${place(sample)} runs and prints what it says`, async () => {
    const { printed, error } = await runProgram(program)
    if (error !== undefined) throw error
    const promised = promisedLines(sample)
    if (promised !== undefined && !isAsPromised(printed, promised)) {
      assert.equal(printed.trimEnd().split('\n'), promised)
    }
  })
}

for (const sample of samples.filter(({ language }) => language === 'js')) {
  const runtime = /^\/\/ Run with (Deno|Bun)\./.exec(sample.code)?.[1]?.toLowerCase() ?? 'node'
  const [name = runtime, ...args] = runtimeCommands[runtime] ?? []
  const found = findRuntime(name)
  const add = found === undefined && !process.env['CI'] ? test.skip : test
  add(`${place(sample)} runs on ${runtime} and prints what it says`, async () => {
    assert.ok(found, `${runtime} is not installed (npm ci --prefix conformance/runtimes)`)
    const path = join(folder, `${runtime}-${sample.line}.mjs`)
    writeFileSync(path, sample.code)
    const { code, stdout, stderr } = await run([found, ...args, path])
    assert.is(code, 0, stderr)
    assert.equal(stdout.toString().trimEnd().split('\n'), promisedLines(sample))
  })
}

test.run()
