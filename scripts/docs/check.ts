// Checks what can be known of the documentation without running it: every export is documented and
// shown, every method called by some sample, and every sample in TypeScript accepted by the compiler.
//
//     npm run check

import { join } from 'node:path'
import { scratch } from '../bundle.mjs'
import { readApi } from './api.ts'
import { missingDocumentation } from './coverage.ts'
import { typeErrors, writePrograms } from './sample-programs.ts'
import { readSamples } from './samples.ts'
import { unshownMethods } from './shown-methods.ts'

const samples = readSamples()
const folder = join(scratch('sample-types'), 'samples')
const programs = writePrograms(samples, folder)
const complaints = [
  ...missingDocumentation(readApi()),
  ...(await typeErrors(programs, folder)),
  ...unshownMethods(programs, folder),
]
if (complaints.length > 0) {
  process.stdout.write(`${complaints.join('\n')}\n\n`)
  process.stdout.write('How samples are written is said in CONTRIBUTING.md, "Documentation".\n')
}
process.exitCode = complaints.length > 0 ? 1 : 0
