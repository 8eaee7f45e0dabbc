/** `sandbox(…).ssh()`: makes clients into a sandbox and servers in front of it. */
import type { Sandbox } from './sandbox.ts'
import type { SshServerOptions } from './server/options.ts'
import { prepareServer } from './server/prepare.ts'
import { SshClient, type SshClientOptions } from './ssh-client.ts'
import type { SshServer } from './ssh-server.ts'

/** SSH for one sandbox, with the names of microsandbox's SDK. */
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
