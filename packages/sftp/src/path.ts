/**
 * Path names. SFTP names are bytes; this package shows them as strings without losing any.
 *
 * Bytes that are valid UTF-8 become that text. Every other byte 0x80–0xFF becomes the lone
 * surrogate U+DC80–U+DCFF (Python's "surrogateescape"). A lone surrogate never comes out of valid
 * UTF-8, so `encodePath(decodePath(bytes))` is always `bytes`, and code that only splits, joins and
 * compares names need not know. Show such a name to people with `printablePath`.
 */

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const encoder = new TextEncoder()

/**
 * Turns a name from the wire into a string, losslessly.
 *
 * @example
 * import { decodePath, encodePath, printablePath } from '@sandbox-ssh/sftp'
 *
 * // A name in Latin-1 is no UTF-8, and survives all the same.
 * const name = decodePath(new Uint8Array([0x63, 0x61, 0x66, 0xe9]))
 * console.log(printablePath(name)) // caf\xe9
 * console.log(encodePath(name).length) // 4
 */
export function decodePath(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes)
  } catch {
    return decodeEscaping(bytes)
  }
}

/**
 * Turns a string from `decodePath`, or any well-formed string, into the bytes for the wire.
 * @throws TypeError for a lone surrogate that stands for no byte
 *
 * @example
 * import { encodePath } from '@sandbox-ssh/sftp'
 *
 * console.log(encodePath('é').length) // 2
 */
export function encodePath(path: string): Uint8Array {
  if (!/[\ud800-\udfff]/.test(path)) return encoder.encode(path)
  const parts: number[] = []
  for (const character of path) {
    const code = character.codePointAt(0) as number
    if (code >= 0xdc80 && code <= 0xdcff) parts.push(code - 0xdc00)
    else if (code >= 0xd800 && code <= 0xdfff) {
      throw new TypeError(`path holds the lone surrogate U+${code.toString(16).toUpperCase()}`)
    } else parts.push(...encoder.encode(character))
  }
  return Uint8Array.from(parts)
}

/**
 * The path for messages and terminals: undecodable bytes and control characters as `\xNN`.
 *
 * @example
 * import { printablePath } from '@sandbox-ssh/sftp'
 *
 * console.log(printablePath('clear\u001b[2Jed')) // clear\x1b[2Jed
 */
export function printablePath(path: string): string {
  let text = ''
  for (const character of path) {
    const code = character.codePointAt(0) as number
    const escaped = code >= 0xdc80 && code <= 0xdcff
    if (escaped || code < 0x20 || (code >= 0x7f && code < 0xa0)) {
      text += `\\x${(code & 0xff).toString(16).padStart(2, '0')}`
    } else text += character
  }
  return text
}

/**
 * `name` inside `directory`; an absolute `name` stands for itself.
 *
 * @example
 * import { joinPath } from '@sandbox-ssh/sftp'
 *
 * console.log(joinPath('/var', 'log'), joinPath('/var', '/etc')) // /var/log /etc
 */
export function joinPath(directory: string, name: string): string {
  if (name.startsWith('/') || directory === '') return name
  return directory.endsWith('/') ? directory + name : `${directory}/${name}`
}

/**
 * The last component, without trailing slashes; `/` for the root.
 *
 * @example
 * import { baseName, parentPath } from '@sandbox-ssh/sftp'
 *
 * console.log(baseName('/var/log/'), parentPath('/var/log'), parentPath('log')) // log /var .
 */
export function baseName(path: string): string {
  const trimmed = trimSlashes(path)
  return trimmed === '/' ? '/' : trimmed.slice(trimmed.lastIndexOf('/') + 1)
}

/**
 * All but the last component: `.` for a bare name, `/` for what lies in the root.
 *
 * @example
 * import { parentPath } from '@sandbox-ssh/sftp'
 *
 * console.log(parentPath('/etc')) // /
 */
export function parentPath(path: string): string {
  const trimmed = trimSlashes(path)
  const slash = trimmed.lastIndexOf('/')
  if (slash < 0) return '.'
  return slash === 0 ? '/' : trimSlashes(trimmed.slice(0, slash))
}

/**
 * An absolute path without `.`, `..` and doubled slashes, by text alone: `..` after a symbolic link
 * goes where the text says, not where the link leads. `..` stops at the root.
 *
 * @example
 * import { normalizePath } from '@sandbox-ssh/sftp'
 *
 * console.log(normalizePath('/var//log/./../lib')) // /var/lib
 */
export function normalizePath(path: string): string {
  const parts: string[] = []
  for (const part of path.split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '' && part !== '.') parts.push(part)
  }
  return `/${parts.join('/')}`
}

/**
 * Whether `name` can be one entry of a directory. A hostile peer that names an entry `..` or `a/b`
 * would have us write outside the directory we meant.
 *
 * @example
 * import { isEntryName } from '@sandbox-ssh/sftp'
 *
 * console.log(isEntryName('note.txt'), isEntryName('..'), isEntryName('a/b')) // true false false
 */
export function isEntryName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name)
}

function trimSlashes(path: string): string {
  let end = path.length
  while (end > 1 && path[end - 1] === '/') end--
  return path.slice(0, end)
}

/** UTF-8 decoding that keeps what it cannot decode, one byte at a time. */
function decodeEscaping(bytes: Uint8Array): string {
  let text = ''
  let at = 0
  while (at < bytes.length) {
    const length = sequenceLength(bytes, at)
    if (length === 0) {
      text += String.fromCharCode(0xdc00 + (bytes[at] as number))
      at += 1
    } else {
      text += strict.decode(bytes.subarray(at, at + length))
      at += length
    }
  }
  return text
}

/** Length of the well-formed UTF-8 sequence at `at` (Unicode table 3-7), or 0. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at] as number
  if (first < 0x80) return 1
  const second = bytes[at + 1] ?? 0
  let length = 0
  let low = 0x80
  let high = 0xbf
  if (first >= 0xc2 && first <= 0xdf) length = 2
  else if (first >= 0xe0 && first <= 0xef) {
    length = 3
    if (first === 0xe0) low = 0xa0
    if (first === 0xed) high = 0x9f
  } else if (first >= 0xf0 && first <= 0xf4) {
    length = 4
    if (first === 0xf0) low = 0x90
    if (first === 0xf4) high = 0x8f
  } else return 0
  if (second < low || second > high) return 0
  for (let i = 2; i < length; i++) {
    const byte = bytes[at + i] ?? 0
    if (byte < 0x80 || byte > 0xbf) return 0
  }
  return length
}
