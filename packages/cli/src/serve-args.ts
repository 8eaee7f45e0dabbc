/** The command line of `msb ssh serve`. */
import { parseSandboxTarget, type SandboxTarget } from '@sandbox-ssh/sandbox-bridge'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { addInactivity, checked, collect, inactivityOf, integer } from './arg-parsers.ts'
import type { GatewayCommand, ServeCommand } from './command.ts'
import { parseDuration } from './duration.ts'
import { parsePermitted, SERVER_PORT } from './forward-spec.ts'
import { SERVE_HELP } from './help.ts'

const CONNECTIONS_MAX_DEFAULT = 128
const GATEWAY_CONNECTIONS_MAX_DEFAULT = 1024
const CONNECTIONS_PER_SANDBOX_DEFAULT = 64
const DRAIN_MS_DEFAULT = 10_000
const LINGER_MS_DEFAULT = 60_000

/** Adds it; `done` gets what was asked for. */
export function addServe(
  ssh: Command,
  done: (command: Command, result: ServeCommand) => void,
): void {
  const command = ssh
    .command('serve [sandbox...]')
    .description('serve a sandbox, or many, to ssh, scp, sftp, rsync and editors')
    .usage('[options] <sandbox>\n       msb ssh serve [options] <[name=]sandbox>... | --all')
    .addOption(new Option('--host <host>', 'address to listen on').default('127.0.0.1'))
    .addOption(
      new Option('--port <port>', 'port to listen on, 0 for a free one')
        .default(SERVER_PORT)
        .argParser((text) => integer(text, 0, 65535)),
    )
    .addOption(
      new Option('--stdio', 'serve one connection on stdin and stdout, for ProxyCommand').conflicts(
        ['host', 'port'],
      ),
    )
  addGateway(command)
  addKeys(command)
  addPolicy(command)
  addLimits(command)
  addInactivity(command, '10m')
  command.addHelpText('after', SERVE_HELP).action((sandboxes: readonly string[]) => {
    const options = command.opts()
    const gateway = gatewayOf(command, sandboxes)
    done(command, {
      type: 'serve',
      sandbox: gateway === undefined ? (sandboxes[0] ?? '') : undefined,
      gateway,
      listen: options['stdio'] ? undefined : { host: options['host'], port: options['port'] },
      inactivityMs: inactivityOf(options),
      connectionsMax:
        options['maxConnections'] ??
        (gateway === undefined ? CONNECTIONS_MAX_DEFAULT : GATEWAY_CONNECTIONS_MAX_DEFAULT),
      hostKeys: options['hostKey'],
      authorizedKeys: options['authorizedKeys'],
      authorities: options['ca'],
      principals: options['principals'],
      revokedKeys: options['revokedKeys'],
      user: options['user'],
      readOnlySftp: options['readOnlySftp'] === true,
      agentForwarding: options['agentForwarding'] === true,
      permitOpen: options['permitOpen'],
      drainMs: options['drain'],
      auditLog: options['auditLog'],
    })
  })
}

/** Which sandboxes a gateway serves, and how it treats them. */
function addGateway(command: Command): void {
  command
    .option('--all', 'serve every sandbox under MSB_HOME, as it is there when somebody logs in')
    .addOption(
      new Option(
        '--match <pattern>',
        'the same for those whose name matches, such as dev-* or local:* (repeatable)',
      ).argParser((text, before: readonly string[] = []) => {
        if (/^(?:local:)?[A-Za-z0-9._*?-]+$/.test(text)) return [...before, text]
        throw new InvalidArgumentError('it is a name with * and ?, or one after local:.')
      }),
    )
    .option('--start', 'start stopped sandboxes when somebody logs in, and stop them afterwards')
    .addOption(
      new Option(
        '--linger <duration>',
        'how long such a sandbox runs on after its last connection (default: 60s)',
      ).argParser(checked(parseDuration)),
    )
    .addOption(
      new Option(
        '--max-per-sandbox <number>',
        `connections at once in each sandbox (default: ${CONNECTIONS_PER_SANDBOX_DEFAULT})`,
      ).argParser((text) => integer(text, 1, 65535)),
    )
}

