/** A connection's time in the sandbox that its login led to: from the first need of it to the end. */
import { ChannelOpenError, OPEN_FAILURE, type SessionHandler } from '@sandbox-ssh/protocol'
import { GuestConnection } from '../guest-connection.ts'
import { type GuestPolicy, guestHandlers } from '../serve-guest.ts'
import type { Stay } from './site.ts'
import { refuse, type Visit } from './visit.ts'

type Handlers = ReturnType<typeof guestHandlers>

/** Nothing is dialled, and no place taken, before somebody is in. */
export class Sojourn {
  readonly #visit: Visit
  readonly #policy: Omit<GuestPolicy, 'user'>
  #stay: Stay | undefined
  #guest: GuestConnection | undefined
  #handlers: Handlers | undefined
  #full: string | undefined

  /** `policy` is that of the server, whatever the login. */
  constructor(visit: Visit, policy: Omit<GuestPolicy, 'user'>) {
    this.#visit = visit
    this.#policy = policy
  }

  /** Takes a place in the sandbox; what comes back says why there is none. */
  begin(): string | undefined {
    if (this.#handlers !== undefined) return this.#full
    const { place } = this.#visit
    const stay = place.enter()
    if (stay === undefined) {
      this.#full = `${place.name} has as many connections as it may have`
      this.#handlers = refusing(this.#full)
      return this.#full
    }
    this.#stay = stay
    const { sftp, readOnlySftp, acceptEnv, permitOpen, peer, onError } = this.#policy
    const { user } = place
    this.#guest = new GuestConnection(() => stay.connect(), place.sandbox.settings)
    this.#handlers = guestHandlers(this.#guest, {
      ...{ user, sftp, readOnlySftp, acceptEnv, permitOpen, peer, onError },
    })
    return undefined
  }

  /** What becomes of requests; a client may be quicker with them than `begin` is. */
  get handlers(): Handlers {
    this.begin()
    // `begin` sets them in any case.
    return this.#handlers ?? refusing('')
  }

  /** Leaves; also if nobody ever got in. */
  async end(): Promise<void> {
    try {
      await this.#guest?.close()
    } finally {
      this.#stay?.leave()
    }
  }
}

function refusing(reason: string): Handlers {
  const session: SessionHandler = (asked) => refuse(asked, reason)
  const forward = (): never => {
    throw new ChannelOpenError(OPEN_FAILURE.RESOURCE_SHORTAGE, reason)
  }
  return {
    exec: session,
    shell: session,
    subsystems: { sftp: session },
    directTcpip: forward,
    directStreamlocal: forward,
    tcpipForward: forward,
    streamlocalForward: forward,
  }
}
