// The rules of the house that neither the compiler nor the linter knows: who may import what,
// file headers, documented exports, dead files, and what must never be in a repository.
//
//     npm run tidy

import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { root } from './bundle.mjs'
import { complaints } from './house-rules.ts'
import { listFiles } from './repository.ts'

const found = complaints(
  listFiles(root).map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') })),
  // Paths that exist only on the machine the files are written on.
  [root, join(dirname(root), 'shared')],
)
for (const complaint of found) process.stdout.write(`${complaint}\n`)
process.stdout.write(found.length === 0 ? 'tidy\n' : `${found.length} complaints\n`)
process.exitCode = found.length === 0 ? 0 : 1
