/** `msb ssh keys`: fingerprints, to compare with what a client shows. */
import {
  gatewayHostKeyPath,
  listSandboxes,
  readHostKey,
  sandbox,
} from '@sandbox-ssh/sandbox-bridge'
import type { CommandContext } from '../context.ts'
import { describeGrants, fieldsOf, table } from '../key-table.ts'
import { print } from '../print.ts'
import type { KeysCommand } from '../tool-args.ts'

/** Prints them and returns the exit code. */
export async function keys(command: KeysCommand, context: CommandContext): Promise<number> {
  const home = context.home()
  const { output } = context
  const wanted = command.sandbox === undefined ? undefined : sandbox(command.sandbox, { home })
  const found =
    wanted === undefined
      ? // That of a server for several sandboxes, which none of them has.
        [{ name: 'gateway', hostKeyPath: gatewayHostKeyPath(home) }, ...listSandboxes(home)]
      : [{ name: wanted.label, hostKeyPath: wanted.hostKeyPath ?? '' }]
  const rows: string[][] = []
  for (const { name, hostKeyPath } of found) {
    const key = await readHostKey(hostKeyPath)
    if (key !== undefined) rows.push([...fieldsOf(key), name])
  }
  const grants = describeGrants(home, wanted?.label, (message) => output.warn(message))
  const none = '(none yet)\n'
  await print(`Host keys\n${table(rows) || none}\nMay enter\n${grants || none}`)
  return 0
}
