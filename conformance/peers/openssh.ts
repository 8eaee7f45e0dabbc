// OpenSSH as a peer: Debian's sshd on a free loopback port with keys and a configuration of its
// own, and the programs ssh, sftp, scp and rsync, which never see the user's `~/.ssh`.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { type Daemon, startDaemon } from './daemon.ts'
import { temporaryFolder } from './folder.ts'
import { output, type Ran, type RunOptions, run } from './run.ts'

/** A server that OpenSSH's programs, or a client of ours, can talk to. */
export interface Endpoint {
  readonly host: string
  readonly port: number
  readonly username: string
  /** The private key that may log in, as a file. */
  readonly identity: string
}

/** A running sshd. */
export interface Sshd extends Endpoint {
  readonly daemon: Daemon
  /** The public host key, as one line `ssh-ed25519 AAAA…`. */
  readonly hostKey: string
}

/** Creates an unencrypted Ed25519 key pair at `path` and `path.pub`. */
export async function generateKeyFile(path: string): Promise<string> {
  await output(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'conformance', '-f', path])
  return path
}

/** The Ed25519 host key of whatever serves SSH on a loopback port, as `ssh-ed25519 AAAA…`. */
export async function scanHostKey(port: number): Promise<string> {
  const { stdout } = await run(['ssh-keyscan', '-t', 'ed25519', '-p', `${port}`, '127.0.0.1'])
  const key = /ssh-ed25519 \S+/.exec(stdout.toString())?.[0]
  if (key === undefined) throw new Error(`no host key on port ${port}`)
  return key
}

/** A loopback port that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' ? (address?.port ?? 0) : 0))
    })
  })
}

/**
 * Starts sshd in the foreground; `configuration` is added to its own, and `lines` to its
 * authorized_keys. It must be root or serve the user it runs as.
 */
export async function startSshd(
  configuration: readonly string[] = [],
  lines: readonly string[] = [],
): Promise<Sshd> {
  const folder = temporaryFolder()
  const hostKeyPath = await generateKeyFile(join(folder, 'host_ed25519'))
  const identity = await generateKeyFile(join(folder, 'id_ed25519'))
  const authorizedKeys = join(folder, 'authorized_keys')
  writeFileSync(authorizedKeys, [readFileSync(`${identity}.pub`), ...lines].join(''))
  const all = [
    `HostKey ${hostKeyPath}`,
    `AuthorizedKeysFile ${authorizedKeys}`,
    'UsePAM no',
    'PermitRootLogin prohibit-password',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'Subsystem sftp internal-sftp',
    // Keeps bash from reading this machine's ~/.bashrc for every command, whatever may be in it.
    ...(configuration.some((line) => line.startsWith('SetEnv ')) ? [] : ['SetEnv SHLVL=1']),
    ...configuration,
  ]
  const { daemon, port } = await startSshdWith(all)
  const hostKey = readFileSync(`${hostKeyPath}.pub`, 'utf8').trim()
  return { host: '127.0.0.1', port, username: 'root', identity, daemon, hostKey }
}

/** Starts sshd with no other configuration than this and a free loopback port. */
export async function startSshdWith(
  configuration: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ readonly daemon: Daemon; readonly port: number }> {
  // Where sshd confines its unprivileged half; as a service, systemd makes it.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
  const configPath = join(temporaryFolder(), 'sshd_config')
  for (let attempt = 1; ; attempt++) {
    const port = await freePort()
    const lines = [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      'PidFile none',
      // The temporary folder's parent is writable by all.
      'StrictModes no',
      'MaxStartups 200',
      'MaxSessions 100',
      ...configuration,
    ]
    writeFileSync(configPath, `${lines.join('\n')}\n`)
    try {
      const command = ['/usr/sbin/sshd', '-D', '-e', '-f', configPath]
      return { port, ...(await startDaemon(command, /Server listening on/, env)) }
    } catch (error) {
      if (attempt === 5 || !/Address already in use/.test(String(error))) throw error
    }
  }
}

/** OpenSSH's client programs, set up for one endpoint that they know as the host `peer`. */
export class OpenSsh {
  /** Path of the ssh_config in use. */
  readonly config: string

  /** @param configuration Lines added to the ssh_config, before the defaults and so over them. */
  constructor(endpoint: Endpoint, configuration: readonly string[] = []) {
    const folder = temporaryFolder()
    this.config = join(folder, 'config')
    const lines = [
      'Host peer',
      ...configuration,
      `HostName ${endpoint.host}`,
      `Port ${endpoint.port}`,
      `User ${endpoint.username}`,
      `IdentityFile ${endpoint.identity}`,
      'IdentitiesOnly yes',
      'IdentityAgent none',
      'PreferredAuthentications publickey',
      'PasswordAuthentication no',
      `UserKnownHostsFile ${join(folder, 'known_hosts')}`,
      'GlobalKnownHostsFile /dev/null',
      'StrictHostKeyChecking accept-new',
      'BatchMode yes',
      'LogLevel ERROR',
      'ConnectTimeout 20',
    ]
    writeFileSync(this.config, `${lines.join('\n  ')}\n`)
  }

  /** The command line of `ssh OPTIONS peer COMMAND`. */
  command(options: readonly string[], command: readonly string[] = []): readonly string[] {
    return ['ssh', '-F', this.config, ...options, 'peer', ...command]
  }

  /** Runs a command on the peer. */
  ssh(command: string, options: RunOptions & { args?: readonly string[] } = {}): Promise<Ran> {
    return run(this.command(options.args ?? [], [command]), options)
  }

  /** Runs a command that must succeed, and gives its stdout as text. */
  text(command: string, options: RunOptions & { args?: readonly string[] } = {}): Promise<string> {
    return output(this.command(options.args ?? [], [command]), options)
  }

  /** Runs sftp's commands; the first that fails ends it. */
  sftp(commands: readonly string[]): Promise<Ran> {
    return run(['sftp', '-F', this.config, '-b', '-', 'peer'], {
      stdin: `${commands.join('\n')}\n`,
    })
  }

  /** Copies with scp; paths on the peer begin with `peer:`. */
  scp(args: readonly string[]): Promise<Ran> {
    return run(['scp', '-F', this.config, ...args])
  }

  /** Copies with rsync; paths on the peer begin with `peer:`. */
  rsync(args: readonly string[]): Promise<Ran> {
    return run(['rsync', '-e', `ssh -F ${this.config}`, ...args])
  }
}
