// Sessions in a shell, as docs/ and the READMEs show them, go just so; and every form of msb that is
// shown is one that msb knows.
// Time limit: 300 s

import { existsSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseArguments } from '../../packages/cli/src/args.ts'
// Sessions need `msb` and its guest program, which the test runner builds for who imports it.
import '../programs.ts'
import { isAsPromised, readSamples, type Sample } from './samples.ts'
import { SampleShell, shellSteps } from './shell-samples.ts'

const samples = readSamples()

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
