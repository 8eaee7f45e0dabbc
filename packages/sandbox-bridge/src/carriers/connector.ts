/** From a sandbox argument to connections into it, whatever kind it is. */
import { join } from 'node:path'
import type { Transport } from '@sandbox-ssh/protocol'
import type { Home } from '../home/home.ts'
import { formatSandboxTarget, type SandboxTarget } from '../home/names.ts'
import { nameHash } from '../home/sockets.ts'
import { dialLocal } from '../local/connect.ts'
import { localLayout } from '../local/layout.ts'
import { dialCommand } from './command.ts'
import { dialNamed, type RunOptions, runNamed, type SandboxRun } from './named.ts'
import { consoleAt } from './shared-console.ts'
import { type DialOptions, dialUnix } from './unix.ts'
import { dialVsock, dialVsockUnix } from './vsock.ts'
import { dialWebSocket } from './web-socket.ts'

/** A way into one sandbox. */
export interface SandboxConnector {
  readonly target: SandboxTarget
  /** The argument as the user would write it, for messages. */
  readonly label: string
  /** Where the sandbox's host key is kept. */
  readonly hostKeyPath: string
  /**
   * A new connection to the sandbox's relay, its handshake not yet read. An embedded sandbox is
   * started if need be, and runs as long as any connection is open.
   * @throws SandboxError
   */
  dial(options?: DialOptions): Promise<Transport>
  /** Makes sure it runs, and may stop it again; absent where there is nothing to be done. */
  readonly run?: ((options?: RunOptions) => Promise<SandboxRun>) | undefined
}

/** What a connector needs to know. */
export interface ConnectorOptions {
  readonly home: Home
  /** Told at most once, one sentence, such as that an embedded sandbox is not isolated. */
  readonly onWarning?: ((message: string) => void) | undefined
}

/** Makes the connector; nothing is looked up or started yet. */
export function openConnector(target: SandboxTarget, options: ConnectorOptions): SandboxConnector {
  const { home } = options
  const label = formatSandboxTarget(target)
  const endpoint = (dial: SandboxConnector['dial']): SandboxConnector => ({
    target,
    label,
    hostKeyPath: join(home.sshPath, 'hosts', nameHash(label, 12), 'host_ed25519'),
    dial,
  })
  switch (target.kind) {
    case 'name':
      return {
        target,
        label,
        hostKeyPath: join(home.sandboxesPath, target.name, 'ssh', 'host_ed25519'),
        dial: (dialOptions) => dialNamed(home, target.name, dialOptions),
        run: (runOptions) => runNamed(home, target.name, runOptions),
      }
    case 'unix':
      return {
        target,
        label,
        hostKeyPath: join(home.sshPath, 'hosts', nameHash(target.path, 12), 'host_ed25519'),
        dial: (dialOptions) => dialUnix(target.path, dialOptions),
      }
    case 'virtio-serial': {
      const { path, booted } = target
      return endpoint((dialOptions) => consoleAt(home, path, booted).dial(dialOptions))
    }
    case 'vsock-unix':
      return endpoint((dialOptions) => dialVsockUnix(target.path, target.port, dialOptions))
    case 'vsock':
      return endpoint((dialOptions) => dialVsock(target.cid, target.port, dialOptions))
    case 'stdio':
      return endpoint((dialOptions) => dialCommand(target.command, dialOptions))
    case 'ws':
      return endpoint((dialOptions) => dialWebSocket(target.url, dialOptions))
    case 'local': {
      let warned = false
      return {
        target,
        label,
        hostKeyPath: localLayout(home, target.name, target.network).hostKeyPath,
        dial: async (dialOptions) => {
          const { transport, state } = await dialLocal(
            home,
            target.name,
            target.network,
            dialOptions,
          )
          if (state.warning !== undefined && !warned) options.onWarning?.(state.warning)
          warned = true
          return transport
        },
      }
    }
  }
}
