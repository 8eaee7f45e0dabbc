/**
 * Field codecs of the CBOR payloads: what serde and ciborium make of Rust types, so that our bytes
 * equal the agent's. A struct is a map with its fields in declaration order, an absent option is
 * `null`, an enum is `{"Variant": …}` or a plain string, integers have their shortest form.
 */
import { type DecodeOptions, decode, type EncodeOptions, encode } from 'cborg'

/** A payload that does not fit its type; the message is worded as serde words it. */
export class PayloadError extends Error {
  override readonly name = 'PayloadError'
}

/** How one value is written and read. `missing` is what an absent key means, if it may be absent. */
export interface Codec<T> {
  readonly toCbor: (value: T) => unknown
  readonly fromCbor: (value: unknown) => T
  /** Present if the key may be missing on input. */
  readonly missing?: { readonly value: T }
  /** The key is left out on output when the value is undefined. */
  readonly omitted?: true
}

type Fields<T> = { readonly [K in keyof Required<T>]: Codec<T[K]> }

const ENCODE: EncodeOptions = { mapSorter: () => 0 }

// Maps, never objects: the keys are the peer's. Indefinite and non-minimal heads are legal input.
const DECODE: DecodeOptions = {
  useMaps: true,
  rejectDuplicateMapKeys: true,
  allowUndefined: false,
  allowNaN: false,
  allowInfinity: false,
}

/** One CBOR item as bytes, in the order its maps were made. */
export function encodeItem(value: unknown): Uint8Array {
  return encode(value, ENCODE)
}

/** One CBOR item and nothing behind it. @throws PayloadError */
export function decodeItem(bytes: Uint8Array): unknown {
  // A break outside any container is the one malformation the agent names by its own words.
  if (bytes[0] === 0xff) throw new PayloadError('invalid type: break, expected map')
  try {
    return decode(bytes, DECODE)
  } catch (error) {
    // Whatever the decoder throws, a stack overflow on deep nesting included, is the peer's doing.
    throw new PayloadError(error instanceof Error ? error.message : 'not CBOR')
  }
}

/** A struct: `fields` in wire order. Unknown keys are ignored on input, as serde does. */
export function struct<T extends object>(fields: Fields<T>): Codec<T> {
  const entries = Object.entries(fields) as [string & keyof T, Codec<unknown>][]
  return {
    toCbor: (value) => {
      const map = new Map<string, unknown>()
      for (const [name, codec] of entries) {
        const field = value[name]
        if (field === undefined && codec.omitted) continue
        map.set(name, codec.toCbor(field))
      }
      return map
    },
    fromCbor: (value) => {
      if (!(value instanceof Map))
        throw new PayloadError(`invalid type: ${kind(value)}, expected map`)
      const result: Partial<Record<keyof T, unknown>> = {}
      for (const [name, codec] of entries) {
        if (value.has(name)) {
          const field = codec.fromCbor(value.get(name))
          if (field !== undefined) result[name] = field
        } else if (codec.missing === undefined) {
          throw new PayloadError(`missing field \`${name}\``)
        } else if (codec.missing.value !== undefined) {
          result[name] = codec.missing.value
        }
      }
      // Every field of T was decoded by its own codec above.
      return result as T
    },
  }
}

/** An externally tagged enum: `{"Name": value}`, in TypeScript an object with that one key. */
export function variant<T extends object>(variants: Fields<T>): Codec<OneOf<T>> {
  const codecs = new Map(Object.entries(variants) as [string, Codec<unknown>][])
  const expected = [...codecs.keys()].map((name) => `\`${name}\``).join(', ')
  return {
    toCbor: (value) => {
      const [name, content] = Object.entries(value)[0] ?? ['', undefined]
      const codec = codecs.get(name)
      if (codec === undefined) throw new TypeError(`unknown variant ${name}`)
      return new Map([[name, codec.toCbor(content)]])
    },
    fromCbor: (value) => {
      const name = value instanceof Map && value.size === 1 ? [...value.keys()][0] : value
      if (typeof name !== 'string')
        throw new PayloadError(`invalid type: ${kind(value)}, expected enum`)
      const codec = codecs.get(name)
      if (codec === undefined) {
        throw new PayloadError(`unknown variant \`${name}\`, expected one of ${expected}`)
      }
      if (!(value instanceof Map)) {
        throw new PayloadError('invalid type: unit variant, expected struct variant')
      }
      // The codec belongs to the key, so the pair is a member of the union.
      return { [name]: codec.fromCbor(value.get(name)) } as OneOf<T>
    },
  }
}

/** An object with exactly one of T's keys. */
export type OneOf<T> = { [K in keyof T]: { readonly [P in K]: T[K] } }[keyof T]

/** A plain string out of a closed list. */
export function name<T extends string>(...names: readonly T[]): Codec<T> {
  const expected = names.map((each) => `\`${each}\``).join(', ')
  return {
    toCbor: (value) => value,
    fromCbor: (value) => {
      if (typeof value !== 'string')
        throw new PayloadError(`invalid type: ${kind(value)}, expected enum`)
      const found = names.find((each) => each === value)
      if (found === undefined) {
        throw new PayloadError(`unknown variant \`${value}\`, expected one of ${expected}`)
      }
      return found
    },
  }
}

