/** Encoded terminal modes of a pty-req, RFC 4254 §8 and RFC 8160. */
import { SshError } from './errors.ts'
import { Reader } from './wire/reader.ts'
import { Writer } from './wire/writer.ts'

/**
 * Terminal modes by the names of RFC 4254 §8 (`VINTR`, `ECHO`, `TTY_OP_ISPEED`, …), with `IUTF8` of
 * RFC 8160. An opcode without a name is `OP` and its number, such as `OP99`.
 */
export type TerminalModes = Readonly<Record<string, number>>

const TTY_OP_END = 0
/** Opcodes from here on have no defined argument, so reading stops at the first of them. */
const UNDEFINED_FROM = 160

/** Opcodes by name. */
const OPCODES: ReadonlyMap<string, number> = new Map([
  ['VINTR', 1],
  ['VQUIT', 2],
  ['VERASE', 3],
  ['VKILL', 4],
  ['VEOF', 5],
  ['VEOL', 6],
  ['VEOL2', 7],
  ['VSTART', 8],
  ['VSTOP', 9],
  ['VSUSP', 10],
  ['VDSUSP', 11],
  ['VREPRINT', 12],
  ['VWERASE', 13],
  ['VLNEXT', 14],
  ['VFLUSH', 15],
  ['VSWTCH', 16],
  ['VSTATUS', 17],
  ['VDISCARD', 18],
  ['IGNPAR', 30],
  ['PARMRK', 31],
  ['INPCK', 32],
  ['ISTRIP', 33],
  ['INLCR', 34],
  ['IGNCR', 35],
  ['ICRNL', 36],
  ['IUCLC', 37],
  ['IXON', 38],
  ['IXANY', 39],
  ['IXOFF', 40],
  ['IMAXBEL', 41],
  ['IUTF8', 42],
  ['ISIG', 50],
  ['ICANON', 51],
  ['XCASE', 52],
  ['ECHO', 53],
  ['ECHOE', 54],
  ['ECHOK', 55],
  ['ECHONL', 56],
  ['NOFLSH', 57],
  ['TOSTOP', 58],
  ['IEXTEN', 59],
  ['ECHOCTL', 60],
  ['ECHOKE', 61],
  ['PENDIN', 62],
  ['OPOST', 70],
  ['OLCUC', 71],
  ['ONLCR', 72],
  ['OCRNL', 73],
  ['ONOCR', 74],
  ['ONLRET', 75],
  ['CS7', 90],
  ['CS8', 91],
  ['PARENB', 92],
  ['PARODD', 93],
  ['TTY_OP_ISPEED', 128],
  ['TTY_OP_OSPEED', 129],
])

const NAMES: ReadonlyMap<number, string> = new Map(
  [...OPCODES].map(([name, opcode]) => [opcode, name]),
)

/**
 * Modes as the `modes` string of a pty-req. Throws RangeError naming a mode that is unknown or
 * whose value does not fit 32 bits.
 *
 * @example
 * import { decodeTerminalModes, encodeTerminalModes, opcodeOf } from '@sandbox-ssh/protocol'
 *
 * const bytes = encodeTerminalModes({ ECHO: 0, VINTR: 3 })
 * console.log(decodeTerminalModes(bytes)) // { ECHO: 0, VINTR: 3 }
 * console.log(opcodeOf('ECHO')) // 53
 */
export function encodeTerminalModes(modes: TerminalModes): Uint8Array {
  const writer = new Writer(64)
  for (const [name, value] of Object.entries(modes)) {
    const opcode = opcodeOf(name)
    if (opcode === undefined) throw new RangeError(`terminal mode ${name} is unknown`)
    if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
      throw new RangeError(`terminal mode ${name} must be an unsigned 32-bit integer`)
    }
    writer.uint8(opcode).uint32(value)
  }
  return writer.uint8(TTY_OP_END).finish()
}

/**
 * Modes from the `modes` string of a pty-req; at most one value an opcode remains, the last. Ends at
 * TTY_OP_END, at the end, or at an opcode without a defined argument. Throws SshError
 * `SSH_PROTOCOL` if an argument is cut short.
 *
 * @example
 * import { decodeTerminalModes } from '@sandbox-ssh/protocol'
 *
 * // What a client asked for whose terminal does not echo, as it comes over the wire.
 * console.log(decodeTerminalModes(new Uint8Array([53, 0, 0, 0, 0, 0]))) // { ECHO: 0 }
 */
export function decodeTerminalModes(bytes: Uint8Array): TerminalModes {
  const reader = new Reader(bytes)
  const modes = new Map<string, number>()
  while (reader.remaining > 0) {
    const opcode = reader.uint8()
    if (opcode === TTY_OP_END || opcode >= UNDEFINED_FROM) break
    if (reader.remaining < 4) {
      throw new SshError('SSH_PROTOCOL', `terminal mode ${opcode} has no argument`)
    }
    modes.set(NAMES.get(opcode) ?? `OP${opcode}`, reader.uint32())
  }
  return Object.fromEntries(modes)
}

/**
 * The opcode of a mode named as in `TerminalModes`, for callers that speak to a kernel.
 *
 * @example
 * import { opcodeOf } from '@sandbox-ssh/protocol'
 *
 * console.log(opcodeOf('VINTR'), opcodeOf('OP99'), opcodeOf('MADE_UP')) // 1 99 undefined
 */
export function opcodeOf(name: string): number | undefined {
  const known = OPCODES.get(name)
  if (known !== undefined) return known
  const digits = /^OP([1-9]\d{0,2})$/.exec(name)?.[1]
  if (digits === undefined) return undefined
  const opcode = Number(digits)
  // A number that has a name must be written by that name, so that each mode has one spelling.
  return opcode < UNDEFINED_FROM && !NAMES.has(opcode) ? opcode : undefined
}
