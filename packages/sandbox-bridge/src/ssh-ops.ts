/** `sandbox(…).ssh()`: makes clients into a sandbox and servers in front of it. */
import { SshClientBuilder } from './client-builder.ts'
import type { Sandbox } from './sandbox.ts'
import type { SshServerOptions } from './server/options.ts'
import { prepareServer } from './server/prepare.ts'
import { SshClient, type SshClientOptions } from './ssh-client.ts'
import type { SshServer } from './ssh-server.ts'

/**
 * SSH for one sandbox, with the names of microsandbox's SDK.
 *
 * @example
 * import { generateKey } from '@sandbox-ssh/protocol'
 * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * const ssh = sandbox('local:devbox').ssh()
 * const client = await ssh.openClient({ user: 'root' })
 * console.log((await client.exec('id -un')).stdout.toString().trim()) // root
 * await client.close()
 *
 * const server = await ssh.prepareServer({ authorizedKeys: [generateKey('ed25519').publicKey] })
 * console.log(server.connectionCount) // 0
 * await server.close()
 */
export class SandboxSshOps {
  readonly #sandbox: Sandbox

  /** Use `Sandbox.ssh`. */
  constructor(sandbox: Sandbox) {
    this.#sandbox = sandbox
  }

  /**
   * Opens a client: SSH within this process, with keys made for it and nothing on disk.
   * @throws SandboxError, AgentError if the sandbox cannot be reached; TypeError, RangeError for a
   * bad option
   */
  openClient(options: SshClientOptions = {}): Promise<SshClient> {
    return SshClient.open(this.#sandbox, options)
  }

  /**
   * The same under the name of microsandbox's other SDKs.
   *
   * @example
   * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
   *
   * const ssh = sandbox('local:devbox').ssh()
   * await using client = await ssh.connect()
   * await using other = await ssh.open_client()
   * console.log((await client.exec('exit 1')).status, (await other.exec('exit 2')).status) // 1 2
   */
  connect(options: SshClientOptions = {}): Promise<SshClient> {
    return this.openClient(options)
  }

  /** The same with options that a function says on a builder. */
  connectWith(configure: (builder: SshClientBuilder) => unknown): Promise<SshClient> {
    const builder = new SshClientBuilder()
    configure(builder)
    return this.openClient(builder.options)
  }

  /** The same under the name that some of microsandbox's samples use. */
  open_client(options: SshClientOptions = {}): Promise<SshClient> {
    return this.openClient(options)
  }

  /**
   * Prepares a server for clients from outside: loads or makes the host key and checks that
   * somebody is authorized.
   * @throws SandboxError for keys that cannot be used; TypeError, RangeError for a bad option
   */
  prepareServer(options: SshServerOptions = {}): Promise<SshServer> {
    return prepareServer(this.#sandbox, options)
  }
}
