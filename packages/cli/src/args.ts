/** The command line: every form, flag, conflict and default, and nothing of what they do. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import {
  addInactivity,
  checked,
  inactivityOf,
  integer,
  refuseContradictions,
  terminalType,
} from './arg-parsers.ts'
import { addAuthorize } from './authorize-args.ts'
import type { CliCommand } from './command.ts'
import {
  type ForwardSpec,
  parseDestination,
  parseDynamicForward,
  parseLocalForward,
  parseRemoteForward,
  type RemoteForward,
} from './forward-spec.ts'
import { CONNECT_HELP, RELAY_HELP, SSH_HELP } from './help.ts'
import type { LogLevel } from './output.ts'
import { addServe } from './serve-args.ts'
import { addToolCommands } from './tool-args.ts'

/** A command with the switches that go with any. */
export interface Invocation {
  readonly command: CliCommand
  readonly logLevel: LogLevel
}

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

/** All commands with their options and help, for what describes them; it parses nothing. */
export function commandTree(context: ArgumentContext): Command {
  return new ArgumentParser([], context).program
}

class ArgumentParser {
  readonly #words: readonly string[]
  readonly #context: ArgumentContext
  readonly program: Command
  #result: CliCommand | undefined
  #out = ''
  #err = ''

  constructor(words: readonly string[], context: ArgumentContext) {
    this.#words = words
    this.#context = context
    this.program = this.#build()
  }

  parse(head: readonly string[]): CliCommand {
    try {
      this.program.parse(head, { from: 'user' })
      return this.#result ?? { type: 'usage', text: this.program.helpInformation() }
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
      // Left out by itself where the program has an action of its own.
      .helpCommand(true)
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
    const done = (command: Command, result: CliCommand): void => {
      if (result.type !== 'complete') this.#refuseWords(command)
      this.#result = result
    }
    addServe(ssh, done)
    addAuthorize(ssh, done)
    addToolCommands(ssh, this.#words, done)
    this.#addRelay(ssh)
    for (const command of ssh.commands) refuseContradictions(command)
    return program
  }

  #addConnect(ssh: Command): void {
    const command = ssh
      .command('connect [sandbox]', { isDefault: true })
      .description('open a shell, or run the words after -- (the default command)')
      .usage('[options] <sandbox> [-- <word>...]')
      .addOption(new Option('--name <sandbox>', 'the sandbox, where its name looks like a command'))
      .option('-u, --user <user>', 'guest user (default: root)')
      .addOption(
        new Option('--term <term>', 'terminal type (default: $TERM, or xterm)').argParser(
          terminalType,
        ),
      )
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
    addInactivity(command, 'never')
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
        remoteForwards: options['remoteForward'] ?? [],
        forwardOnly: options['forwardOnly'] === true,
        stdioTo: options['stdioForward'],
      }
    })
  }

  #addRelay(ssh: Command): void {
    const command = ssh
      .command('relay <endpoint>')
      .description('share an agent with other processes on a Unix socket')
      .addOption(
        new Option('--listen <path>', 'the socket to make').argParser((text) => {
          if (text !== '') return text
          throw new InvalidArgumentError('it is a path.')
        }),
      )
      .addOption(
        new Option(
          '--budget <MiB>',
          'drop a client that leaves more than this of a shared console unread (default: 16)',
        ).argParser((text) => integer(text, 1, 1024)),
      )
      .addHelpText('after', RELAY_HELP)
    command.action((endpoint: string) => {
      this.#refuseWords(command)
      const { listen, budget } = command.opts()
      if (listen === undefined) command.error("error: required option '--listen <path>' is missing")
      const budgetBytes = budget === undefined ? undefined : budget * 1024 * 1024
      this.#result = { type: 'relay', endpoint, socketPath: listen, budgetBytes }
    })
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
  const add = (parse: (text: string) => ForwardSpec) => (text: string) => {
    forwards.push(checked(parse)(text))
    command.setOptionValue('forward', forwards)
    return undefined
  }
  command
    .option(
      '-L, --local-forward <[bind:]port:host:hostport>',
      'a port here leads to host:hostport as the sandbox sees it (repeatable)',
      add(parseLocalForward),
    )
    .option(
      '-D, --dynamic-forward <[bind:]port>',
      'a SOCKS proxy here that connects from the sandbox (repeatable)',
      add(parseDynamicForward),
    )
    .addOption(
      new Option(
        '-R, --remote-forward <port:host:hostport>',
        "a port of the sandbox's loopback leads to host:hostport as seen from here (repeatable)",
      ).argParser((text, before: readonly RemoteForward[] = []) => [
        ...before,
        checked(parseRemoteForward)(text),
      ]),
    )
    .option('-N, --forward-only', 'no shell and no command, only -L, -D and -R')
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

function tree(command: Command, indent = ''): string {
  const line = `${indent}${command.name()}${indent === '' ? '' : `  ${command.description()}`}\n`
  const visible = command.createHelp().visibleCommands(command)
  const children = visible.filter((child) => command.commands.includes(child))
  return line + children.map((child) => tree(child, `${indent}  `)).join('')
}