/** Absent is `null` on output; `null` and a missing key are undefined on input. */
export function option<T>(codec: Codec<T>): Codec<T | undefined> {
  return {
    toCbor: (value) => (value === undefined ? null : codec.toCbor(value)),
    fromCbor: (value) => (value === null ? undefined : codec.fromCbor(value)),
    missing: { value: undefined },
  }
}

/** Absent means no key at all, which is how a field can be added that older peers never see. */
export function omitted<T>(codec: Codec<T>): Codec<T | undefined> {
  return { ...option(codec), omitted: true }
}

/** A key that may be missing on input and then has `value`; always written. */
export function defaulted<T>(codec: Codec<T>, value: T): Codec<T> {
  return { ...codec, missing: { value } }
}

/** A definite-length array. */
export function list<T>(codec: Codec<T>): Codec<readonly T[]> {
  return {
    toCbor: (values) => values.map(codec.toCbor),
    fromCbor: (value) => {
      if (!Array.isArray(value)) {
        throw new PayloadError(`invalid type: ${kind(value)}, expected a sequence`)
      }
      return value.map(codec.fromCbor)
    },
  }
}

/** A map of text to values; order is kept. */
export function mapOf<T>(codec: Codec<T>): Codec<ReadonlyMap<string, T>> {
  return {
    toCbor: (values) => new Map([...values].map(([key, value]) => [key, codec.toCbor(value)])),
    fromCbor: (value) => {
      if (!(value instanceof Map))
        throw new PayloadError(`invalid type: ${kind(value)}, expected map`)
      const result = new Map<string, T>()
      for (const [key, each] of value) result.set(text.fromCbor(key), codec.fromCbor(each))
      return result
    },
  }
}

/** A boolean. */
export const bool: Codec<boolean> = scalar('boolean', 'a boolean')
/** Text in UTF-8. */
export const text: Codec<string> = scalar('string', 'a string')
/** A byte string. */
export const bytes: Codec<Uint8Array> = {
  toCbor: (value) => value,
  fromCbor: (value) => {
    if (value instanceof Uint8Array) return value
    throw new PayloadError(`invalid type: ${kind(value)}, expected bytes`)
  },
}
/** An unsigned integer of 16 bits. */
export const u16: Codec<number> = integer('u16', 0, 0xffff)
/** An unsigned integer of 32 bits. */
export const u32: Codec<number> = integer('u32', 0, 0xffff_ffff)
/** A signed integer of 32 bits. */
export const i32: Codec<number> = integer('i32', -0x8000_0000, 0x7fff_ffff)
/** A u64 that we hold as a number; beyond 2^53 it is refused rather than rounded. */
export const u64: Codec<number> = integer('u64', 0, Number.MAX_SAFE_INTEGER)
export const i64: Codec<number> = integer('i64', Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
/** A u64 whose full range matters, such as "no limit", 2^64 - 1. */
export const wideU64: Codec<number | bigint> = {
  toCbor: (value) => value,
  fromCbor: (value) => {
    if (typeof value === 'bigint' && value >= 0n && value < 1n << 64n) return value
    return u64.fromCbor(value)
  },
}
/** `{}`: a map is required and whatever it holds is ignored. */
export const nothing: Codec<Record<string, never>> = {
  toCbor: () => new Map(),
  fromCbor: (value) => {
    if (!(value instanceof Map))
      throw new PayloadError(`invalid type: ${kind(value)}, expected map`)
    return {}
  },
}

function integer(type: string, min: number, max: number): Codec<number> {
  return {
    toCbor: (value) => {
      if (!Number.isSafeInteger(value) || value < min || value > max) {
        throw new RangeError(`${value} is not a ${type} between ${min} and ${max}`)
      }
      return value
    },
    fromCbor: (value) => {
      if (typeof value === 'bigint') {
        throw new PayloadError(`invalid value: integer \`${value}\`, expected ${type}`)
      }
      if (typeof value !== 'number' || !Number.isInteger(value)) {
        throw new PayloadError(`invalid type: ${kind(value)}, expected ${type}`)
      }
      if (value < min || value > max) {
        throw new PayloadError(`invalid value: integer \`${value}\`, expected ${type}`)
      }
      return value
    },
  }
}

function scalar<K extends 'boolean' | 'string'>(
  type: K,
  expected: string,
): Codec<K extends 'boolean' ? boolean : string> {
  type T = K extends 'boolean' ? boolean : string
  return {
    toCbor: (value) => value,
    fromCbor: (value) => {
      // `typeof` is the check; the compiler does not connect it with the type parameter.
      if (typeof value === type) return value as T
      throw new PayloadError(`invalid type: ${kind(value)}, expected ${expected}`)
    },
  }
}

/** What a value is, in serde's words, for messages about what was found instead. */
function kind(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'sequence'
  if (value instanceof Map) return 'map'
  if (value instanceof Uint8Array) return 'bytes'
  switch (typeof value) {
    case 'string':
      return `string ${JSON.stringify(value.slice(0, 64))}`
    case 'boolean':
      return `boolean \`${value}\``
    case 'number':
      return Number.isInteger(value) ? `integer \`${value}\`` : 'floating point'
    case 'bigint':
      return `integer \`${value}\``
    default:
      return 'unit value'
  }
}
