/** The command line: every form, flag, conflict and default, and nothing of what they do. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { parseDuration } from './duration.ts'
import {
  type Destination,
  type ForwardSpec,
  parseDestination,
  parseDynamicForward,
  parseLocalForward,
} from './forward-spec.ts'
import type { LogLevel } from './output.ts'

/** `msb ssh [connect] …`. */
export interface ConnectCommand {
  readonly type: 'connect'
  readonly sandbox: string
  /** The words after `--`; empty for an interactive shell. */
  readonly words: readonly string[]
  readonly user: string | undefined
  readonly term: string | undefined
  /** True or false as demanded; undefined to decide by what stdin is. */
  readonly tty: boolean | undefined
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string | undefined
  readonly detachKeys: string | undefined
  readonly inactivityMs: number | undefined
  /** Ports here that lead into the sandbox, `-L` and `-D`. */
  readonly forwards: readonly ForwardSpec[]
  /** `-N`: no shell and no command, only forwards. */
  readonly forwardOnly: boolean
  /** `-W`: stdin and stdout are joined to this destination, instead of a session. */
  readonly stdioTo: Destination | undefined
}

/** `msb ssh serve …`. */
export interface ServeCommand {
  readonly type: 'serve'
  readonly sandbox: string
  /** Undefined for `--stdio`. */
  readonly listen: { readonly host: string; readonly port: number } | undefined
  readonly inactivityMs: number | undefined
  readonly connectionsMax: number
}

/** `msb ssh authorize …`. */
export interface AuthorizeCommand {
  readonly type: 'authorize'
  readonly source:
    | { readonly from: 'file'; readonly path: string }
    | { readonly from: 'argument'; readonly key: string }
    | { readonly from: 'stdin' }
}

/** What was asked for, complete and checked. */
export type CliCommand =
  | ConnectCommand
  | ServeCommand
  | AuthorizeCommand
  /** Help, version or the command tree: text for stdout, exit 0. */
  | { readonly type: 'print'; readonly text: string }
  /** A usage error: text for stderr, exit 2. */
  | { readonly type: 'usage'; readonly text: string }

/** A command with the switches that go with any. */
export interface Invocation {
  readonly command: CliCommand
  readonly logLevel: LogLevel
}

const CONNECTIONS_MAX_DEFAULT = 128
/** From the quietest to the most talkative; the most talkative one given counts. */
const LOG_LEVELS: readonly LogLevel[] = ['error', 'warn', 'info', 'debug', 'trace']

/**
 * Reads the arguments after the program's name. The words after the first `--` are taken off
 * beforehand, so that they can neither be mistaken for flags nor for a second sandbox name.
 */
export function parseArguments(argv: readonly string[], context: ArgumentContext): Invocation {
  const separator = argv.indexOf('--')
  const before = separator === -1 ? argv : argv.slice(0, separator)
  const words = separator === -1 ? [] : argv.slice(separator + 1)
  // Logging switches go anywhere; commander would take them before the command only.
  const isSwitch = (text: string): boolean => LOG_LEVELS.some((level) => text === `--${level}`)
  const logLevel = LOG_LEVELS.findLast((level) => before.includes(`--${level}`)) ?? 'info'
  const command = new ArgumentParser(words, context).parse(before.filter((text) => !isSwitch(text)))
  return { command, logLevel }
}

/** What the arguments may refer to. */
export interface ArgumentContext {
  readonly version: string
  readonly env: Readonly<Record<string, string | undefined>>
}

class ArgumentParser {
  readonly #words: readonly string[]
  readonly #context: ArgumentContext
  readonly #program: Command
  #result: CliCommand | undefined
  #out = ''
  #err = ''

  constructor(words: readonly string[], context: ArgumentContext) {
    this.#words = words
    this.#context = context
    this.#program = this.#build()
  }

