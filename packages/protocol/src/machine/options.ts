/** What a machine is made with. */
import type { Algorithms } from '../algorithms/spec.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import type { PublicKey } from '../keys/public-key.ts'
import type { RekeyLimits } from '../transport/key-exchange.ts'

/**
 * How long each phase may take at most, in milliseconds, our own side's thinking not counted by a
 * client. What is overdue ends with SshError `SSH_TIMEOUT`, which names the phase. The first three
 * end the connection, and `handshakeMs` bounds them together; the others end only what was asked.
 */
export interface Deadlines {
  /** From the start to the peer's identification line. Default 60,000. */
  readonly identificationMs?: number
  /** Each key exchange, the first and later ones. Default 60,000. */
  readonly keyExchangeMs?: number
  /** From the first key exchange to the end of authentication. Default 120,000. */
  readonly authenticationMs?: number
  /** From asking for a channel to the answer. Default 120,000. */
  readonly channelOpenMs?: number
  /** From a request on a channel, or a global one, to the answer. Default 120,000. */
  readonly replyMs?: number
}

/** Role, algorithms and limits of one connection. */
export interface MachineOptions {
  readonly role: 'client' | 'server'
  readonly crypto: CryptoProvider
  readonly algorithms: Algorithms
  /** Name and version in our identification, such as `sandbox-ssh_0.1.0`. */
  readonly softwareVersion: string
  /** The time now, milliseconds on any monotonic clock; `advance` tells it from then on. */
  readonly nowMs: number
  /** Client: whom to authenticate as. */
  readonly username?: string
  /** Server: public halves of the keys that `sign` questions will be answered with. */
  readonly hostKeys?: readonly PublicKey[]
  /** Server: methods told to clients; only those that can succeed. */
  readonly authMethods?: readonly string[]
  /**
   * Server: names of the signature algorithms taken from a user, a part of `algorithms.userKeys`;
   * undefined stands for all. Must not throw.
   */
  readonly userAlgorithms?: (username: string) => readonly string[] | undefined
  /** Server: text shown before authentication. */
  readonly banner?: string
  /** Server: failures before the client is sent away. */
  readonly authFailuresMax?: number
  /** Refuse peers without strict key exchange. */
  readonly requireStrictKex?: boolean
  readonly rekey?: RekeyLimits
  /** From construction to the end of authentication, milliseconds. */
  readonly handshakeMs?: number
  /** Those of the phases within it. */
  readonly deadlines?: Pick<Deadlines, 'identificationMs' | 'keyExchangeMs' | 'authenticationMs'>
  /** Window we grant on each channel. */
  readonly windowBytes?: number
  readonly channelsMax?: number
  /** Receives one line a message: names and sizes, no contents. */
  readonly trace?: (line: string) => void
}
