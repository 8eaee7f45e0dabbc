/** Every form of the command line, flag, conflict and default. */
import { readFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseArguments } from '../src/args.ts'
import type { CliCommand } from '../src/command.ts'
import { VERSION } from '../src/version.ts'

const env = { HERE: 'value', EMPTY: '' }
const parse = (...argv: string[]): CliCommand =>
  parseArguments(argv, { version: '1.2.3', env }).command

const connect = {
  type: 'connect',
  sandbox: 'box',
  words: [],
  user: undefined,
  term: undefined,
  tty: undefined,
  env: {},
  cwd: undefined,
  detachKeys: undefined,
  inactivityMs: undefined,
  forwards: [],
  remoteForwards: [],
  forwardOnly: false,
  stdioTo: undefined,
}
const serve = {
  type: 'serve',
  sandbox: 'box',
  gateway: undefined,
  listen: { host: '127.0.0.1', port: 2222 },
  inactivityMs: undefined,
  connectionsMax: 128,
  hostKeys: undefined,
  authorizedKeys: undefined,
  authorities: undefined,
  principals: undefined,
  revokedKeys: undefined,
  user: undefined,
  readOnlySftp: false,
  agentForwarding: false,
  permitOpen: undefined,
  drainMs: 10_000,
  auditLog: undefined,
}

function usage(argv: readonly string[], message: RegExp): void {
  const command = parse(...argv)
  assert.is(command.type, 'usage', `msb ${argv.join(' ')} must be a usage error`)
  if (command.type === 'usage') assert.match(command.text, message)
}

test('all ways to name a sandbox and a command', () => {
  assert.equal(parse('ssh', 'box'), connect)
  assert.equal(parse('ssh', 'connect', 'box'), connect)
  assert.equal(parse('ssh', '--name', 'box'), connect)
  assert.equal(parse('ssh', 'connect', '--name', 'box'), connect)
  const words = ['ls', '-l', '--', '--help']
  assert.equal(parse('ssh', 'box', '--', ...words), { ...connect, words })
  assert.equal(parse('ssh', '--name', 'serve', '--', 'true'), {
    ...connect,
    sandbox: 'serve',
    words: ['true'],
  })
  assert.equal(parse('ssh', '--', 'serve', 'ls'), { ...connect, sandbox: 'serve', words: ['ls'] })
  assert.equal(parse('ssh', '--', 'box'), connect)
})

test('flags of a session', () => {
  assert.equal(parse('ssh', 'box', '--tty', '-u', 'dev', '--term', 'vt100', '--cwd', '/app'), {
    ...connect,
    tty: true,
    user: 'dev',
    term: 'vt100',
    cwd: '/app',
  })
  assert.equal(parse('ssh', '--no-tty', '--detach-keys', 'ctrl-p', 'box'), {
    ...connect,
    tty: false,
    detachKeys: 'ctrl-p',
  })
  assert.equal(parse('ssh', 'box', '--env', 'A=1=2', '-e', 'HERE', '--env', 'EMPTY'), {
    ...connect,
    env: { A: '1=2', HERE: 'value', EMPTY: '' },
  })
  usage(['ssh', 'box', '--env', 'NOT_SET_HERE'], /NOT_SET_HERE is not set here/)
  usage(['ssh', 'box', '--env', '=1'], /NAME=VALUE/)
  usage(['ssh', 'box', '--cwd', 'app'], /absolute path/)
})

test('forwards', () => {
  const forwards = (...argv: string[]): unknown => {
    const command = parse('ssh', 'box', ...argv)
    return command.type === 'connect' ? command.forwards : command
  }
  const listen = { host: '127.0.0.1', port: 8080 }
  const to = { host: 'web', port: 80 }
  assert.equal(forwards('-L', '8080:web:80'), [{ listen, to }])
  assert.equal(forwards('-L8080:web:80', '-D', '1080', '-L', '*:0:[::1]:1'), [
    { listen, to },
    { listen: { host: '127.0.0.1', port: 1080 }, to: undefined },
    { listen: { host: '', port: 0 }, to: { host: '::1', port: 1 } },
  ])
  assert.equal(forwards('-L', ':8080:web:80'), [{ listen: { ...listen, host: '' }, to }])
  assert.equal(forwards('-D', '[::1]:8080'), [
    { listen: { ...listen, host: '::1' }, to: undefined },
  ])
  for (const wrong of ['8080', '8080:web', 'x:web:80', '8080:web:0', '8080::80', '1:2:3:4:5', '']) {
    usage(['ssh', 'box', '-L', wrong], /BIND:|from [01] to 65535/)
  }
  usage(['ssh', 'box', '-L', '[::1:8080:web:80'], /brackets/)
  usage(['ssh', 'box', '-D', '65536'], /from 0 to 65535/)
  usage(['ssh', 'box', '-D', '::1:1080'], /brackets/)
})

