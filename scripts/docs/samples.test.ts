// Every sample of code in docs/, the READMEs and the doc comments is run. The compiler has its say in
// `npm run check`; sessions in a shell are in sessions.test.ts.
// Time limit: 240 s

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { temporaryFolder } from '../../conformance/peers/folder.ts'
import { scratch } from '../bundle.mjs'
// The samples need `msb` and its guest program, which the test runner builds for who imports it.
import '../programs.ts'
import { findRuntime, runtimeCommands } from '../runtimes.ts'
import {
  loadPrograms,
  type SampleProgram,
  type SampleRun,
  withRuntime,
  writePrograms,
} from './sample-programs.ts'
import { openSampleWorld } from './sample-world.ts'
import {
  isAsPromised,
  promisedLines,
  readSamples,
  type Sample,
  type Stage,
  stageOf,
} from './samples.ts'

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

// They would say if it could not be set up.
const leaveWorld = await openSampleWorld()
test.after(leaveWorld)

let load: ReturnType<typeof loadPrograms> | undefined
const runProgram = async (program: SampleProgram): ReturnType<Awaited<typeof load & object>> => {
  load ??= loadPrograms(programs, folder)
  return (await load)(program)
}

/** Other runtimes are not in every clone; where tests are run for good, they must be. */
function testOf(stage: Stage): typeof test | typeof test.skip {
  const [name] = stage.kind === 'runtime' ? (runtimeCommands[stage.runtime] ?? []) : []
  const isThere = name === undefined || findRuntime(name) !== undefined
  return isThere || process.env['CI'] ? test : test.skip
}

function compare(sample: Sample, { printed, error }: SampleRun): void {
  if (error !== undefined) throw error
  const promised = promisedLines(sample)
  if (promised === undefined) return
  // In a terminal there are prompts, and what was typed, before it.
  const before = stageOf(sample).kind === 'terminal' ? ['…'] : []
  if (isAsPromised(printed, [...before, ...promised])) return
  assert.equal(printed.trimEnd().split('\n'), promised)
}

for (const program of programs) {
  const { sample } = program
  testOf(stageOf(sample))(`${place(sample)} runs and prints what it says`, async () => {
    compare(sample, await runProgram(program))
  })
}

for (const sample of samples.filter(({ language }) => language === 'js')) {
  const stage = stageOf(sample)
  const runtime = stage.kind === 'runtime' ? stage.runtime : 'node'
  testOf(stage)(`${place(sample)} runs on ${runtime} and prints what it says`, async () => {
    const path = join(folder, `${runtime}-${sample.line}.mjs`)
    writeFileSync(path, sample.code)
    compare(sample, await withRuntime(runtime, path))
  })
}

test.run()
