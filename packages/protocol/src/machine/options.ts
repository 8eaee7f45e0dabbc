/** What a machine is made with. */
import type { Algorithms } from '../algorithms/spec.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import type { PublicKey } from '../keys/public-key.ts'
import type { RekeyLimits } from '../transport/key-exchange.ts'

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
  /** Server: text shown before authentication. */
  readonly banner?: string
  /** Server: failures before the client is sent away. */
  readonly authFailuresMax?: number
  /** Refuse peers without strict key exchange. */
  readonly requireStrictKex?: boolean
  readonly rekey?: RekeyLimits
  /** From construction to the end of authentication, milliseconds. */
  readonly handshakeMs?: number
  /** Window we grant on each channel. */
  readonly windowBytes?: number
  readonly channelsMax?: number
  /** Receives one line a message: names and sizes, no contents. */
  readonly trace?: (line: string) => void
}
