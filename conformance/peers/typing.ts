// Programs that ask in their terminal, or between what they pass on, and what somebody answers.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { temporaryFolder } from './folder.ts'
import type { Executed } from './peer.ts'
import { run } from './run.ts'
import { Terminal } from './terminal.ts'

/** What one prompt looks like, and what to type there. */
export type Answer = readonly [RegExp, string]

type Env = Readonly<Record<string, string>>

/** Runs in a terminal, with stdin and stdout elsewhere, and types the answers there in this order. */
export async function typedInTerminal(
  command: readonly string[],
  env: Env,
  answers: readonly Answer[],
  stdin: Uint8Array,
): Promise<Executed> {
  const folder = temporaryFolder()
  const [input, output] = [join(folder, 'in'), join(folder, 'out')]
  writeFileSync(input, stdin)
  writeFileSync(output, '')
  const script = `exec "$0" "$@" < ${input} > ${output}`
  const terminal = new Terminal(['/bin/sh', '-c', script, ...command], 80, 24, env)
  try {
    for (const [prompt, answer] of answers) {
      await terminal.expect(prompt)
      terminal.type(`${answer}\r`)
    }
    // Who is asked again has been refused, and goes.
    const again = answers[0]?.[0] ?? /$^/
    terminal.expect(again).then(
      () => terminal.type('\x03'),
      () => {},
    )
    const code = await terminal.exited
    return { code, stdout: readFileSync(output), problem: terminal.output }
  } finally {
    terminal.close()
  }
}

/** Runs with pipes; what it asks on stderr is answered on stdin, and the input comes behind that. */
export async function typedBefore(
  command: readonly string[],
  env: Env,
  answers: readonly Answer[],
  stdin: Uint8Array,
): Promise<Executed> {
  const typed = new PassThrough()
  const left = [...answers]
  let said = ''
  const onStderr = (text: string): void => {
    said += text
    while (left[0]?.[0].test(said)) {
      typed.write(`${left.shift()?.[1]}\n`)
      said = ''
    }
    if (left.length === 0) typed.end(stdin)
  }
  const ran = await run(command, { env, stdin: typed, onStderr })
  return { code: ran.code, stdout: ran.stdout, problem: ran.stderr }
}