test('forwards without a session', () => {
  assert.equal(parse('ssh', 'box', '-N'), { ...connect, forwardOnly: true })
  assert.equal(parse('ssh', 'box', '-W', '[::1]:22'), {
    ...connect,
    stdioTo: { host: '::1', port: 22 },
  })
  usage(['ssh', 'box', '-N', '--', 'ls'], /-N' takes no command/)
  usage(['ssh', 'box', '-W', 'a:1', '--', 'ls'], /-W' takes no command/)
  usage(['ssh', 'box', '-N', '--tty'], /takes no terminal/)
  usage(['ssh', 'box', '-N', '-W', 'a:1'], /cannot be used with/)
  usage(['ssh', 'box', '-W', 'a'], /HOST:PORT/)
})

test('durations and their opposite', () => {
  const inactivityMs = (...argv: string[]): unknown => {
    const command = parse('ssh', 'box', ...argv)
    return command.type === 'connect' ? command.inactivityMs : command
  }
  assert.is(inactivityMs('--inactivity-timeout', '90'), 90_000)
  assert.is(inactivityMs('--inactivity-timeout', ' 5m '), 300_000)
  assert.is(inactivityMs('--inactivity-timeout', '250ms'), 250)
  assert.is(inactivityMs('--inactivity-timeout', '2h'), 7_200_000)
  assert.is(inactivityMs('--inactivity-timeout', '0s'), 0)
  assert.is(inactivityMs('--no-inactivity-timeout'), 0)
  for (const wrong of ['', '1.5m', '-1', '1d', '1h30m', 'm', '99999999999h']) {
    usage(['ssh', 'box', '--inactivity-timeout', wrong], /a duration is/)
  }
  const both = ['--no-inactivity-timeout', '--inactivity-timeout', '5m']
  usage(['ssh', 'box', ...both], /cannot be used with/)
  usage(['ssh', 'serve', 'box', ...both.slice(1), '--no-inactivity-timeout'], /cannot be used with/)
})

test('serve and its conflicts', () => {
  assert.equal(parse('ssh', 'serve', 'box'), serve)
  assert.equal(parse('ssh', 'serve', 'box', '--host', '::1', '--port', '0'), {
    ...serve,
    listen: { host: '::1', port: 0 },
  })
  assert.equal(parse('ssh', 'serve', '--stdio', 'box'), { ...serve, listen: undefined })
  assert.equal(
    parse('ssh', 'serve', 'box', '--max-connections', '3', '--inactivity-timeout', '0'),
    {
      ...serve,
      connectionsMax: 3,
      inactivityMs: 0,
    },
  )
  usage(['ssh', 'serve'], /missing required argument 'sandbox'/)
  usage(['ssh', 'serve', 'box', '--stdio', '--port', '22'], /cannot be used with/)
  usage(['ssh', 'serve', 'box', '--host', 'x', '--stdio'], /cannot be used with/)
  for (const port of ['65536', '-1', 'ssh', '1e3', '']) {
    usage(['ssh', 'serve', 'box', '--port', port], /number from 0 to 65535|argument missing/)
  }
  usage(['ssh', 'serve', 'box', '--', 'ls'], /no words after --/)
})

test('several sandboxes make a gateway, each with a name for logins', () => {
  const gateway = (...argv: string[]): unknown => {
    const command = parse('ssh', 'serve', ...argv)
    if (command.type !== 'serve' || command.gateway === undefined) return command
    assert.is(command.sandbox, undefined)
    assert.is(command.connectionsMax, 1024)
    const { entries, ...rest } = command.gateway
    return { ...rest, entries: [...entries] }
  }
  const plain = { patterns: [], start: false, lingerMs: 60_000, connectionsPerSandbox: 64 }
  assert.equal(gateway('a', 'local:b?net=host', 'c=unix:/x=y'), {
    ...plain,
    entries: [
      ['a', 'a'],
      ['b', 'local:b?net=host'],
      ['c', 'unix:/x=y'],
    ],
  })
  assert.equal(gateway('one=local:b'), { ...plain, entries: [['one', 'local:b']] })
  assert.equal(gateway('--all', '--start', '--linger', '5m', '--max-per-sandbox', '3'), {
    ...{ entries: [], patterns: ['*', 'local:*'], start: true },
    ...{ lingerMs: 300_000, connectionsPerSandbox: 3 },
  })
  assert.equal(gateway('a', '--match', 'dev-*', '--match', 'local:t?'), {
    ...{ ...plain, entries: [['a', 'a']], patterns: ['dev-*', 'local:t?'] },
  })
  usage(['ssh', 'serve', 'a', 'local:a'], /two sandboxes have the name 'a' here/)
  usage(['ssh', 'serve', 'a', 'unix:/x'], /unix:\/x needs a name for logins: NAME=unix:\/x/)
  usage(['ssh', 'serve', 'a', 'b=nowhere:x'], /unknown kind of sandbox/)
  usage(['ssh', 'serve', '--match', 'unix:*'], /name with \* and \?/)
  for (const flag of [['--start'], ['--linger', '1s'], ['--max-per-sandbox', '2']]) {
    usage(['ssh', 'serve', 'a', ...flag], /is for several sandboxes/)
  }
})

test('-R names a port of the loopback inside, and a destination from here', () => {
  usage(['ssh', 'box', '-R', '*:8080:localhost:80'], /only its loopback is listened on/)
  usage(['ssh', 'box', '-R', '8080'], /it is \[BIND:\]PORT:HOST:HOSTPORT/)
  usage(['ssh', 'box', '-R', '8080:localhost:0'], /a port is a number from 1 to 65535/)
})

test('authorities, and the principals of their certificates', () => {
  const args = ['--ca', 'a', '--ca', 'b', '--principals', '%u@%s,ops,100%%', '--revoked-keys', 'k']
  assert.equal(parse('ssh', 'serve', 'box', ...args), {
    ...serve,
    authorities: ['a', 'b'],
    principals: ['%u@%s', 'ops', '100%%'],
    revokedKeys: ['k'],
  })
  for (const wrong of ['%x', '', 'a,', 'a b', '%']) {
    usage(['ssh', 'serve', 'box', '--principals', wrong], /names separated by commas/)
  }
  const add = parse('ssh', 'authorize', '--ca', '--principals', 'a,b', '--key', 'k')
  assert.ok(add.type === 'authorize' && add.action.type === 'add')
  assert.equal(add.action.authority, { principals: ['a', 'b'] })
  usage(['ssh', 'authorize', '--principals', 'a', '--key', 'k'], /'--principals' goes with '--ca'/)
  usage(['ssh', 'authorize', '--ca', '--list'], /cannot be used with/)
})

test('what a server lets its clients do', () => {
  const args = '--host-key a --host-key b --authorized-keys c -u dev --read-only-sftp --drain 2s'
  assert.equal(parse('ssh', 'serve', 'box', ...args.split(' '), '--audit-log', 'log'), {
    ...serve,
    hostKeys: ['a', 'b'],
    authorizedKeys: ['c'],
    user: 'dev',
    readOnlySftp: true,
    drainMs: 2000,
    auditLog: 'log',
  })
  const permitOpen = (...values: string[]): unknown => {
    const flags = values.flatMap((value) => ['--permit-open', value])
    const command = parse('ssh', 'serve', 'box', ...flags)
    return command.type === 'serve' ? command.permitOpen : command
  }
  assert.equal(permitOpen('none'), [])
  assert.equal(permitOpen('web:80', '[::1]:*', '*:22'), [
    { host: 'web', port: 80 },
    { host: '::1', port: undefined },
    { host: undefined, port: 22 },
  ])
  for (const wrong of ['web', 'web:0', ':80', 'a:b:80']) {
    usage(['ssh', 'serve', 'box', '--permit-open', wrong], /HOST:PORT|from 1 to 65535/)
  }
})

test('authorize takes keys of one kind of source, or does something else', () => {
  const add = (...sources: object[]): object => ({
    type: 'authorize',
    sandbox: undefined,
    action: { type: 'add', sources, expiresMs: undefined, authority: undefined },
  })
  const file = { from: 'file', path: 'k' }
  assert.equal(parse('ssh', 'authorize', '--file', 'k'), add(file))
  assert.equal(parse('ssh', 'authorize', '--key', 'k'), add({ from: 'argument', key: 'k' }))
  assert.equal(parse('ssh', 'authorize', '--stdin'), add({ from: 'stdin' }))
  assert.equal(
    parse('ssh', 'authorize', '--file', 'k', '--file', 'l'),
    add(file, { from: 'file', path: 'l' }),
  )
  assert.equal(parse('ssh', 'authorize', '--list', '--sandbox', 'box'), {
    type: 'authorize',
    sandbox: 'box',
    action: { type: 'list' },
  })
  assert.equal(parse('ssh', 'authorize', '--revoke', 'a', '--revoke', 'b'), {
    type: 'authorize',
    sandbox: undefined,
    action: { type: 'revoke', keys: ['a', 'b'] },
  })
  const expires = (text: string): unknown => {
    const command = parse('ssh', 'authorize', '--stdin', '--expires', text)
    const isAdd = command.type === 'authorize' && command.action.type === 'add'
    return isAdd && command.action.type === 'add' ? command.action.expiresMs : command
  }
  assert.is(expires('30d'), 30 * 86_400_000)
  assert.is(expires('2w'), 14 * 86_400_000)
  assert.is(expires('8h'), 8 * 3_600_000)
  for (const wrong of ['0', 'soon', '1y', '-1d']) {
    usage(['ssh', 'authorize', '--stdin', '--expires', wrong], /such as 8h or 30d|than nothing/)
  }
  usage(['ssh', 'authorize'], /one of --file, --key, --stdin, --list and --revoke is required/)
  usage(['ssh', 'authorize', '--file', 'k', '--stdin'], /cannot be used with/)
  usage(['ssh', 'authorize', '--key', 'k', '--file', 'k'], /cannot be used with/)
  usage(['ssh', 'authorize', '--list', '--revoke', 'k'], /cannot be used with/)
  usage(['ssh', 'authorize', '--list', '--expires', '1d'], /cannot be used with/)
})

test('what is not a form is a usage error', () => {
  usage([], /Usage: msb/)
  usage(['frobnicate'], /too many arguments|unknown command/)
  usage(['ssh'], /missing required argument 'sandbox'/)
  usage(['ssh', 'box', 'ls'], /a remote command goes after --/)
  usage(['ssh', 'box', '--bogus'], /unknown option '--bogus'/)
  usage(['ssh', '--name', 'a', 'b'], /cannot be used with a sandbox argument/)
  usage(['ssh', '--name', 'a', 'serve', 'b'], /too many arguments/)
  usage(['ssh', '--user', 'a', 'authorize', '--stdin'], /unknown option|too many/)
})

test('a relay has an endpoint and a socket', () => {
  const relay = { type: 'relay', endpoint: 'vsock:3:1', socketPath: '/a.sock' }
  const args = ['ssh', 'relay', 'vsock:3:1']
  assert.equal(parse(...args, '--listen', '/a.sock'), { ...relay, budgetBytes: undefined })
  const budgetBytes = 2 * 1024 * 1024
  assert.equal(parse(...args, '--listen', '/a.sock', '--budget', '2'), { ...relay, budgetBytes })
  usage(args, /required option '--listen <path>' is missing/)
  usage([...args, '--listen', ''], /it is a path/)
  usage([...args, '--listen', '/a', '--budget', '0'], /a number from 1 to 1024/)
  usage([...args, '--listen', '/a', '--', 'x'], /takes no words after --/)
  usage(['ssh', 'relay', '--listen', '/a'], /missing required argument 'endpoint'/)
})

test('help, version and the tree are for stdout', () => {
  const printed = (...argv: string[]): string => {
    const command = parse(...argv)
    return command.type === 'print' ? command.text : `${command.type}, not print`
  }
  assert.is(printed('--version'), '1.2.3\n')
  assert.match(printed('ssh', '--help'), /Examples:\n {2}msb ssh devbox/)
  assert.match(printed('ssh', 'help'), /Usage: msb ssh/)
  assert.match(printed('ssh', 'help', 'serve'), /ProxyCommand/)
  for (const name of ['connect', 'serve', 'authorize', 'relay']) {
    assert.match(printed('ssh', name, '--help'), /Examples:/)
  }
  assert.match(printed('--tree'), /msb\n {2}ssh .*\n {4}connect .*\n {4}serve .*\n {4}authorize /)
})

test('logging switches go anywhere before --, the most talkative counts', () => {
  const level = (...argv: string[]): string => parseArguments(argv, { version: '', env }).logLevel
  assert.is(level('ssh', 'box'), 'info')
  assert.is(level('--debug', 'ssh', 'box'), 'debug')
  assert.is(level('ssh', 'box', '--warn', '--trace'), 'trace')
  assert.is(level('ssh', 'box', '--', '--debug'), 'info')
})

test('the version is that of the package', () => {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  assert.is(VERSION, manifest.version)
})

test.run()
