// What the public interface owes its readers: a doc comment for every export, and an example, or a
// sample that imports it, for every function and class.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../bundle.mjs'
import type { ApiEntry } from './api.ts'
import { importedNames, type Sample } from './samples.ts'

/** Every debt as a line `path:line: what is missing`. */
export function missingDocumentation(
  api: readonly ApiEntry[],
  samples: readonly Sample[],
): readonly string[] {
  const programs = readdirSync(join(root, 'examples'))
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(root, 'examples', name), 'utf8'))
  const code = samples.filter(({ language }) => language === 'ts').map((sample) => sample.code)
  const shown = new Set([...programs, ...code].flatMap(importedNames))
  return api.flatMap(({ specifier, file: entryFile, doc: header, exports }) => [
    ...(header.text === '' ? [`${entryFile}:1: does not say what it is`] : []),
    ...exports.flatMap(({ name, kind, doc, file, line }) => {
      const wantsExample = kind === 'function' || kind === 'class'
      const isShown = doc.examples.length > 0 || shown.has(`${specifier} ${name}`)
      return [
        ...(doc.text === '' ? [`${file}:${line}: ${name} has no doc comment`] : []),
        ...(wantsExample && !isShown
          ? [`${file}:${line}: ${name} has no @example, nor does a sample import it`]
          : []),
      ]
    }),
  ])
}
