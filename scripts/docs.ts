// Builds the documentation's site.
//
//     npm run docs [-- FOLDER]
//
// The folder is `.build/site` unless named; open its `index.html`. Fails if a link leads nowhere.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { root } from './bundle.mjs'
import { buildSite } from './docs/site.ts'

const [named] = process.argv.slice(2)
const folder = named === undefined ? join(root, '.build/site') : resolve(named)
const { files, complaints } = buildSite()
// Only a folder of our own is emptied.
if (named === undefined) rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
for (const [name, contents] of files) writeFileSync(join(folder, name), contents)
for (const complaint of complaints) process.stderr.write(`${complaint}\n`)
process.stdout.write(`${files.size} files in ${folder}\n`)
process.exitCode = complaints.length > 0 ? 1 : 0
