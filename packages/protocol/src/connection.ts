/** What can be done with a connection in either role. */
import type { Channel } from './channel.ts'
import type { SshError } from './errors.ts'
import { CONNECTION_CHANNEL } from './join.ts'
import type { Link } from './link.ts'
import type { Negotiated } from './machine/event.ts'
import type { WaitOptions } from './wait.ts'

/**
 * A connection whose user is in: what `Client` and `ServerConnection` have in common.
 *
 * @example
 * import type { Connection } from '@sandbox-ssh/protocol'
 *
 * // Knows no role: good for a pool, a monitor, a log.
 * const renewKeys = async (connection: Connection) => {
 *   const { kex } = connection.negotiated
 *   connection.rekey()
 *   return { kex, answers: (await connection.ping()) < 10_000 }
 * }
 * console.log(await renewKeys(client)) // { kex: 'mlkem768x25519-sha256', answers: true }
 *
 * const all: Connection[] = [client]
 * for (const connection of all) await connection.close()
 * console.log(await client.closed) // undefined
 */
export abstract class Connection {
  readonly #link: Link

  /** Internal: made by the roles. */
  constructor(link: Link) {
    this.#link = link
  }

  /** What is in force now. */
  get negotiated(): Negotiated {
    return this.#link.negotiated
  }

  /** Resolves once the connection is gone, with what ended it unless that was `close`. */
  get closed(): Promise<SshError | undefined> {
    return this.#link.ended
  }

  /** Opens a channel of any type to the peer. It closes itself once both sides ended. */
  openChannel(
    type: string,
    typeSpecific?: Uint8Array,
    { signal }: WaitOptions = {},
  ): Promise<Channel> {
    return this.#link.openChannel(type, typeSpecific, { ...CONNECTION_CHANNEL, signal })
  }

  /**
   * A global request with a reply. Rejects with SshError `SSH_REQUEST_REFUSED` on failure.
   *
   * @example
   * // Whoever does not know a request refuses it; that, too, is a sign of life.
   * const answer = await client
   *   .globalRequest('made-up@example.com')
   *   .catch((error) => error.code)
   * console.log(answer) // SSH_REQUEST_REFUSED
   */
  globalRequest(
    name: string,
    data?: Uint8Array,
    { signal }: WaitOptions = {},
  ): Promise<Uint8Array> {
    return this.#link.globalRequest(name, data, { signal })
  }

  /**
   * Round trip to the peer in milliseconds: of a `ping@openssh.com` where the peer offers it, else
   * of a global request.
   */
  ping(options: WaitOptions = {}): Promise<number> {
    return this.#link.ping(options)
  }

  /** Starts a key exchange. Data waits meanwhile, nothing is lost. */
  rekey(): void {
    this.#link.machine.rekey()
    this.#link.wake()
  }

  /** Says goodbye and ends the connection; resolves once the transport was let go. */
  abstract close(): Promise<void>

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