  parse(head: readonly string[]): CliCommand {
    try {
      this.#program.parse(head, { from: 'user' })
      return this.#result ?? { type: 'usage', text: this.#program.helpInformation() }
    } catch (error) {
      if (!(error instanceof CommanderError)) throw error
      if (error.exitCode === 0) return { type: 'print', text: this.#out }
      const hint =
        error.code === 'commander.excessArguments' ? '(a remote command goes after --)\n' : ''
      return { type: 'usage', text: (this.#err === '' ? this.#out : this.#err) + hint }
    }
  }

  #build(): Command {
    const program = new Command('msb')
      .description('SSH into sandboxes without an SSH daemon inside')
      .version(this.#context.version, '-V, --version', 'print the version')
      .option('--tree', 'print the tree of commands')
      .exitOverride()
      .configureOutput({
        writeOut: (text) => {
          this.#out += text
        },
        writeErr: (text) => {
          this.#err += text
        },
      })
    for (const level of ['error', 'warn', 'info', 'debug', 'trace']) {
      program.option(`--${level}`, `say what is of level ${level} or more serious`)
    }
    program.action(() => {
      this.#result = program.opts()['tree']
        ? { type: 'print', text: tree(program) }
        : { type: 'usage', text: program.helpInformation() }
    })
    const ssh = program
      .command('ssh')
      .description('shells, commands, files and forwards in a sandbox')
      .usage('[options] <sandbox> [-- <word>...]\n       msb ssh <command> ...')
      .addHelpText('after', SSH_HELP)
    this.#addConnect(ssh)
    this.#addServe(ssh)
    this.#addAuthorize(ssh)
    return program
  }

  #addConnect(ssh: Command): void {
    const command = ssh
      .command('connect [sandbox]', { isDefault: true })
      .description('open a shell, or run the words after -- (the default command)')
      .usage('[options] <sandbox> [-- <word>...]')
      .addOption(new Option('--name <sandbox>', 'the sandbox, where its name looks like a command'))
      .option('-u, --user <user>', 'guest user (default: root)')
      .option('--term <term>', 'terminal type (default: $TERM, or xterm)')
      .option('-t, --tty', 'allocate a terminal, also for a command')
      .option('-T, --no-tty', 'allocate no terminal, also for a shell')
      .option(
        '-e, --env <NAME=VALUE>',
        'set a variable; NAME alone takes it from here (repeatable)',
        (text, before: Record<string, string> = {}) => this.#addVariable(text, before),
      )
      .addOption(
        new Option('--cwd <directory>', 'directory to start in (default: home)').argParser(
          (text) => {
            if (text.startsWith('/')) return text
            throw new InvalidArgumentError('it is an absolute path in the sandbox.')
          },
        ),
      )
      .option('--detach-keys <keys>', 'keys that leave a terminal session (default: ctrl-])')
    addForwards(command)
    addInactivity(command)
    command.addHelpText('after', CONNECT_HELP).action((sandbox: string | undefined) => {
      const options = command.opts()
      const [name, words] = this.#nameAndWords(command, sandbox, options['name'])
      checkForwardOnly(command, words)
      this.#result = {
        type: 'connect',
        sandbox: name,
        words,
        user: options['user'],
        term: options['term'],
        tty: options['tty'],
        env: options['env'] ?? {},
        cwd: options['cwd'],
        detachKeys: options['detachKeys'],
        inactivityMs: inactivityOf(options),
        forwards: options['forward'] ?? [],
        forwardOnly: options['forwardOnly'] === true,
        stdioTo: options['stdioForward'],
      }
    })
  }

  #addServe(ssh: Command): void {
    const command = ssh
      .command('serve <sandbox>')
      .description('serve the sandbox to ssh, scp, sftp, rsync and editors')
      .addOption(new Option('--host <host>', 'address to listen on').default('127.0.0.1'))
      .addOption(
        new Option('--port <port>', 'port to listen on, 0 for a free one')
          .default(2222)
          .argParser((text) => integer(text, 0, 65535)),
      )
      .addOption(
        new Option(
          '--stdio',
          'serve one connection on stdin and stdout, for ProxyCommand',
        ).conflicts(['host', 'port']),
      )
      .addOption(
        new Option('--max-connections <number>', 'connections at once')
          .default(CONNECTIONS_MAX_DEFAULT)
          .argParser((text) => integer(text, 1, 65535)),
      )
    addInactivity(command)
    command.addHelpText('after', SERVE_HELP).action((sandbox: string) => {
      this.#refuseWords(command)
      const options = command.opts()
      this.#result = {
        type: 'serve',
        sandbox,
        listen: options['stdio'] ? undefined : { host: options['host'], port: options['port'] },
        inactivityMs: inactivityOf(options),
        connectionsMax: options['maxConnections'],
      }
    })
  }

  #addAuthorize(ssh: Command): void {
    const command = ssh
      .command('authorize')
      .description('let the owners of public keys in')
      .addOption(new Option('--file <path>', 'read keys from a file').conflicts(['key', 'stdin']))
      .addOption(new Option('--key <key>', 'the key itself').conflicts(['file', 'stdin']))
      .addOption(new Option('--stdin', 'read keys from stdin').conflicts(['file', 'key']))
      .addHelpText('after', AUTHORIZE_HELP)
    command.action(() => {
      this.#refuseWords(command)
      const { file, key, stdin } = command.opts()
      if (file !== undefined) this.#authorize({ from: 'file', path: file })
      else if (key !== undefined) this.#authorize({ from: 'argument', key })
      else if (stdin) this.#authorize({ from: 'stdin' })
      else command.error('error: one of --file, --key and --stdin is required')
    })
  }

  #authorize(source: AuthorizeCommand['source']): void {
    this.#result = { type: 'authorize', source }
  }

  /** `msb ssh -- devbox ls` names its sandbox behind the separator; so may names like commands. */
  #nameAndWords(
    command: Command,
    positional: string | undefined,
    named: string | undefined,
  ): [string, readonly string[]] {
    if (positional !== undefined && named !== undefined) {
      command.error("error: option '--name <sandbox>' cannot be used with a sandbox argument")
    }
    const name = positional ?? named
    if (name !== undefined) return [name, this.#words]
    const [first, ...rest] = this.#words
    if (first === undefined) command.error("error: missing required argument 'sandbox'")
    return [first, rest]
  }

  #refuseWords(command: Command): void {
    if (this.#words.length > 0) command.error('error: this command takes no words after --')
  }

  #addVariable(text: string, before: Record<string, string>): Record<string, string> {
    const equals = text.indexOf('=')
    const name = equals === -1 ? text : text.slice(0, equals)
    if (name === '' || text.includes('\0')) {
      throw new InvalidArgumentError('it is NAME=VALUE, or NAME to take the value from here.')
    }
    const value = equals === -1 ? this.#context.env[name] : text.slice(equals + 1)
    if (value === undefined) throw new InvalidArgumentError(`${name} is not set here.`)
    return { ...before, [name]: value }
  }
}

