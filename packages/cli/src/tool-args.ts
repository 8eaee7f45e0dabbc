/** The command line of what is not a session: `msb ssh cp`, `config`, `keys`, `doctor`, completion. */
import { Argument, type Command, Option } from 'commander'
import { checked, collect } from './arg-parsers.ts'
import { type Candidates, complete, completionScript, SHELLS } from './completion.ts'
import { type Destination, parseGatewayAddress } from './forward-spec.ts'
import { entryOf, type GatewayEntry } from './serve-args.ts'

/** `msb ssh config …`. */
export interface ConfigCommand {
  readonly type: 'config'
  /** At least one without a gateway; none if there is one. */
  readonly sandboxes: readonly string[]
  /** The gateway that they are behind; undefined for sandboxes of this machine. */
  readonly gateway: GatewayAddress | undefined
  /** Write it instead of printing it. */
  readonly write: boolean
  readonly alias: string | undefined
  readonly user: string | undefined
  /** The user's configuration; undefined for `~/.ssh/config`. */
  readonly file: string | undefined
}

/** A gateway, and how it is recognized. */
export interface GatewayAddress extends Destination {
  /** Public keys or fingerprints; empty for the key of the gateway of this MSB_HOME. */
  readonly hostKeys: readonly string[]
  /** The user's own private key; undefined for one of ours. */
  readonly identity: string | undefined
  /** What is wanted of it; empty for itself, where each login says. */
  readonly entries: readonly GatewayEntry[]
}

/** `msb ssh keys …`. */
export interface KeysCommand {
  readonly type: 'keys'
  /** Undefined for all. */
  readonly sandbox: string | undefined
}

/** `msb ssh doctor …`. */
export interface DoctorCommand {
  readonly type: 'doctor'
  /** Undefined for what concerns all. */
  readonly sandbox: string | undefined
}

/** `msb ssh cp …`. */
export interface CopyCommand {
  readonly type: 'cp'
  /** At least two, the last one being the target. */
  readonly paths: readonly string[]
  readonly recursive: boolean
  readonly preserve: boolean
  readonly resume: boolean
  readonly quiet: boolean
  readonly user: string | undefined
}

/** What shells ask. */
export interface CompleteCommand {
  readonly type: 'complete'
  readonly candidates: Candidates
}

/** The commands of this file. */
export type ToolCommand =
  | ConfigCommand
  | KeysCommand
  | DoctorCommand
  | CopyCommand
  | CompleteCommand
  | { readonly type: 'print'; readonly text: string }

/** Adds them; `done` gets what was asked for. `words` are those after `--`. */
export function addToolCommands(
  ssh: Command,
  words: readonly string[],
  done: (command: Command, result: ToolCommand) => void,
): void {
  addCopy(ssh, done)
  addConfig(ssh, done)
  addKeys(ssh, done)
  addDoctor(ssh, done)
  addCompletion(ssh, words, done)
}

type Done = Parameters<typeof addToolCommands>[2]

