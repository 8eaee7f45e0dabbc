/**
 * How long a server takes to refuse, so that the time does not tell whether a user exists or how far
 * a check came: always a fixed time, or twice that, four times, … if the check took longer, and a
 * little more that depends on the user name and is the same for it each time.
 */
import type { CryptoProvider } from './crypto/provider.ts'

/** What a refusal takes at least. */
const LEAST_MS = 5
/** Part of `LEAST_MS` that depends on the name; as in OpenSSH. */
const SPREAD = 0.85

/** Unknown to clients, and the same for all connections, so that nobody can average it away. */
let secret: Uint8Array | undefined

/** When, in milliseconds after the request, a refusal is told that was decided after `elapsedMs`. */
export function refusalMs(crypto: CryptoProvider, username: string, elapsedMs: number): number {
  secret ??= crypto.random(32)
  const [a = 0, b = 0] = crypto.hash('sha256', secret, new TextEncoder().encode(username))
  const ownMs = ((a * 256 + b) / 65_536) * LEAST_MS * SPREAD
  let ms = LEAST_MS + ownMs
  while (ms < elapsedMs) ms *= 2
  return ms
}

/** Resolves when it is time to tell a refusal of a request that came at `startMs`. */
export function refusalTime(
  crypto: CryptoProvider,
  username: string,
  startMs: number,
): Promise<void> {
  const elapsedMs = performance.now() - startMs
  const ms = refusalMs(crypto, username, elapsedMs) - elapsedMs
  return new Promise((resolve) => setTimeout(resolve, ms))
}
