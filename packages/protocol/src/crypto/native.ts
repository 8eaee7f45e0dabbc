/**
 * The best provider of this runtime: native primitives laid over the portable ones. Each is taken
 * only if `node:crypto` can be had without importing it (so that bundles for browsers stay clean)
 * and the primitive gives a known answer: runtimes differ in what they emulate, and probing tells
 * more than a version number.
 */

import { nobleCrypto } from './noble.ts'
import type { NodeCrypto } from './node-crypto.ts'
import { curveOverrides } from './node-curves.ts'
import { finiteFieldOverrides } from './node-finite-fields.ts'
import { symmetricOverrides } from './node-symmetric.ts'
import type { CryptoProvider, Primitive } from './provider.ts'

/**
 * Probes afresh and gives a new provider; see `defaultCrypto` for the shared one.
 *
 * @example
 * import { nativeCrypto } from '@sandbox-ssh/protocol'
 *
 * const { fast, hash } = nativeCrypto()
 * console.log(fast.has('aes-gcm'), hash('sha256', new Uint8Array()).length) // true 32
 */
export function nativeCrypto(): CryptoProvider {
  const node = nodeCrypto()
  if (node === undefined) return nobleCrypto
  const fast = new Set<Primitive>()
  const overrides: Partial<CryptoProvider> = {}
  const candidates = [
    ...symmetricOverrides(node),
    ...curveOverrides(node),
    ...finiteFieldOverrides(node),
  ]
  for (const { primitive, override, works } of candidates) {
    try {
      if (!works()) continue
    } catch {
      // A runtime that lacks a primitive throws when it is used; the portable one serves then.
      continue
    }
    fast.add(primitive)
    Object.assign(overrides, override)
  }
  return { ...nobleCrypto, ...overrides, name: fast.size === 0 ? 'noble' : 'native', fast }
}

let memoised: CryptoProvider | undefined

/**
 * What is used where no provider is named: `nativeCrypto()`, probed once.
 *
 * @example
 * import { defaultCrypto } from '@sandbox-ssh/protocol'
 *
 * console.log(defaultCrypto().random(16).length, defaultCrypto() === defaultCrypto()) // 16 true
 */
export function defaultCrypto(): CryptoProvider {
  memoised ??= nativeCrypto()
  return memoised
}

/** The runtime's `node:crypto`, found without an import that a bundler would follow. */
function nodeCrypto(): NodeCrypto | undefined {
  // The one place that looks for `process`; typed here by what is used of it.
  const runtime = globalThis as {
    readonly process?: { readonly getBuiltinModule?: (id: string) => unknown }
  }
  try {
    return runtime.process?.getBuiltinModule?.('node:crypto') as NodeCrypto | undefined
  } catch {
    return undefined
  }
}
