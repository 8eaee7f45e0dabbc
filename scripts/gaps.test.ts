/** docs/gaps.md tells the truth about what shows each of its lines. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { root } from './bundle.mjs'

interface Gap {
  readonly number: string
  readonly now: string
  readonly tests: readonly { readonly path: string; readonly title: string }[]
}

const gaps: readonly Gap[] = readFileSync(join(root, 'docs/gaps.md'), 'utf8')
  .split('\n')
  .flatMap((line) => {
    const [, number = '', , now = '', shown = ''] = line.split('|').map((cell) => cell.trim())
    if (!/^G\d+$/.test(number)) return []
    const tests = [...shown.matchAll(/`([^`]+)` "([^"]+)"/g)].map(([, path = '', title = '']) => ({
      path,
      title,
    }))
    return [{ number, now, tests }]
  })

test('every gap from G1 to G46 has one line, and says what became of it', () => {
  const numbers = gaps.map(({ number }) => Number(number.slice(1))).sort((a, b) => a - b)
  assert.equal(
    numbers,
    Array.from({ length: 46 }, (_, index) => index + 1),
  )
  for (const { number, now } of gaps) {
    assert.match(now, /^(Fixed|Not possible from the host: )/, number)
  }
})

test('every test that is named is there by that name', () => {
  for (const { number, tests } of gaps) {
    assert.ok(tests.length > 0, `${number} names no test`)
    for (const { path, title } of tests) {
      const file = join(root, path)
      assert.ok(existsSync(file), `${number}: no file ${path}`)
      const escaped = title.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
      // As the title of a test, or of one of a table that a test is made of.
      const named = new RegExp(`['"\`](?:\\$\\{[^}]+\\}: )?${escaped}['"\`]\\s*[,:]`)
      assert.match(readFileSync(file, 'utf8'), named, `${number}: no test "${title}" in ${path}`)
    }
  }
})

test.run()
