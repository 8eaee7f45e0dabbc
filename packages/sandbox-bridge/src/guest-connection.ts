/** One SSH connection's way into a sandbox: a connection to the agent, made when first needed. */
import { errnoError } from '@sandbox-ssh/sftp'
import type { AgentClient } from './agent/client.ts'
import { type GuestUser, resolveUser } from './guest-user.ts'
import type { SessionSettings } from './settings.ts'

/**
 * Handles open at once on one agent connection. microsandbox's agent allows 1024 to a client, but
 * its own limit of open files, which programs need as well, is met at 1010.
 */
const HANDLES_MAX = 960

/**
 * Each SSH connection dials its own, so that one that stalls holds up no stranger, and its end
 * takes with it what the agent holds for it. A sandbox that was restarted is dialled again by the
 * next session. Nothing is dialled before a user is in: relays have few places.
 *
 * @example
 * import { GuestConnection, sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * const guest = new GuestConnection(() => sandbox('local:devbox').connectAgent())
 * // Dialled when it is first asked for.
 * const agent = await guest.agent()
 * console.log(agent.generation) // …
 * await guest.close()
 */
export class GuestConnection {
  readonly settings: SessionSettings
  readonly #dial: () => Promise<AgentClient>
  #agent: Promise<AgentClient> | undefined
  #users = new Map<string, Promise<GuestUser>>()
  #closed: Promise<void> | undefined
  readonly #busy = new Set<Promise<void>>()
  /** Of the present agent connection; files of a former one still count on theirs. */
  #handles = { open: 0 }

  constructor(dial: () => Promise<AgentClient>, settings: SessionSettings = {}) {
    this.#dial = dial
    this.settings = settings
  }

  /**
   * The agent connection, a living one.
   * @throws SandboxError, AgentError if the sandbox cannot be reached
   */
  agent(): Promise<AgentClient> {
    if (this.#closed !== undefined) return Promise.reject(new Error('the connection is closed'))
    this.#agent ??= this.#connect()
    return this.#agent
  }

  /**
   * The guest's user of that login, as `USER[:GROUP]`, names or numbers.
   * @throws GuestUserError if there is none, or as `agent`
   */
  async user(login: string): Promise<GuestUser> {
    const agent = await this.agent()
    let user = this.#users.get(login)
    if (user === undefined) {
      user = resolveUser(agent, login, this.settings)
      this.#users.set(login, user)
      // A failure may have been the carrier's: the next session asks again.
      user.catch(() => this.#users.delete(login))
    }
    return user
  }

  /** Internal: keeps the agent connection open until `work` settles, even beyond `close`. */
  hold(work: Promise<void>): void {
    const held = work.catch(() => {}).finally(() => this.#busy.delete(held))
    this.#busy.add(held)
  }

  /** Internal: counts an open file or directory; what it returns gives it back. @throws SftpError EMFILE */
  takeHandle(): () => void {
    const handles = this.#handles
    if (handles.open >= HANDLES_MAX) throw errnoError('EMFILE')
    handles.open++
    return () => {
      handles.open--
    }
  }

  /** Ends the agent connection once programs that were told to end have had their time. */
  close(): Promise<void> {
    this.#closed ??= this.#end()
    return this.#closed
  }

  async #end(): Promise<void> {
    const connecting = this.#agent
    while (this.#busy.size > 0) await Promise.all(this.#busy)
    const agent = await connecting?.catch(() => undefined)
    await agent?.close()
  }

  async #connect(): Promise<AgentClient> {
    const connecting = this.#dial()
    // Forgotten as soon as it is of no use, so that the next session dials anew.
    const forget = (): void => {
      this.#agent = undefined
      this.#users = new Map()
      this.#handles = { open: 0 }
    }
    try {
      const agent = await connecting
      void agent.closed.then(forget)
      return agent
    } catch (error) {
      forget()
      throw error
    }
  }
}
