/** Taking connections from a listener: how many at once, and from whom. */
import type { IncomingConnection, SshError, Transport } from '@sandbox-ssh/protocol'
import type { PeerAddresses } from '../environment.ts'
import { type Offence, SourcePenalties } from './penalties.ts'

/** Connections at once unless told otherwise. */
const CONNECTIONS_MAX = 128
/**
 * Connections on which nobody has logged in yet, at once: further ones are refused, so that
 * strangers cannot take all the places. OpenSSH's MaxStartups begins to refuse at 10.
 */
const UNAUTHENTICATED_MAX = 100
/** Time to send a last word to somebody who is turned away. */
const GOODBYE_MS = 1000

/** Limits of `SshServer.serve`. */
export interface ServeOptions {
  /** Connections at once; default 128. */
  readonly connectionsMax?: number | undefined
  /** Connections at once on which nobody has logged in yet; default 100. */
  readonly unauthenticatedMax?: number | undefined
  /** Turn away for a while who keeps failing to get in; default true. */
  readonly penalties?: boolean | undefined
}

/** A connection with both its addresses, where they are known. */
export interface AcceptedConnection extends IncomingConnection {
  readonly peer?: PeerAddresses | undefined
}

/** Why nobody got in. */
export interface Failure {
  readonly code: SshError['code']
  readonly wasRefused: boolean
}

/** What is done with connections. */
export interface Acceptor {
  turnAway(from: string, reason: string): void
  /** Resolves at the connection's end, with why nobody got in if so; never rejects. */
  serve(connection: AcceptedConnection, onLogin: () => void): Promise<Failure | undefined>
}

/** Accepts until the listener ends. */
export async function acceptAll(
  listener: { accept(): Promise<AcceptedConnection | undefined> },
  options: ServeOptions,
  acceptor: Acceptor,
): Promise<void> {
  const { connectionsMax = CONNECTIONS_MAX, unauthenticatedMax = UNAUTHENTICATED_MAX } = options
  const penalties = options.penalties === false ? undefined : new SourcePenalties()
  let open = 0
  let unauthenticated = 0

  const reasonAgainst = (address: string): string | undefined => {
    const penaltyMs = penalties?.remainingMs(address) ?? 0
    if (penaltyMs > 0) {
      return `too many failed logins from there, ${Math.ceil(penaltyMs / 1000)} s to wait`
    }
    if (open >= connectionsMax) return `${open} connections open`
    if (unauthenticated < unauthenticatedMax) return undefined
    return `${unauthenticated} connections are still logging in`
  }

  const serve = async (connection: AcceptedConnection): Promise<void> => {
    open++
    unauthenticated++
    let loggedIn = false
    const failure = await acceptor.serve(connection, () => {
      loggedIn = true
      unauthenticated--
    })
    open--
    if (!loggedIn) unauthenticated--
    const offence = failure === undefined ? undefined : offenceOf(failure)
    if (offence !== undefined) penalties?.punish(connection.originatorHost, offence)
  }

  for (let next = await listener.accept(); next !== undefined; next = await listener.accept()) {
    const { originatorHost, originatorPort, transport } = next
    const reason = reasonAgainst(originatorHost)
    if (reason === undefined) {
      void serve(next)
      continue
    }
    const host = originatorHost.includes(':') ? `[${originatorHost}]` : originatorHost
    acceptor.turnAway(originatorHost === '' ? 'a client' : `${host}:${originatorPort}`, reason)
    void sayNo(transport)
  }
}

function offenceOf({ code, wasRefused }: Failure): Offence | undefined {
  if (wasRefused) return 'refused'
  if (code === 'SSH_TIMEOUT') return 'timeout'
  // We ended it ourselves.
  return code === 'SSH_ABORTED' ? undefined : 'idle'
}

/** A line before the identification, RFC 4253 §4.2, which clients show when asked to tell more. */
async function sayNo(transport: Transport): Promise<void> {
  const timer = setTimeout(() => transport.abort(), GOODBYE_MS)
  try {
    await transport.write(new TextEncoder().encode('Not allowed at this time\r\n'))
    await transport.close()
  } catch {
    // It has gone.
  }
  clearTimeout(timer)
  transport.abort()
}