/** `-L` and `-D` may be repeated and mixed; their order is kept. */
function addForwards(command: Command): void {
  const forwards: ForwardSpec[] = []
  const collect = (parse: (text: string) => ForwardSpec) => (text: string) => {
    forwards.push(checked(parse)(text))
    command.setOptionValue('forward', forwards)
    return undefined
  }
  command
    .option(
      '-L, --local-forward <[bind:]port:host:hostport>',
      'a port here leads to host:hostport as the sandbox sees it (repeatable)',
      collect(parseLocalForward),
    )
    .option(
      '-D, --dynamic-forward <[bind:]port>',
      'a SOCKS proxy here that connects from the sandbox (repeatable)',
      collect(parseDynamicForward),
    )
    .option('-N, --forward-only', 'no shell and no command, only -L and -D')
    .addOption(
      new Option(
        '-W, --stdio-forward <host:port>',
        'join stdin and stdout to host:port as the sandbox sees it',
      )
        .argParser(checked(parseDestination))
        .conflicts('forwardOnly'),
    )
}

function checkForwardOnly(command: Command, words: readonly string[]): void {
  const { forwardOnly, stdioForward, tty } = command.opts()
  const flag = stdioForward !== undefined ? '-W' : forwardOnly ? '-N' : undefined
  if (flag === undefined) return
  if (words.length > 0) command.error(`error: option '${flag}' takes no command`)
  if (tty === true) command.error(`error: option '${flag}' takes no terminal`)
}

