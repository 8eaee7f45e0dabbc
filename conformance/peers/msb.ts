// Our own side of a conformance test: `msb ssh serve` for a sandbox on this machine, with a home
// folder of its own.

import { join } from 'node:path'
import { msbPath } from '../../scripts/programs.ts'
import { type Daemon, startDaemon } from './daemon.ts'
import { temporaryFolder } from './folder.ts'
import { type Endpoint, generateKeyFile, scanHostKey } from './openssh.ts'
import { output } from './run.ts'

/** A served sandbox. */
export interface Msb extends Endpoint {
  readonly daemon: Daemon
  /** The public host key, as one line `ssh-ed25519 AAAA…`. */
  readonly hostKey: string
  /** `MSB_HOME` of this server. */
  readonly home: string
  /** The sandbox's name as given to `msb ssh`. */
  readonly sandbox: string
  /** The command line of `msb ARGUMENTS`, to be run with `MSB_HOME` set to `home`. */
  command(args: readonly string[]): readonly string[]
}

/** The command line of `msb ssh ARGUMENTS`. */
export function msbCommand(args: readonly string[]): readonly string[] {
  return [process.execPath, msbPath, 'ssh', ...args]
}

/** Authorizes a fresh key and serves a sandbox on a free loopback port. */
export async function startMsb(
  sandbox = 'local:conformance',
  home: string = temporaryFolder(),
): Promise<Msb> {
  const identity = await generateKeyFile(join(home, 'id_ed25519'))
  const command = (args: readonly string[]): readonly string[] => [
    process.execPath,
    msbPath,
    ...args,
  ]
  const env = { MSB_HOME: home }
  await output(command(['ssh', 'authorize', '--file', `${identity}.pub`]), { env })
  const serve = command(['ssh', 'serve', sandbox, '--host', '127.0.0.1', '--port', '0'])
  const { daemon, match } = await startDaemon(serve, /SSH listening\s+127\.0\.0\.1:(\d+)/, env)
  const port = Number(match[1])
  const endpoint = { host: '127.0.0.1', port, username: 'root', identity }
  return { ...endpoint, hostKey: await scanHostKey(port), daemon, home, sandbox, command }
}
