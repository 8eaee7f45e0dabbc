/** The best provider of this runtime: native primitives laid over the portable ones. */
import { nobleCrypto } from './noble.ts'
import type { CryptoProvider } from './provider.ts'

/** See `defaultCrypto`; probes afresh. */
export function nativeCrypto(): CryptoProvider {
  return nobleCrypto
}

let memoised: CryptoProvider | undefined

/** What is used where no provider is named: `nativeCrypto()`, probed once. */
export function defaultCrypto(): CryptoProvider {
  memoised ??= nativeCrypto()
  return memoised
}
