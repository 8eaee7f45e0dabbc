/** The command line of what is there for setting up: `msb ssh config`, `keys`. */
import type { Command } from 'commander'

/** `msb ssh config …`. */
export interface ConfigCommand {
  readonly type: 'config'
  readonly sandbox: string
  /** Write it instead of printing it. */
  readonly write: boolean
  readonly alias: string | undefined
  readonly user: string | undefined
  /** The user's configuration; undefined for `~/.ssh/config`. */
  readonly file: string | undefined
}

/** `msb ssh keys …`. */
export interface KeysCommand {
  readonly type: 'keys'
  /** Undefined for all. */
  readonly sandbox: string | undefined
}

/** The commands of this file. */
export type ToolCommand = ConfigCommand | KeysCommand

/** Adds them; `done` gets what was asked for. */
export function addToolCommands(
  ssh: Command,
  done: (command: Command, result: ToolCommand) => void,
): void {
  addConfig(ssh, done)
  addKeys(ssh, done)
}

type Done = Parameters<typeof addToolCommands>[1]

function addConfig(ssh: Command, done: Done): void {
  const command = ssh
    .command('config <sandbox>')
    .description('teach ssh, scp, sftp, rsync and editors the way to the sandbox')
    .option('--write', 'write the block and include it in ~/.ssh/config (default: print it)')
    .option('--alias <name>', 'name for ssh (default: NAME.msb, NAME.local.msb)')
    .option('-u, --user <user>', 'login name (default: root)')
    .option('--file <path>', 'with --write: the configuration instead of ~/.ssh/config')
    .addHelpText('after', CONFIG_HELP)
  command.action((sandbox: string) => {
    const { write, alias, user, file } = command.opts()
    if (file !== undefined && !write) command.error("error: option '--file' goes with '--write'")
    done(command, { type: 'config', sandbox, write: write === true, alias, user, file })
  })
}

function addKeys(ssh: Command, done: Done): void {
  const command = ssh
    .command('keys [sandbox]')
    .description('fingerprints of host keys, and of the keys that may enter')
    .addHelpText('after', KEYS_HELP)
  command.action((sandbox: string | undefined) => {
    done(command, { type: 'keys', sandbox })
  })
}

const CONFIG_HELP = `
The block has a ProxyCommand, so that no port is open, pins the host key through a known_hosts file of
its own, and uses a key pair made for it, which is let into this sandbox. All of that is under
MSB_HOME. With --write it goes into MSB_HOME/ssh/config, which ~/.ssh/config then includes.

Examples:
  msb ssh config devbox --write
  ssh devbox.msb
  scp -r src devbox.msb:/app
  rsync -a src/ devbox.msb:/app/
  code --remote ssh-remote+devbox.msb /app
`

const KEYS_HELP = `
Examples:
  msb ssh keys
  msb ssh keys devbox
`