/** A parser whose RangeError is a usage error. */
function checked<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text)
    } catch (error) {
      throw new InvalidArgumentError(`${error instanceof Error ? error.message : error}.`)
    }
  }
}

function addInactivity(command: Command): void {
  command
    .addOption(
      new Option(
        '--inactivity-timeout <duration>',
        'end a session without traffic after this, such as 90s or 10m; 0 for never',
      ).argParser(checked(parseDuration)),
    )
    .option('--no-inactivity-timeout', 'never end a session for want of traffic')
  // To commander both are one option, of which the last would count.
  let given: string | undefined
  for (const name of ['inactivity-timeout', 'no-inactivity-timeout']) {
    command.on(`option:${name}`, () => {
      if (given !== undefined && given !== name) {
        command.error(`error: option '--${name}' cannot be used with option '--${given}'`)
      }
      given = name
    })
  }
}

function inactivityOf(options: Record<string, unknown>): number | undefined {
  const value = options['inactivityTimeout']
  if (value === false) return 0
  return typeof value === 'number' ? value : undefined
}

function integer(text: string, least: number, most: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (value >= least && value <= most) return value
  throw new InvalidArgumentError(`it is a number from ${least} to ${most}.`)
}

function tree(command: Command, indent = ''): string {
  const line = `${indent}${command.name()}${indent === '' ? '' : `  ${command.description()}`}\n`
  return line + command.commands.map((child) => tree(child, `${indent}  `)).join('')
}

const SSH_HELP = `
A sandbox is the name of a microsandbox, unix:/path/agent.sock, or local:NAME, the embedded
sandbox (local:NAME?net=host shares the network of this host). An embedded sandbox runs as long as
somebody is connected to it; its home and /tmp remain.

Examples:
  msb ssh devbox                                  a shell
  msb ssh devbox -- uname -a                      a command
  msb ssh devbox -- sh -lc 'cd /app && npm test'  words arrive as they were typed
  tar c src | msb ssh devbox -- tar x -C /app     streams
  msb ssh authorize --file ~/.ssh/id_ed25519.pub
  msb ssh serve devbox --port 2222
`

const CONNECT_HELP = `
Several words after -- are a program and its arguments, each passed on as it was typed; a single
word is a command line for the remote shell.

The exit status is that of the command; 128+n if signal n killed it; 127 if it could not be started;
255 if the connection was lost; 1 for an error on this side; 2 for wrong usage.

Examples:
  msb ssh connect devbox
  msb ssh connect devbox -- npm test
  msb ssh connect devbox -- 'cd /app; ls | wc -l'
  msb ssh --name serve -- true                    a sandbox called "serve"
  msb ssh devbox --tty -- top
  msb ssh devbox --user dev --env CI=1 --cwd /app -- make
  msb ssh devbox -L 8080:127.0.0.1:80             a shell, and a web server of the sandbox here
  msb ssh devbox -N -L 5432:127.0.0.1:5432 -D 1080
  msb ssh devbox -W 127.0.0.1:6379

Forwards listen on 127.0.0.1 unless a bind address is given (* for all), and end with the session.
`

const SERVE_HELP = `
Examples:
  msb ssh serve devbox
  msb ssh serve devbox --port 0
  ssh -o ProxyCommand='msb ssh serve devbox --stdio' root@devbox
`

const AUTHORIZE_HELP = `
Examples:
  msb ssh authorize --file ~/.ssh/id_ed25519.pub
  msb ssh authorize --key 'ssh-ed25519 AAAA… ada@laptop'
  ssh-add -L | msb ssh authorize --stdin
`
