/**
 * Declarative codecs: the interface documents the fields, the codec lists them in wire order, and
 * the compiler keeps the two equal. The table of codecs also drives tracing, properties and fuzzing.
 */
import { SshError } from '../errors.ts'
import type { Field } from './fields.ts'
import { Reader } from './reader.ts'
import { Writer } from './writer.ts'

/** A list of fields without a message number, for type-specific parts. */
export interface Struct<T> {
  /** The fields in wire order; tracing, properties and fuzzing read them. */
  readonly fields: Fields<T>
  /** A fresh array. */
  readonly encode: (value: T) => Uint8Array
  /** Reads all of `bytes`; byte-string fields are views. Throws SshError `SSH_PROTOCOL`. */
  readonly decode: (bytes: Uint8Array) => T
}

/** A codec for one message, number included. */
export interface Message<T> extends Struct<T> {
  readonly number: number
  /** Name without the SSH_MSG_ prefix. */
  readonly messageName: string
}

/** A field codec for every property of T. */
export type Fields<T> = { readonly [K in keyof T]-?: Field<T[K]> }

const shared = new Writer()

/**
 * Makes a codec from fields listed in wire order.
 *
 * @example
 * import { struct, uint32, utf8 } from '@sandbox-ssh/protocol'
 *
 * interface Point {
 *   readonly name: string
 *   readonly x: number
 * }
 * const point = struct<Point>({ name: utf8, x: uint32 })
 * console.log(point.encode({ name: 'a', x: 7 }).length) // 9
 * console.log(point.decode(point.encode({ name: 'a', x: 7 }))) // { name: 'a', x: 7 }
 */
export function struct<T extends object>(fields: Fields<T>): Struct<T> {
  const entries = Object.entries(fields) as [keyof T, Field<T[keyof T]>][]
  return {
    fields,
    encode(value) {
      shared.reset()
      for (const [name, field] of entries) field.write(shared, value[name])
      return shared.finish()
    },
    decode(bytes) {
      const reader = new Reader(bytes)
      const value: Partial<T> = {}
      for (const [name, field] of entries) value[name] = field.read(reader)
      reader.end()
      return value as T
    },
  }
}

/**
 * Makes a codec for a numbered message from fields listed in wire order.
 *
 * @example
 * import { ascii, MSG, message, rest } from '@sandbox-ssh/protocol'
 *
 * interface Extension {
 *   readonly name: string
 *   readonly contents: Uint8Array
 * }
 * const extension = message<Extension>(MSG.EXT_INFO, 'EXTENSION', { name: ascii, contents: rest })
 * const bytes = extension.encode({ name: 'x', contents: new Uint8Array([1]) })
 * console.log(bytes[0], extension.decode(bytes).name) // 7 x
 */
export function message<T extends object>(
  number: number,
  messageName: string,
  fields: Fields<T>,
): Message<T> {
  const entries = Object.entries(fields) as [keyof T, Field<T[keyof T]>][]
  return {
    fields,
    number,
    messageName,
    encode(value) {
      shared.reset().uint8(number)
      for (const [name, field] of entries) field.write(shared, value[name])
      return shared.finish()
    },
    decode(bytes) {
      const reader = new Reader(bytes)
      const found = reader.uint8()
      if (found !== number) {
        throw new SshError('SSH_PROTOCOL', `message ${found} where ${messageName} was expected`)
      }
      const value: Partial<T> = {}
      for (const [name, field] of entries) value[name] = field.read(reader)
      reader.end()
      return value as T
    },
  }
}
