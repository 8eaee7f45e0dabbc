/** `msb ssh config NAME…`: the user's own ssh finds its way into sandboxes, here or at a gateway. */
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import {
  type Home,
  prepareSshConfig,
  type SshConfigBlock,
  sandbox,
  writeSshConfig,
} from '@sandbox-ssh/sandbox-bridge'
import type { CommandContext } from '../context.ts'
import { CliError } from '../failure.ts'
import { print } from '../print.ts'
import type { ConfigCommand } from '../tool-args.ts'
import { gatewayBlocks } from './gateway-config.ts'

/** Prints or writes the blocks and returns the exit code. */
export async function config(command: ConfigCommand, context: CommandContext): Promise<number> {
  const home = context.home()
  const { output } = context
  const blocks =
    command.gateway === undefined
      ? await localBlocks(command, home)
      : await gatewayBlocks(command, command.gateway, context)
  if (!command.write) {
    await print(blocks.map(({ text }) => text).join('\n'))
    return 0
  }
  const file = resolve(command.file ?? join(homedir(), '.ssh', 'config'))
  for (const block of blocks) {
    const { changed, path } = await writeSshConfig(home, block, file)
    output.success(changed ? 'Wrote' : 'Already written', path)
    const login = block.text.includes('\n  User ') ? '' : 'NAME@'
    const flag = command.file === undefined ? '' : `-F ${file} `
    output.success('Try', `ssh ${flag}${login}${block.alias}`)
  }
  return 0
}

async function localBlocks(command: ConfigCommand, home: Home): Promise<readonly SshConfigBlock[]> {
  const blocks: SshConfigBlock[] = []
  for (const name of command.sandboxes) {
    const { hostKeyPath, label } = sandbox(name, { home })
    if (hostKeyPath === undefined) throw new CliError(`${label} has no host key`)
    blocks.push(
      await prepareSshConfig(home, {
        sandbox: label,
        hostKeyPath,
        alias: command.alias,
        user: command.user,
        program: [process.execPath, resolve(process.argv[1] ?? 'msb')],
        env: environment(home),
      }),
    )
  }
  return blocks
}

/** Editors start ssh with an environment of their own. */
function environment(home: Home): Readonly<Record<string, string>> {
  const { MSB_HOME, MSB_CONFIG_PATH } = process.env
  return {
    ...(MSB_HOME ? { MSB_HOME: home.path } : {}),
    ...(MSB_CONFIG_PATH ? { MSB_CONFIG_PATH: resolve(MSB_CONFIG_PATH) } : {}),
  }
}
