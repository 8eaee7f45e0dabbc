// What the public interface owes its readers: a doc comment for every export, and an example of its
// own for every function and class, which is no copy of another one.

import type { ApiEntry, ApiExport } from './api.ts'

/** Every debt as a line `path:line: what is missing`. */
export function missingDocumentation(api: readonly ApiEntry[]): readonly string[] {
  const debts = api.flatMap(({ file: entryFile, doc: header, exports }) => [
    ...(header.text === '' ? [`${entryFile}:1: does not say what it is`] : []),
    ...exports.flatMap(debtsOf),
  ])
  return [...debts, ...copies(api)]
}

function debtsOf({ name, kind, doc, file, line }: ApiExport): string[] {
  const wantsExample = kind === 'function' || kind === 'class'
  const named = new RegExp(`\\b${name}\\b`)
  // A class is mostly met as what a function or another class gives.
  const shows = (code: string): boolean => kind === 'class' || named.test(code)
  return [
    ...(doc.text === '' ? [`${file}:${line}: ${name} has no doc comment`] : []),
    ...(wantsExample && !doc.examples.some(({ code }) => shows(code))
      ? [`${file}:${line}: ${name} has no @example that shows it`]
      : []),
  ]
}

/** Examples that stand in two places: the second shows nothing new. */
function copies(api: readonly ApiEntry[]): string[] {
  const seen = new Map<string, string>()
  return api.flatMap(({ exports }) =>
    exports.flatMap(({ name, doc, file, line }) => {
      const place = `${file}:${line}`
      return doc.examples.flatMap(({ code }) => {
        const first = seen.get(code)
        // The same export of two entries is one.
        if (first === undefined) seen.set(code, place)
        return first === undefined || first === place
          ? []
          : [`${place}: the example of ${name} is that of ${first}`]
      })
    }),
  )
}
