/** What a machine needs of the half of authentication that is its role's. */
import type { PublicKey } from '../keys/public-key.ts'
import type { Context } from './context.ts'
import type { MachineOptions } from './options.ts'

/** One side of authentication. */
export interface AuthHalf {
  /** Client: the service was granted. */
  start?(): void
  /** Whether a message with a number from 50 to 79 may come now. */
  permits(number: number): boolean
  receive(payload: Uint8Array): void
}

/** What a half has of its machine besides the context. */
export interface AuthSurroundings {
  /** Those of the peer that we know, as far as they came. */
  readonly extensions: ReadonlyMap<string, Uint8Array>
  /** Server: tells the client these signature algorithms. */
  readonly tellUserAlgorithms: (names: readonly string[]) => void
  /** The user is in. */
  readonly authenticated: (username: string, method: string, publicKey?: PublicKey) => void
}

/** Makes the half of a role. Each is in a module of its own: a page with a client needs no server. */
export type MakeAuth = (
  context: Context,
  options: MachineOptions,
  surroundings: AuthSurroundings,
) => AuthHalf
