// Runs one test file in a browser, as `bun` and `deno` run it:
//
//     node scripts/run.mjs scripts/chromium.ts FILE
//
// Prints what the page prints, and ends with 1 if a test failed or the page could not be run.

import { resolve } from 'node:path'
import { runPage } from './page.ts'

const [file] = process.argv.slice(2)
if (file === undefined) throw new Error('usage: chromium.ts FILE')
const { printed, passed } = await runPage(resolve(file))
process.stdout.write(printed)
process.exitCode = passed ? 0 : 1
