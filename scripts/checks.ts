// All that can be found wrong without running the code: types of every package, of the tests and of
// the samples in texts, exports without documentation, Biome's lint and format, and the rules of the
// house that neither knows (`tidy.ts`).

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './bundle.mjs'
import type { Job } from './job.ts'

const bin = (name: string): string => join(root, 'node_modules/.bin', name)

/** The checks, as jobs of the test run. */
export function checks(): Job[] {
  const one = (name: string, command: readonly string[]): Job => ({
    name: `check: ${name}`,
    command,
    limitMs: 300_000,
    counts: 'one',
  })
  const tsc = (project: string): readonly string[] => [bin('tsc'), '--project', project]
  return [
    ...readdirSync(join(root, 'packages')).map((name) =>
      one(`types of ${name}`, tsc(`packages/${name}`)),
    ),
    one('types of tests and scripts', tsc('tsconfig.tests.json')),
    one('lint and format', [bin('biome'), 'check', '--error-on-warnings', '.']),
    one('documentation and samples', [
      process.execPath,
      join(root, 'scripts/run.mjs'),
      'scripts/docs/check.ts',
    ]),
    one('house rules', [process.execPath, join(root, 'scripts/run.mjs'), 'scripts/tidy.ts']),
  ]
}
