/** `msb ssh complete`: what shells ask while somebody types. */
import { listSandboxes } from '@sandbox-ssh/sandbox-bridge'
import type { Candidates } from '../completion.ts'
import type { CommandContext } from '../context.ts'
import { print } from '../print.ts'

/** Prints the candidates that fit, one a line, and returns the exit code. */
export async function complete(candidates: Candidates, context: CommandContext): Promise<number> {
  const { words, sandboxes, typed } = candidates
  const all = [...words, ...(sandboxes === 'none' ? [] : names(candidates, context))]
  const fitting = all.filter((word) => word.startsWith(typed))
  await print(fitting.map((word) => `${word}\n`).join(''))
  return 0
}

function names({ sandboxes }: Candidates, context: CommandContext): readonly string[] {
  try {
    const suffix = sandboxes === 'with-colon' ? ':' : ''
    return listSandboxes(context.home()).map(({ name }) => `${name}${suffix}`)
  } catch {
    return []
  }
}