/** Who may enter, and whom clients meet. */
function addKeys(command: Command): void {
  command
    .option('--host-key <file>', 'host key, made if it is not there (repeatable)', collect)
    .option(
      '--authorized-keys <file>',
      'keys that may enter, instead of those of msb ssh authorize (repeatable)',
      collect,
    )
    .option('--ca <file>', 'authorities whose certificates let in (repeatable)', collect)
    .addOption(
      new Option(
        '--principals <names>',
        'names of which such a certificate needs one: %r for the login, %u for the user and %s ' +
          'for the sandbox in it (default: %r)',
      ).argParser((text) => {
        const names = text.split(',')
        if (names.every((name) => /^(?:[^%\s,]|%[rus%])+$/.test(name))) return names
        throw new InvalidArgumentError('it is names separated by commas, with %r, %u, %s and %%.')
      }),
    )
    .option(
      '--revoked-keys <file>',
      'keys and certificates that count no more, a KRL or a text (repeatable)',
      collect,
    )
}

/** What clients may do once they are in, and what is told of them. */
function addPolicy(command: Command): void {
  command
    .option('-u, --user <user>', 'guest user of every session (default: the login name)')
    .option('--read-only-sftp', 'refuse changes of files by SFTP')
    .option('--agent-forwarding', "let `ssh -A` bring the user's own keys inside")
    .option(
      '--permit-open <host:port>',
      'the only destinations of forwards, * for any, none for none (repeatable)',
      (text, before: readonly unknown[] = []) => [...before, ...checked(parsePermitted)(text)],
    )
    .option('--audit-log <file>', 'append who did what, as lines of JSON')
}

function addLimits(command: Command): void {
  command
    .addOption(
      new Option(
        '--max-connections <number>',
        `connections at once (default: ${CONNECTIONS_MAX_DEFAULT}, ` +
          `${GATEWAY_CONNECTIONS_MAX_DEFAULT} for many sandboxes)`,
      ).argParser((text) => integer(text, 1, 65535)),
    )
    .addOption(
      new Option('--drain <duration>', 'how long open sessions may go on when it is stopped')
        .default(DRAIN_MS_DEFAULT, '10s')
        .argParser(checked(parseDuration)),
    )
}

/** Undefined for one sandbox, which then has every login for itself. */
function gatewayOf(command: Command, sandboxes: readonly string[]): GatewayCommand | undefined {
  const { all, match = [], start, linger, maxPerSandbox } = command.opts()
  const patterns: readonly string[] = all ? ['*', 'local:*', ...match] : match
  const [first] = sandboxes
  if (first === undefined && patterns.length === 0) {
    command.error("error: missing required argument 'sandbox'")
  }
  if (sandboxes.length === 1 && patterns.length === 0 && nameIn(first ?? '') === undefined) {
    for (const [flag, value] of [
      ['--start', start],
      ['--linger', linger],
      ['--max-per-sandbox', maxPerSandbox],
    ]) {
      if (value !== undefined) {
        command.error(`error: option '${flag}' is for several sandboxes, --all or --match`)
      }
    }
    return undefined
  }
  const entries = new Map<string, string>()
  for (const text of sandboxes) {
    const { name, sandbox } = entryOf(command, text)
    if (entries.has(name)) command.error(`error: two sandboxes have the name '${name}' here`)
    entries.set(name, sandbox)
  }
  return {
    entries,
    patterns,
    start: start === true,
    lingerMs: linger ?? LINGER_MS_DEFAULT,
    connectionsPerSandbox: maxPerSandbox ?? CONNECTIONS_PER_SANDBOX_DEFAULT,
  }
}

/** A sandbox as a user writes it, and its name in logins. */
export interface GatewayEntry {
  readonly name: string
  readonly sandbox: string
}

/** Reads `NAME=SANDBOX`, or a sandbox whose own name will do; anything else is a usage error. */
export function entryOf(command: Command, text: string): GatewayEntry {
  const name = nameIn(text)
  const sandbox = name === undefined ? text : text.slice(name.length + 1)
  const target = targetOf(command, sandbox)
  if (name !== undefined) return { name, sandbox }
  if (target.kind === 'name' || target.kind === 'local') return { name: target.name, sandbox }
  return command.error(`error: ${text} needs a name for logins: NAME=${text}`)
}

function targetOf(command: Command, sandbox: string): SandboxTarget {
  try {
    return parseSandboxTarget(sandbox)
  } catch (error) {
    return command.error(`error: ${error instanceof Error ? error.message : error}`)
  }
}

function nameIn(text: string): string | undefined {
  return /^([A-Za-z0-9][A-Za-z0-9._-]{0,127})=/.exec(text)?.[1]
}
