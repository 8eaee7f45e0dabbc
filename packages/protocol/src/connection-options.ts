/** What client and server are told alike, and what the machine of either is made of. */
import { inProcessAlgorithms } from './algorithms/in-process.ts'
import type { Algorithms } from './algorithms/spec.ts'
import type { CryptoProvider } from './crypto/provider.ts'
import type { ConnectionLimits, Keepalive } from './link.ts'
import type { Deadlines, MachineOptions } from './machine/options.ts'
import { nowMs } from './pump.ts'
import { SOFTWARE_VERSION } from './software-version.ts'
import type { RekeyLimits } from './transport/key-exchange.ts'

/** The options of `connect` and `serve` that mean the same for both. */
export interface ConnectionOptions {
  /** Default: `defaultCrypto()`. */
  readonly crypto?: CryptoProvider
  /** Gets the sound algorithms in the order that is fast here; returns what to use. */
  readonly algorithms?: (modern: Algorithms) => Algorithms
  /** Ends the handshake; afterwards it means nothing. */
  readonly signal?: AbortSignal
  /** Limit for everything up to the end of authentication; a client's own decisions are not counted. */
  readonly handshakeMs?: number
  /** Default: none; a connection that goes silent is not noticed. */
  readonly keepalive?: Keepalive
  readonly rekey?: RekeyLimits
  readonly limits?: ConnectionLimits
  /** How long each phase may take. */
  readonly deadlines?: Deadlines
  /** Refuse peers without strict key exchange (the answer to the Terrapin attack). */
  readonly requireStrictKex?: boolean
  /**
   * Neither cipher nor MAC, over an end of a `memoryPair` and nothing else: between two ends in
   * one process encryption protects nobody. Both must ask for it. `algorithms` is then not used.
   */
  readonly inProcess?: true
  /**
   * Hears, line by line, what passes: names and sizes of messages, lists of algorithms, types of
   * requests. No secrets, user names, commands or data. For finding faults.
   */
  readonly trace?: (line: string) => void
}

/** Those of a machine's options that come from these. `preferred` is what it offers by default;
 * `inProcess` is what became of the option of that name. */
export function machineOptions(
  options: ConnectionOptions,
  crypto: CryptoProvider,
  preferred: Algorithms,
  inProcess: boolean,
): Omit<MachineOptions, 'role'> {
  return {
    crypto,
    algorithms: inProcess
      ? inProcessAlgorithms(preferred)
      : encrypting(options.algorithms?.(preferred) ?? preferred),
    softwareVersion: SOFTWARE_VERSION,
    nowMs: nowMs(),
    ...(options.handshakeMs && { handshakeMs: options.handshakeMs }),
    ...(options.rekey && { rekey: options.rekey }),
    ...(options.requireStrictKex && { requireStrictKex: true }),
    ...options.limits,
    ...(options.deadlines && { deadlines: options.deadlines }),
    ...(options.trace && { trace: options.trace }),
  }
}

/** Whatever somebody puts into the lists, `none` is not negotiated with a peer. Throws TypeError. */
function encrypting(algorithms: Algorithms): Algorithms {
  const { ciphers, macs } = algorithms
  if ([...ciphers, ...macs].some(({ name }) => name === 'none')) {
    throw new TypeError('algorithms: none is no cipher and no MAC')
  }
  return algorithms
}
