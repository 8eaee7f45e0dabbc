/**
 * The legacy scp protocol on a byte stream: lines of text, each answered by a byte, and file contents
 * in between. It has no specification but rcp's and OpenSSH's scp.c.
 */
import { SshError, type Transport } from '@sandbox-ssh/protocol'
import { decodePath, encodePath, isEntryName, printablePath } from './path.ts'

/** Longest line accepted: a path component, a mode and a size. */
const LINE_BYTES_MAX = 8192
const NEWLINE = 0x0a

/** Times of a file, as `T` lines carry them. */
export interface ScpTimes {
  /** Whole seconds since 1970. */
  readonly mtime: number
  readonly atime: number
}

/** One message of the sending side. */
export type ScpMessage =
  | { readonly type: 'file'; readonly mode: number; readonly size: number; readonly name: string }
  | { readonly type: 'directory'; readonly mode: number; readonly name: string }
  | ({ readonly type: 'times' } & ScpTimes)
  | { readonly type: 'end' }
  /** Something went wrong over there; it goes on unless it is fatal. */
  | { readonly type: 'error'; readonly fatal: boolean; readonly text: string }

/** What the receiving side answers; undefined is consent. */
export type ScpAnswer = { readonly fatal: boolean; readonly text: string } | undefined

/** Both directions of one scp session. One read at a time. */
export class ScpStream {
  readonly #transport: Transport
  #chunk: Uint8Array = new Uint8Array(0)

  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** Sends a line. */
  async sendLine(line: string): Promise<void> {
    await this.#transport.write(encodePath(`${line}\n`))
  }

  /** Sends contents. */
  async sendData(data: Uint8Array): Promise<void> {
    await this.#transport.write(data)
  }

  /** Consents to the last message, or opens the session. */
  async accept(): Promise<void> {
    await this.#transport.write(Uint8Array.of(0))
  }

  /** Reports a failure in words; the session goes on. */
  async refuse(text: string): Promise<void> {
    await this.sendLine(`\u0001scp: ${printablePath(text)}`)
  }

  /** The other side's answer. Rejects with `SSH_CONNECTION_LOST` if it left. */
  async answer(): Promise<ScpAnswer> {
    const first = await this.#byte()
    if (first === undefined) throw lost()
    if (first === 0) return undefined
    const text = await this.#errorText(first)
    return { fatal: first === 2, text }
  }

  /** The next message, or undefined if the other side has ended. */
  async message(): Promise<ScpMessage | undefined> {
    const first = await this.#byte()
    if (first === undefined) return undefined
    if (first <= 2) {
      return { type: 'error', fatal: first === 2, text: await this.#errorText(first) }
    }
    const line = await this.#line()
    switch (String.fromCharCode(first)) {
      case 'C': {
        const { mode, size, name } = parseEntry(line)
        return { type: 'file', mode, size, name }
      }
      case 'D': {
        const { mode, name } = parseEntry(line)
        return { type: 'directory', mode, name }
      }
      case 'T':
        return { type: 'times', ...parseTimes(line) }
      case 'E':
        return { type: 'end' }
      default:
        // Usually what a remote shell's start-up files print.
        throw malformed(`unexpected line ${printablePath(String.fromCharCode(first) + line)}`)
    }
  }

  /** Up to `length` bytes of contents, as a view. Rejects with `SSH_CONNECTION_LOST` at the end. */
  async data(length: number): Promise<Uint8Array> {
    if (!(await this.#fill())) throw lost()
    const part = this.#chunk.subarray(0, length)
    this.#chunk = this.#chunk.subarray(part.length)
    return part
  }

  async #errorText(first: number): Promise<string> {
    const line = first === 0 ? '' : await this.#line()
    return printablePath(line)
  }

  async #byte(): Promise<number | undefined> {
    if (!(await this.#fill())) return undefined
    const byte = this.#chunk[0]
    this.#chunk = this.#chunk.subarray(1)
    return byte
  }

  /** The rest of a line, without its end. */
  async #line(): Promise<string> {
    const bytes: number[] = []
    for (;;) {
      const byte = await this.#byte()
      if (byte === undefined) throw lost()
      if (byte === NEWLINE) return decodePath(Uint8Array.from(bytes))
      if (bytes.length === LINE_BYTES_MAX) throw malformed(`a line of over ${LINE_BYTES_MAX} bytes`)
      bytes.push(byte)
    }
  }

  async #fill(): Promise<boolean> {
    if (this.#chunk.length > 0) return true
    const chunk = await this.#transport.read()
    if (chunk === undefined) return false
    this.#chunk = chunk
    return true
  }
}

/** The line that announces a file or directory. */
export function entryLine(letter: 'C' | 'D', mode: number, size: number, name: string): string {
  return `${letter}${(mode & 0o7777).toString(8).padStart(4, '0')} ${size} ${escapeNewlines(name)}`
}

/** The line that announces times. */
export function timesLine({ mtime, atime }: ScpTimes): string {
  const seconds = (time: number): number => Math.max(0, Math.floor(time))
  return `T${seconds(mtime)} 0 ${seconds(atime)} 0`
}

/** A newline would end the line; scp.c writes such names as vis(3) does, which cannot be undone. */
function escapeNewlines(name: string): string {
  return name.replaceAll('\n', '\\^J')
}

/** `0644 123 name`. The name is checked: it becomes a file in a directory of ours. */
function parseEntry(line: string): { mode: number; size: number; name: string } {
  const [, mode = '', size = '', name = ''] = /^([0-7]{4}) (\d{1,16}) (.+)$/su.exec(line) ?? []
  if (mode === '') throw malformed(`the line ${printablePath(line)}`)
  if (!Number.isSafeInteger(Number(size))) throw malformed(`the size ${size}`)
  if (!isEntryName(name)) throw malformed(`the name ${printablePath(name)}`)
  return { mode: Number.parseInt(mode, 8), size: Number(size), name }
}

function parseTimes(line: string): ScpTimes {
  const [, mtime = '', atime = ''] = /^(\d{1,15}) \d{1,6} (\d{1,15}) \d{1,6}$/.exec(line) ?? []
  if (mtime === '') throw malformed(`the times ${printablePath(line)}`)
  return { mtime: Number(mtime), atime: Number(atime) }
}

function malformed(what: string): SshError {
  return new SshError('SSH_PROTOCOL', `scp: ${what} makes no sense`)
}

function lost(): SshError {
  return new SshError('SSH_CONNECTION_LOST', 'scp: the other side left in the middle')
}
