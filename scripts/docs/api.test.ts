// Everything exported is documented, and every function and class is shown in a sample that runs.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { root } from '../bundle.mjs'
import { readApi } from './api.ts'
import { parseDocComment } from './doc-comment.ts'
import { importedNames, readSamples } from './samples.ts'

const api = readApi()

test('every entry says what it is', () => {
  const silent = api.filter(({ doc }) => doc.text === '').map(({ file }) => file)
  assert.equal(silent, [])
})

test('every export has a doc comment', () => {
  const silent = api.flatMap(({ exports }) =>
    exports
      .filter(({ doc }) => doc.text === '')
      .map(({ name, file, line }) => `${file}:${line}: ${name}`),
  )
  assert.equal(silent, [])
})

test('every function and class has an example, or is imported by one', () => {
  const examples = readdirSync(join(root, 'examples'))
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(root, 'examples', name), 'utf8'))
  const samples = readSamples().filter(({ language }) => language === 'ts')
  const shown = new Set(
    [...examples, ...samples.map(({ code }) => code)].flatMap((code) => importedNames(code)),
  )
  const bare = api.flatMap(({ specifier, exports }) =>
    exports
      .filter(({ kind }) => kind === 'function' || kind === 'class')
      .filter(({ name, doc }) => doc.examples.length === 0 && !shown.has(`${specifier} ${name}`))
      .map(({ name, file, line }) => `${file}:${line}: ${name}`),
  )
  assert.equal(bare, [])
})

test('a doc comment is taken apart into text and examples', () => {
  const comment = [
    '/**',
    '   * Does it.',
    '   *',
    '   *     indented',
    '   * @throws Error',
    '   *',
    '   * @example',
    '   * do(1)',
    '   * @example',
    '   * do(2)',
    '   */',
  ].join('\n')
  assert.equal(parseDocComment(comment), {
    text: 'Does it.\n\n    indented\n*throws:* Error',
    examples: [
      { code: 'do(1)', line: 7 },
      { code: 'do(2)', line: 9 },
    ],
  })
  assert.equal(parseDocComment('/** One line. */'), { text: 'One line.', examples: [] })
})

test.run()