function addConfig(ssh: Command, done: Done): void {
  const command = ssh
    .command('config [sandbox...]')
    .description('teach ssh, scp, sftp, rsync and editors the way to sandboxes')
    .usage(
      '[options] <sandbox>...\n       msb ssh config --gateway <host:port> [options] [name...]',
    )
    .option('--write', 'write the blocks and include them in ~/.ssh/config (default: print them)')
    .option('--alias <name>', 'name for ssh (default: NAME.msb, NAME.local.msb, or the host)')
    .option('-u, --user <user>', 'login name (default: root, or whom the gateway says)')
    .option('--file <path>', 'with --write: the configuration instead of ~/.ssh/config')
    .addOption(
      new Option(
        '--gateway <host:port>',
        'the way leads through that server, where the sandboxes have these names',
      ).argParser(checked(parseGatewayAddress)),
    )
    .option(
      '--host-key <key>',
      'with --gateway: its host key, or the fingerprint of it (repeatable; default: the key of ' +
        'the gateway of this MSB_HOME)',
      collect,
    )
    .option(
      '--identity <file>',
      'with --gateway: private key to log in with (default: one made for this)',
    )
    .addHelpText('after', CONFIG_HELP)
  command.action((sandboxes: readonly string[]) => {
    const { write, alias, user, file, gateway, hostKey, identity } = command.opts()
    if (file !== undefined && !write) command.error("error: option '--file' goes with '--write'")
    if (gateway === undefined) {
      for (const [flag, value] of [
        ['--host-key', hostKey],
        ['--identity', identity],
      ]) {
        if (value === undefined) continue
        command.error(`error: option '${flag}' goes with '--gateway'`)
      }
      if (sandboxes.length === 0) command.error("error: missing required argument 'sandbox'")
    } else if (sandboxes.length === 0 && user !== undefined) {
      command.error("error: option '--user' needs a sandbox: a login is USER+NAME")
    }
    if (alias !== undefined && sandboxes.length > 1) {
      command.error("error: option '--alias' is for one sandbox")
    }
    done(command, {
      type: 'config',
      sandboxes: gateway === undefined ? sandboxes : [],
      gateway:
        gateway === undefined
          ? undefined
          : {
              ...gateway,
              hostKeys: hostKey ?? [],
              identity,
              entries: sandboxes.map((text) => entryOf(command, text)),
            },
      write: write === true,
      alias,
      user,
      file,
    })
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

function addDoctor(ssh: Command, done: Done): void {
  const command = ssh
    .command('doctor [sandbox]')
    .description('look for what usually goes wrong, and say how to mend it')
    .addHelpText('after', DOCTOR_HELP)
  command.action((sandbox: string | undefined) => {
    done(command, { type: 'doctor', sandbox })
  })
}

function addCopy(ssh: Command, done: Done): void {
  const command = ssh
    .command('cp <paths...>')
    .description('copy files and trees into a sandbox, out of it, or between two')
    .usage('[options] <source>... <target>')
    .option('-r, --recursive', 'copy directories with all that is in them')
    .option('-p, --preserve', 'keep modes and times')
    .option('--resume', 'go on where earlier copies of the same files ended')
    .option('-q, --quiet', 'show no progress')
    .option('-u, --user <user>', 'guest user (default: root)')
    .addHelpText('after', COPY_HELP)
  command.action((paths: readonly string[]) => {
    if (paths.length < 2) command.error('error: a source and a target are required')
    const { recursive, preserve, resume, quiet, user } = command.opts()
    done(command, {
      type: 'cp',
      paths,
      recursive: recursive === true,
      preserve: preserve === true,
      resume: resume === true,
      quiet: quiet === true,
      user,
    })
  })
}

function addCompletion(ssh: Command, words: readonly string[], done: Done): void {
  const script = ssh
    .command('completion')
    .description('print the script that completes msb in a shell')
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .addHelpText('after', COMPLETION_HELP)
  script.action((shell: string) => {
    done(script, { type: 'print', text: completionScript(shell) })
  })
  // Asked by those scripts; the words are after `--`, where nothing is taken for an option.
  const ask = ssh.command('complete', { hidden: true })
  ask.action(() => {
    done(ask, { type: 'complete', candidates: complete(ssh.parent ?? ssh, words) })
  })
}

const DOCTOR_HELP = `
Each line is good (✓), worth knowing (-) or bad (✗), with what to do about it below. The exit status
is 1 if anything is bad.

Examples:
  msb ssh doctor
  msb ssh doctor devbox
`

const COPY_HELP = `
Files in a sandbox are NAME:path; a relative path starts in the user's home, ~ is his home. A path of
this machine with a colon in it begins with ./ or /. ssh://NAME@HOST:PORT/path is behind a gateway
whose host key msb ssh config --gateway has pinned; with two slashes the path starts at the root. A target that is a directory takes what is
copied. Links in a tree are followed. Progress is shown on a terminal.

Examples:
  msb ssh cp notes.txt devbox:
  msb ssh cp -r src package.json devbox:/app
  msb ssh cp -rp devbox:/var/log ./logs
  msb ssh cp --resume devbox:/data/disk.img .
  msb ssh cp devbox:/etc/hosts local:test:/tmp/hosts
  msb ssh cp -r src ssh://red@gw.example.org:2222/app
`

const COMPLETION_HELP = `
Examples:
  msb ssh completion bash > ~/.local/share/bash-completion/completions/msb
  msb ssh completion zsh > ~/.zfunc/_msb
  msb ssh completion fish > ~/.config/fish/completions/msb.fish
`

const CONFIG_HELP = `
The block has a ProxyCommand, so that no port is open, pins the host key through a known_hosts file of
its own, and uses a key pair made for it, which is let into this sandbox. All of that is under
MSB_HOME. With --write it goes into MSB_HOME/ssh/config, which ~/.ssh/config then includes.

With --gateway the way leads to a server for several sandboxes, msb ssh serve --all, on whatever
machine. Sandboxes are written as they are for serve, or by their names in logins. The host key is pinned; give the fingerprint that msb ssh keys
shows there, and it is looked at once. Without a name the block is for ssh NAME@HOST. The key pair
must be let in at the gateway, by msb ssh authorize there, unless its MSB_HOME is this one.

Examples:
  msb ssh config devbox --write
  ssh devbox.msb
  scp -r src devbox.msb:/app
  rsync -a src/ devbox.msb:/app/
  code --remote ssh-remote+devbox.msb /app
  msb ssh config --gateway gw.example.org:2222 --host-key SHA256:… red blue --write
  ssh red.msb
`

const KEYS_HELP = `
The key called gateway is the one that clients meet where several sandboxes are served, whichever of
them they go to.

Examples:
  msb ssh keys
  msb ssh keys devbox
`
