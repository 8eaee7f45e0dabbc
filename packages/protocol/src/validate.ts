/** Checks of what callers hand in: wrong use throws at once and names the argument. */
import { takeInProcess } from './io/memory.ts'
import type { Transport } from './io/transport.ts'
import type { Deadlines } from './machine/options.ts'

/** Throws TypeError unless `value` is a function. */
export function requireFunction(value: unknown, name: string): void {
  if (typeof value !== 'function') throw new TypeError(`${name} must be a function`)
}

/** Throws TypeError unless `value` is a function or undefined. */
export function optionalFunction(value: unknown, name: string): void {
  if (value !== undefined) requireFunction(value, name)
}

/** Throws TypeError unless `value` is a string. */
export function requireString(value: unknown, name: string): void {
  if (typeof value !== 'string') throw new TypeError(`${name} must be a string`)
}

/** Throws TypeError unless `value` is a TCP port; 0 is one. */
export function requirePort(value: unknown): void {
  if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > 65535) {
    throw new TypeError('port must be an integer from 0 to 65535')
  }
}

/** Throws TypeError unless `value` is an integer from `min` to `max`, or undefined. */
export function optionalInteger(value: unknown, name: string, min: number, max: number): void {
  if (value === undefined) return
  if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
    throw new TypeError(`${name} must be an integer from ${min} to ${max}`)
  }
}

/** Throws TypeError unless `value` looks like a `Transport`. */
export function requireTransport(value: unknown): void {
  const methods = ['read', 'write', 'close', 'abort']
  const found = value as Record<string, unknown> | undefined | null
  if (!methods.every((method) => typeof found?.[method] === 'function')) {
    throw new TypeError('transport must have the methods read, write, close and abort')
  }
}

/** What a session talks over, and whether it may do so in clear. */
export interface Carrier {
  readonly transport: Transport
  readonly inProcess: boolean
}

/**
 * The only way to a session without encryption. `inProcess` is looked at here and never again, and
 * the carrier is none that anything else can reach. Throws TypeError if it is asked for over
 * anything but an unused end of a memory pair, which is aborted then: its other end may be waiting.
 */
export function carrierOf(transport: Transport, inProcess: unknown): Carrier {
  if (inProcess === undefined || inProcess === false) return { transport, inProcess: false }
  if (inProcess !== true) throw new TypeError('inProcess must be true, if it is given')
  let taken: Transport | undefined
  try {
    taken = takeInProcess(transport)
  } catch (error) {
    transport.abort(error)
    throw error
  }
  if (taken === undefined) {
    throw new TypeError('inProcess goes with an end of memoryPair() only: the rest is encrypted')
  }
  return { transport: taken, inProcess: true }
}

/** Throws TypeError unless `value` is a non-empty array of things with a public key that sign. */
export function requireSigners(value: unknown, name: string): void {
  const signers = Array.isArray(value) ? value : []
  const sound = signers.every(
    (signer) => typeof signer?.sign === 'function' && typeof signer?.publicKey === 'object',
  )
  if (signers.length === 0 || !sound) {
    throw new TypeError(`${name} must be a non-empty array of signers`)
  }
}

const INT32_MAX = 2 ** 31 - 1

/** Throws TypeError naming the field of the options both roles share that is out of range. */
export function validateCommon(options: {
  readonly handshakeMs?: number
  readonly keepalive?: { readonly intervalMs: number; readonly countMax: number }
  readonly rekey?: { readonly bytes?: number; readonly packets?: number; readonly ms?: number }
  readonly signal?: AbortSignal
  readonly limits?: { readonly channelsMax?: number; readonly windowBytes?: number }
  readonly deadlines?: Deadlines
  readonly algorithms?: unknown
  readonly trace?: unknown
}): void {
  const { handshakeMs, keepalive, rekey, signal } = options
  optionalInteger(handshakeMs, 'handshakeMs', 1, INT32_MAX)
  optionalFunction(options.algorithms, 'algorithms')
  optionalFunction(options.trace, 'trace')
  if (keepalive !== undefined) {
    optionalInteger(keepalive.intervalMs ?? 0, 'keepalive.intervalMs', 1, INT32_MAX)
    optionalInteger(keepalive.countMax ?? -1, 'keepalive.countMax', 0, INT32_MAX)
  }
  optionalInteger(options.limits?.channelsMax, 'limits.channelsMax', 1, 1_000_000)
  optionalInteger(options.limits?.windowBytes, 'limits.windowBytes', 32 * 1024, INT32_MAX)
  const { deadlines = {} } = options
  for (const [name, ms] of Object.entries(deadlines)) {
    optionalInteger(ms, `deadlines.${name}`, 1, INT32_MAX)
  }
  optionalInteger(rekey?.bytes, 'rekey.bytes', 1, Number.MAX_SAFE_INTEGER)
  optionalInteger(rekey?.packets, 'rekey.packets', 1, 2 ** 32)
  optionalInteger(rekey?.ms, 'rekey.ms', 1, Number.MAX_SAFE_INTEGER)
  if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
    throw new TypeError('signal must be an AbortSignal')
  }
}
