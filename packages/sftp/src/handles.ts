/** The handles of one session. */

import { getUint32, putUint32 } from './fast.ts'
import type { DirectoryEntry, OpenFlags, SftpDirectory, SftpFile } from './file-system.ts'
import { SftpError, STATUS } from './status.ts'

/** What a client has opened for reading and writing. */
export interface FileHandle {
  readonly kind: 'file'
  readonly path: string
  readonly flags: OpenFlags
  readonly file: SftpFile
}

/** What a client has opened for listing. */
export interface DirectoryHandle {
  readonly kind: 'directory'
  readonly path: string
  readonly directory: SftpDirectory
  /** Entries read but not sent yet, `.` and `..` to begin with; undefined at the end. */
  pending: DirectoryEntry[] | undefined
}

/** What a handle stands for. */
export type Handle = FileHandle | DirectoryHandle

/**
 * A bounded table. Handles are numbers counting up and are not used again, so that a late request
 * for a closed one cannot reach another file.
 */
export class Handles {
  readonly #open = new Map<number, Handle>()
  readonly #max: number
  /** Requests to open that have a place but no handle yet. */
  #reserved = 0
  #next = 1

  constructor(max: number) {
    this.#max = max
  }

  /** Opens something if there is room, and gives its handle for the wire. */
  async open(opening: () => Promise<Handle>): Promise<Uint8Array> {
    if (this.#open.size + this.#reserved >= this.#max) {
      throw new SftpError(STATUS.FAILURE, 'Too many open handles', { errno: 'EMFILE' })
    }
    this.#reserved++
    try {
      const handle = await opening()
      while (this.#open.has(this.#next)) this.#next = (this.#next + 1) >>> 0
      const number = this.#next
      this.#next = (this.#next + 1) >>> 0
      this.#open.set(number, handle)
      const bytes = new Uint8Array(4)
      putUint32(bytes, 0, number)
      return bytes
    } finally {
      this.#reserved--
    }
  }

  /** Throws SftpError FAILURE for a handle that is not open. */
  get(bytes: Uint8Array): Handle {
    const handle = bytes.length === 4 ? this.#open.get(getUint32(bytes, 0)) : undefined
    if (handle === undefined) throw new SftpError(STATUS.FAILURE, 'Invalid handle')
    return handle
  }

  file(bytes: Uint8Array): FileHandle {
    const handle = this.get(bytes)
    if (handle.kind !== 'file') throw new SftpError(STATUS.FAILURE, 'Handle of a directory')
    return handle
  }

  directory(bytes: Uint8Array): DirectoryHandle {
    const handle = this.get(bytes)
    if (handle.kind !== 'directory') throw new SftpError(STATUS.FAILURE, 'Handle of a file')
    return handle
  }

  /** Takes a handle out of the table; the caller closes what it stood for. */
  take(bytes: Uint8Array): Handle {
    const handle = this.get(bytes)
    this.#open.delete(getUint32(bytes, 0))
    return handle
  }

  /** Closes everything, whatever fails. */
  async closeAll(): Promise<void> {
    const handles = [...this.#open.values()]
    this.#open.clear()
    await Promise.allSettled(handles.map(closeHandle))
  }
}

/** Closes what a handle stands for. */
export function closeHandle(handle: Handle): Promise<void> {
  return handle.kind === 'file' ? handle.file.close() : handle.directory.close()
}
