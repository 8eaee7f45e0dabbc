// Runs all checks one after the other and prints what each has to say.
//
//     npm run check

import { checks } from './checks.ts'
import { run } from './job.ts'

let failed = 0
for (const job of checks()) {
  const outcome = await run(job)
  process.stdout.write(`${outcome.failed > 0 ? 'FAIL' : 'ok  '} ${outcome.name}\n`)
  if (outcome.failed > 0) process.stdout.write(`${outcome.output.trimEnd()}\n\n`)
  failed += outcome.failed
}
process.exitCode = failed > 0 ? 1 : 0
