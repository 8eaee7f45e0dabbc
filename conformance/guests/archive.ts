// Archives of the kind a kernel unpacks as its first file system: cpio, "newc" format.

import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { posix } from 'node:path'

const DIRECTORY = 0o040755
const FILE = 0o100000
const LINK = 0o120777
const MAGIC = '070701'
/** Entries and their data begin at multiples of this. */
const ALIGNMENT = 4

/** An archive being written. Folders on the way to an entry are made as they are needed. */
export class Archive {
  readonly #fd: number
  readonly #folders = new Set<string>(['', '.'])
  #inode = 0

  constructor(path: string) {
    this.#fd = openSync(path, 'wx', 0o600)
  }

  folder(path: string): void {
    const name = path.replace(/^\/+/, '')
    if (this.#folders.has(name)) return
    this.folder(posix.dirname(name))
    this.#folders.add(name)
    this.#entry(name, DIRECTORY, new Uint8Array(0))
  }

  /** A file with this content. */
  file(path: string, data: Uint8Array | string, mode = 0o644): void {
    this.folder(posix.dirname(path))
    this.#entry(path, FILE | mode, typeof data === 'string' ? Buffer.from(data) : data)
  }

  /** A copy of a file of this machine. */
  copy(path: string, source: string, mode = 0o755): void {
    this.file(path, readFileSync(source), mode)
  }

  link(path: string, target: string): void {
    this.folder(posix.dirname(path))
    this.#entry(path, LINK, Buffer.from(target))
  }

  /** Ends the archive and closes its file. */
  close(): void {
    this.#entry('TRAILER!!!', 0, new Uint8Array(0))
    closeSync(this.#fd)
  }

  #entry(path: string, mode: number, data: Uint8Array): void {
    const name = Buffer.from(`${path.replace(/^\/+/, '')}\0`)
    // Inode, mode, owner, group, links, time, size, four halves of devices, name, checksum.
    const numbers = [++this.#inode, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length, 0]
    const head = MAGIC + numbers.map((value) => value.toString(16).padStart(8, '0')).join('')
    this.#write(Buffer.concat([Buffer.from(head), name]))
    this.#write(data)
  }

  #write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at)
    const rest = bytes.length % ALIGNMENT
    if (rest > 0) writeSync(this.#fd, new Uint8Array(ALIGNMENT - rest))
  }
}
