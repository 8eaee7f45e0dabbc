// Every code sample in docs/, the READMEs and the doc comments is run. The compiler has its say in
// `npm run check`.
// Time limit: 240 s

import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { temporaryFolder } from '../../conformance/peers/folder.ts'
import { run } from '../../conformance/peers/run.ts'
import { parseArguments } from '../../packages/cli/src/args.ts'
import { scratch } from '../bundle.mjs'
// The samples need `msb` and its guest program, which the test runner builds for who imports it.
import '../programs.ts'
import { findRuntime, runtimeCommands } from '../runtimes.ts'
import { loadPrograms, type SampleProgram, writePrograms } from './sample-programs.ts'
import { isAsPromised, notRun, promisedLines, readSamples, type Sample } from './samples.ts'
import { SampleShell, shellSteps } from './shell-samples.ts'

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

/** Programs that sessions use, and that a machine may lack. */
const optional = ['ssh', 'scp', 'sftp', 'rsync', 'ssh-keygen', 'ssh-add']

function missingProgram(page: readonly Sample[]): string | undefined {
  const typed = page.flatMap(shellSteps).map(({ command }) => command)
  return optional.find(
    (name) =>
      typed.some((command) => new RegExp(`(?:^|[|;&] *)${name}\\b`, 'm').test(command)) &&
      !existsSync(`/usr/bin/${name}`),
  )
}

const pages = new Map<string, Sample[]>()
for (const sample of samples.filter(({ language }) => language === 'console')) {
  pages.set(sample.file, [...(pages.get(sample.file) ?? []), sample])
}

for (const [file, page] of pages) {
  const missing = process.env['CI'] ? undefined : missingProgram(page)
  const add = missing === undefined ? test : test.skip
  add(
    `the sessions of ${file} go as they are shown${missing ? `: no ${missing}` : ''}`,
    async () => {
      const shell = new SampleShell()
      try {
        for (const sample of page) {
          for (const { command, expected, line } of shellSteps(sample)) {
            const { printed } = await shell.type(command)
            if (isAsPromised(printed, expected)) continue
            assert.equal(printed.trimEnd().split('\n'), expected, `${file}:${line}: $ ${command}`)
          }
        }
      } finally {
        shell.end()
      }
    },
  )
}

test('the command line knows every form of msb that is shown', () => {
  const wrong = samples
    .filter(({ language }) => language === 'sh')
    .flatMap((sample) =>
      sample.code.split('\n').flatMap((text, index) => {
        const words = msbWords(text)
        if (words === undefined) return []
        const { command } = parseArguments(words, { version: '0', env: {} })
        return command.type === 'usage'
          ? [`${sample.file}:${sample.line + index}: ${text}\n${command.text}`]
          : []
      }),
    )
  assert.equal(wrong, [])
})

/** The arguments of `msb ssh` in a line of a shell; undefined if it is about something else. */
function msbWords(text: string): string[] | undefined {
  const [, line] = /(?:^|[|(] *|npx )msb (ssh\b[^|#>&]*)/.exec(text) ?? []
  return line
    ?.trim()
    .match(/'[^']*'|"[^"]*"|\S+/g)
    ?.map((word) => word.replaceAll(/^['"]|['"]$/g, ''))
}

test.run()
