/** TCP connections made from inside the guest: `ssh -L`, `-D`, `-W`, `-J`. */
import { ChannelOpenError, OPEN_FAILURE, type Transport } from '@sandbox-ssh/protocol'
import { AgentError } from './agent/error.ts'
import type { GuestConnection } from './guest-connection.ts'

/** Linux errors that mean "too many": ENFILE, EMFILE, EAGAIN, ENOMEM, ENOBUFS, EADDRNOTAVAIL. */
const SHORTAGES: ReadonlySet<number> = new Set([11, 12, 23, 24, 99, 105])

/** What may be connected to, and who hears what becomes of it. */
export interface ForwardPolicy {
  /** Default: anything. */
  readonly permit?: ((host: string, port: number) => boolean) | undefined
  /** Hears that a connection was given up because its client did not read. */
  readonly onError?: ((error: unknown) => void) | undefined
}

/**
 * Connects from inside the guest, where `127.0.0.1` is the guest. Nothing else waits meanwhile:
 * the agent allows a connect 30 seconds.
 * @throws ChannelOpenError with the reason that RFC 4254 §5.1 has for it, and the text
 */
export async function openForward(
  guest: GuestConnection,
  host: string,
  port: number,
  { permit, onError }: ForwardPolicy = {},
): Promise<Transport> {
  if (host === '' || host.includes('\0')) refuse('there is no host to connect to')
  if (!Number.isInteger(port) || port < 1 || port > 65535) refuse(`there is no port ${port}`)
  if (permit?.(host, port) === false) refuse('this destination is not permitted')
  try {
    const agent = await guest.agent()
    return await agent.tcpConnect(host, port, { onOverflow: onError })
  } catch (error) {
    throw openError(error)
  }
}

/** @throws ChannelOpenError always: it is not allowed, or not possible here */
export function refuse(text: string): never {
  throw new ChannelOpenError(OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED, text)
}

/** What an SSH client is told when the agent could not. */
export function openError(error: unknown): ChannelOpenError {
  if (!(error instanceof AgentError)) {
    const text = error instanceof Error ? error.message : 'connect failed'
    return new ChannelOpenError(OPEN_FAILURE.CONNECT_FAILED, text)
  }
  const { message, kind, errno } = error
  if (kind === 'unsupported') {
    return new ChannelOpenError(OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED, message)
  }
  const short = kind === 'limit' || (errno !== undefined && SHORTAGES.has(errno))
  const reason = short ? OPEN_FAILURE.RESOURCE_SHORTAGE : OPEN_FAILURE.CONNECT_FAILED
  return new ChannelOpenError(reason, message.replace(/ \(os error \d+\)$/, ''))
}
