/** `msb ssh config NAME`: the user's own ssh finds its way into the sandbox. */
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { type Home, prepareSshConfig, sandbox, writeSshConfig } from '@sandbox-ssh/sandbox-bridge'
import type { CommandContext } from '../context.ts'
import { CliError } from '../failure.ts'
import { print } from '../print.ts'
import type { ConfigCommand } from '../tool-args.ts'

/** Prints or writes the block and returns the exit code. */
export async function config(command: ConfigCommand, context: CommandContext): Promise<number> {
  const home = context.home()
  const { output } = context
  const { hostKeyPath, label } = sandbox(command.sandbox, { home })
  if (hostKeyPath === undefined) throw new CliError(`${label} has no host key`)
  const block = await prepareSshConfig(home, {
    sandbox: label,
    hostKeyPath,
    alias: command.alias,
    user: command.user,
    program: [process.execPath, resolve(process.argv[1] ?? 'msb')],
    env: environment(home),
  })
  if (!command.write) {
    await print(block.text)
    return 0
  }
  const file = resolve(command.file ?? join(homedir(), '.ssh', 'config'))
  const { changed, path } = await writeSshConfig(home, block, file)
  output.success(changed ? 'Wrote' : 'Already written', path)
  output.success('Try', `ssh ${command.file === undefined ? '' : `-F ${file} `}${block.alias}`)
  return 0
}

/** Editors start ssh with an environment of their own. */
function environment(home: Home): Readonly<Record<string, string>> {
  const { MSB_HOME, MSB_CONFIG_PATH } = process.env
  return {
    ...(MSB_HOME ? { MSB_HOME: home.path } : {}),
    ...(MSB_CONFIG_PATH ? { MSB_CONFIG_PATH: resolve(MSB_CONFIG_PATH) } : {}),
  }
}
