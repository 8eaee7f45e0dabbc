/** Options of a client, said one by one. */
import type { SshClientOptions } from './ssh-client.ts'

/**
 * What `SandboxSshOps.connectWith` hands out; each method returns the builder.
 *
 * @example
 * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * const client = await sandbox('local:devbox').ssh().connectWith((b) => b.user('root').sftp(false))
 * await client.close()
 */
export class SshClientBuilder {
  #options: SshClientOptions = {}

  /** What has been said so far. */
  get options(): SshClientOptions {
    return this.#options
  }

  /** Guest user. */
  user(user: string): this {
    return this.#set({ user })
  }

  /**
   * TERM of terminals.
   *
   * @example
   * import { sandbox } from '@sandbox-ssh/sandbox-bridge'
   *
   * const client = await sandbox('local:devbox')
   *   .ssh()
   *   .connectWith((builder) =>
   *     builder.term('vt100').inactivityTimeoutSecs(600).signal(AbortSignal.timeout(60_000)),
   *   )
   * const terminal = await client.exec('echo $TERM', { tty: true })
   * console.log(terminal.stdout.toString().trim()) // vt100
   * await client.close()
   */
  term(term: string): this {
    return this.#set({ term })
  }

  /** Whether to offer SFTP. */
  sftp(offered: boolean): this {
    return this.#set({ sftp: offered })
  }

  /** Seconds without a byte either way after which the connection ends; 0: never. */
  inactivityTimeoutSecs(seconds: number): this {
    return this.#set({ inactivityTimeoutSecs: seconds })
  }

  /** Ends the attempt to connect. */
  signal(signal: AbortSignal): this {
    return this.#set({ signal })
  }

  #set(options: SshClientOptions): this {
    this.#options = { ...this.#options, ...options }
    return this
  }
}
