/**
 * The legacy scp protocol: sending and receiving over any byte stream. The same code is the client's
 * and the server's; who sends is called the source, who receives the sink.
 */
import { SshError, type Transport } from '@sandbox-ssh/protocol'
import type { FileStat, SftpFile, SftpFileSystem } from './file-system.ts'
import { isDirectory, isFile } from './file-system.ts'
import { DATA_BYTES_MAX, TREE_DEPTH_MAX } from './limits.ts'
import { baseName, isEntryName, joinPath, printablePath } from './path.ts'
import { throwIfAborted } from './requests.ts'
import { entryLine, type ScpMessage, ScpStream, type ScpTimes, timesLine } from './scp-wire.ts'
import { asSftpError } from './status.ts'
import { entries } from './tree.ts'

/** What to copy, and how. */
export interface ScpOptions {
  /** Directories with everything in them. */
  readonly recursive?: boolean
  /** Keep modes and times. */
  readonly preserve?: boolean
  readonly signal?: AbortSignal
  /** Told the path, the bytes moved and the size of the file under way. */
  readonly onProgress?: (path: string, bytes: number, size: number) => void
}

/** What to accept. */
export interface ScpReceiveOptions extends ScpOptions {
  /** The target must be a directory (`scp -d`). */
  readonly directory?: boolean
  /**
   * Which names are welcome at the top. A server that was asked for one file and sends another is
   * hostile (CVE-2019-6111), so whoever asked must say for what.
   */
  readonly expected?: (name: string) => boolean
}

/** What was copied, and what was not. */
export interface ScpResult {
  readonly files: number
  readonly directories: number
  readonly bytes: number
  /** What went wrong with single files, on either side, in words. */
  readonly errors: readonly string[]
}

/**
 * Sends files and directories: `scp -f` on a server, an upload on a client. Rejects with SshError
 * `SSH_CONNECTION_LOST`, `SSH_PROTOCOL` or `SSH_ABORTED`; what fails for single files is in the
 * result. The transport stays open.
 *
 * @example
 * import { memoryPair } from '@sandbox-ssh/protocol'
 * import { memoryFileSystem, scpReceive, scpSend } from '@sandbox-ssh/sftp'
 *
 * const [near, far] = memoryPair()
 * const [here, there] = [memoryFileSystem(), memoryFileSystem()]
 * await here.mkdir('/site', 0o755)
 * const receiving = scpReceive(far, there, '/srv', { recursive: true })
 * const { errors } = await scpSend(near, here, ['/site'], { recursive: true })
 * await near.close()
 * console.log(errors.length, (await receiving).errors.length) // 0 0
 */
export async function scpSend(
  transport: Transport,
  files: SftpFileSystem,
  paths: readonly string[],
  options: ScpOptions = {},
): Promise<ScpResult> {
  return watched(transport, options.signal, () => new Source(transport, files, options).run(paths))
}

/**
 * Receives files and directories into `target`: `scp -t` on a server, a download on a client. Ends
 * when the other side does. Rejects and reports as `scpSend`.
 *
 * @example
 * import { memoryPair } from '@sandbox-ssh/protocol'
 * import { memoryFileSystem, scpReceive } from '@sandbox-ssh/sftp'
 *
 * const [near, far] = memoryPair()
 * const files = memoryFileSystem()
 * const receiving = scpReceive(far, files, '/note')
 * await near.write(new TextEncoder().encode('C0644 5 note\nhello\0'))
 * await near.close()
 * await receiving
 * console.log((await files.stat('/note')).size) // 5
 */
export async function scpReceive(
  transport: Transport,
  files: SftpFileSystem,
  target: string,
  options: ScpReceiveOptions = {},
): Promise<ScpResult> {
  return watched(transport, options.signal, () => new Sink(transport, files, options).run(target))
}

/** An abort ends the transport, as nothing else unblocks a stream that waits. */
async function watched<T>(
  transport: Transport,
  signal: AbortSignal | undefined,
  act: () => Promise<T>,
): Promise<T> {
  throwIfAborted(signal)
  const stop = (): void => transport.abort(signal?.reason)
  signal?.addEventListener('abort', stop, { once: true })
  try {
    return await act()
  } catch (error) {
    throwIfAborted(signal)
    throw error
  } finally {
    signal?.removeEventListener('abort', stop)
  }
}

class Counts {
  files = 0
  directories = 0
  bytes = 0
  readonly errors: string[] = []

  result(): ScpResult {
    const { files, directories, bytes, errors } = this
    return { files, directories, bytes, errors }
  }
}

class Source {
  readonly #stream: ScpStream
  readonly #files: SftpFileSystem
  readonly #options: ScpOptions
  readonly #counts = new Counts()

  constructor(transport: Transport, files: SftpFileSystem, options: ScpOptions) {
    this.#stream = new ScpStream(transport)
    this.#files = files
    this.#options = options
  }

  async run(paths: readonly string[]): Promise<ScpResult> {
    // The sink opens with an answer to nothing.
    if (await this.#agreed()) {
      for (const path of paths) await this.#any(path, await this.#topName(path), 0)
    }
    return this.#counts.result()
  }

  /** The name to send a path under: `..` and `/` have none of their own. */
  async #topName(path: string): Promise<string> {
    const name = baseName(path)
    if (isEntryName(name)) return name
    const real = await this.#files.realpath(path).catch(() => path)
    return isEntryName(baseName(real)) ? baseName(real) : name
  }

  async #any(path: string, name: string, depth: number): Promise<void> {
    const found = await this.#try(path, () => this.#files.stat(path))
    if (found === undefined) return
    if (isDirectory(found)) {
      if (!this.#options.recursive) return this.#report(`${path}: not a regular file`)
      if (depth >= TREE_DEPTH_MAX) return this.#report(`${path}: too many levels of directories`)
      return this.#directory(path, name, found, depth)
    }
    if (!isFile(found)) return this.#report(`${path}: not a regular file`)
    return this.#file(path, name, found)
  }

  async #directory(path: string, name: string, stat: FileStat, depth: number): Promise<void> {
    if (!(await this.#times(stat))) return
    await this.#stream.sendLine(entryLine('D', stat.mode, 0, name))
    if (!(await this.#agreed())) return
    this.#counts.directories++
    try {
      for await (const entry of entries(this.#files, path)) {
        if (!isEntryName(entry.name)) continue
        await this.#any(joinPath(path, entry.name), entry.name, depth + 1)
      }
    } catch (error) {
      const known = asSftpError(error)
      if (known === undefined) throw error
      await this.#report(`${path}: ${known.message}`)
    }
    await this.#stream.sendLine('E')
    await this.#agreed()
  }

  async #file(path: string, name: string, stat: FileStat): Promise<void> {
    const file = await this.#try(path, () => this.#files.open(path, { read: true }))
    if (file === undefined) return
    try {
      if (!(await this.#times(stat))) return
      await this.#stream.sendLine(entryLine('C', stat.mode, stat.size, name))
      if (!(await this.#agreed())) return
      const failure = await this.#contents(file, path, stat.size)
      if (failure === undefined) await this.#stream.accept()
      else await this.#report(`${path}: ${failure}`)
      if ((await this.#agreed()) && failure === undefined) this.#counts.files++
    } finally {
      await file.close().catch(() => {})
    }
  }

  /** Sends exactly `size` bytes, zeros in place of what cannot be read, and says what that was. */
  async #contents(file: SftpFile, path: string, size: number): Promise<string | undefined> {
    let failure: string | undefined
    const readAt = (position: number): Promise<Uint8Array> =>
      readBlock(file, position, Math.min(DATA_BYTES_MAX, size - position))
    let ahead = size > 0 ? settled(readAt(0)) : undefined
    for (let sent = 0; sent < size && ahead !== undefined; ) {
      const { value, error } = await ahead
      let data = value
      if (error !== undefined) failure ??= asSftpError(error)?.message ?? 'cannot be read'
      else if (data?.length === 0) failure ??= 'became shorter while it was read'
      if (data === undefined || data.length === 0) {
        data = new Uint8Array(Math.min(DATA_BYTES_MAX, size - sent))
      }
      const next = sent + data.length
      // The next block is read while this one leaves.
      ahead = next < size ? settled(failure ? zeros(size - next) : readAt(next)) : undefined
      await this.#stream.sendData(data)
      sent = next
      this.#counts.bytes += data.length
      this.#options.onProgress?.(path, sent, size)
    }
    return failure
  }

  async #times(stat: FileStat): Promise<boolean> {
    if (!this.#options.preserve) return true
    await this.#stream.sendLine(timesLine(stat))
    return this.#agreed()
  }

  /** The sink's consent; its refusal is kept, and ends everything if it is fatal. */
  async #agreed(): Promise<boolean> {
    const answer = await this.#stream.answer()
    if (answer === undefined) return true
    if (answer.fatal) throw new SshError('SSH_REQUEST_REFUSED', answer.text)
    this.#counts.errors.push(answer.text)
    return false
  }

  async #try<T>(path: string, act: () => Promise<T>): Promise<T | undefined> {
    try {
      return await act()
    } catch (error) {
      const known = asSftpError(error)
      if (known === undefined) throw error
      await this.#report(`${path}: ${known.message}`)
      return undefined
    }
  }

  /** Tells both sides of a failure. The sink does not answer such a message. */
  async #report(text: string): Promise<void> {
    this.#counts.errors.push(printablePath(text))
    await this.#stream.refuse(text)
  }
}

/** Writes of one file under way at once. */
const WRITES_MAX = 8

class Sink {
  readonly #stream: ScpStream
  readonly #files: SftpFileSystem
  readonly #options: ScpReceiveOptions
  readonly #counts = new Counts()

  constructor(transport: Transport, files: SftpFileSystem, options: ScpReceiveOptions) {
    this.#stream = new ScpStream(transport)
    this.#files = files
    this.#options = options
  }

  async run(target: string): Promise<ScpResult> {
    const isInto = await this.#isDirectory(target)
    if (this.#options.directory && !isInto) {
      this.#counts.errors.push(`${printablePath(target)}: Not a directory`)
      await this.#stream.refuse(`${target}: Not a directory`)
      return this.#counts.result()
    }
    await this.#stream.accept()
    await this.#level(target, isInto, 0)
    return this.#counts.result()
  }

  /** Takes what comes for one directory, or at the top, up to its end. */
  async #level(target: string, isInto: boolean, depth: number): Promise<void> {
    let times: ScpTimes | undefined
    for (;;) {
      const message = await this.#stream.message()
      if (message === undefined) {
        if (depth === 0) return
        throw new SshError('SSH_CONNECTION_LOST', 'scp: the other side left inside a directory')
      }
      switch (message.type) {
        case 'error':
          if (message.fatal) throw new SshError('SSH_REQUEST_REFUSED', message.text)
          this.#counts.errors.push(message.text)
          break
        case 'times':
          times = message
          await this.#stream.accept()
          break
        case 'end':
          if (depth === 0) throw new SshError('SSH_PROTOCOL', 'scp: an end without a beginning')
          return
        case 'file':
        case 'directory':
          await this.#entry(message, target, isInto, times, depth)
          times = undefined
      }
    }
  }

  async #entry(
    message: Extract<ScpMessage, { type: 'file' | 'directory' }>,
    target: string,
    isInto: boolean,
    times: ScpTimes | undefined,
    depth: number,
  ): Promise<void> {
    const { expected, recursive, preserve } = this.#options
    if (depth === 0 && expected !== undefined && !expected(message.name)) {
      const shown = printablePath(message.name)
      throw new SshError('SSH_PROTOCOL', `scp: ${shown} was sent, which nobody asked for`)
    }
    const path = isInto ? joinPath(target, message.name) : target
    const kept = preserve ? times : undefined
    if (message.type === 'file') return this.#file(message, path, kept)
    if (!recursive) {
      throw new SshError('SSH_PROTOCOL', 'scp: a directory was sent, which nobody asked for')
    }
    if (depth >= TREE_DEPTH_MAX) {
      throw new SshError('SSH_LIMIT', `scp: more than ${TREE_DEPTH_MAX} levels of directories`)
    }
    return this.#directory(message, path, kept, depth)
  }

  async #directory(
    { mode }: { readonly mode: number },
    path: string,
    times: ScpTimes | undefined,
    depth: number,
  ): Promise<void> {
    const made = await this.#try(path, async () => {
      // Ours to write into, whatever it is to become in the end.
      if (!(await this.#isDirectory(path))) await this.#files.mkdir(path, (mode & 0o777) | 0o700)
    })
    // Refusing keeps the source from sending what belongs in there.
    if (!made) return
    this.#counts.directories++
    await this.#stream.accept()
    await this.#level(path, true, depth + 1)
    const changes = { ...(this.#options.preserve && { mode: mode & 0o7777 }), ...times }
    if (Object.keys(changes).length === 0) return this.#stream.accept()
    if (await this.#try(path, () => this.#files.setstat(path, changes))) await this.#stream.accept()
  }

  async #file(
    { mode, size }: { readonly mode: number; readonly size: number },
    path: string,
    times: ScpTimes | undefined,
  ): Promise<void> {
    let file: SftpFile | undefined
    const opened = await this.#try(path, async () => {
      file = await this.#files.open(path, { write: true, create: true }, mode & 0o777)
    })
    if (!opened || file === undefined) return
    await this.#stream.accept()
    const writer = new Writer(file)
    let left = size
    try {
      while (left > 0) {
        const data = await this.#stream.data(Math.min(left, DATA_BYTES_MAX))
        await writer.write(data)
        left -= data.length
        this.#counts.bytes += data.length
        this.#options.onProgress?.(path, size - left, size)
      }
      const confirmed = await this.#stream.answer()
      if (confirmed?.fatal) throw new SshError('SSH_REQUEST_REFUSED', confirmed.text)
      if (confirmed !== undefined) this.#counts.errors.push(confirmed.text)
      const written = await this.#try(path, async () => {
        const changes = { ...(this.#options.preserve && { mode: mode & 0o7777 }), ...times }
        await writer.finish({ size, ...changes })
      })
      if (!written) return
      if (confirmed === undefined) this.#counts.files++
      await this.#stream.accept()
    } catch (error) {
      await writer.drop()
      throw error
    }
  }

  async #isDirectory(path: string): Promise<boolean> {
    const found = await this.#files.stat(path).catch(() => undefined)
    return found !== undefined && isDirectory(found)
  }

  /** Runs an act on a path; a failure of the file system is told to both sides. */
  async #try(path: string, act: () => Promise<void>): Promise<boolean> {
    try {
      await act()
      return true
    } catch (error) {
      const known = asSftpError(error)
      if (known === undefined) throw error
      this.#counts.errors.push(printablePath(`${path}: ${known.message}`))
      await this.#stream.refuse(`${path}: ${known.message}`)
      return false
    }
  }
}

/** Writes a file in order, a few writes ahead of their completion. */
class Writer {
  readonly #file: SftpFile
  readonly #running = new Set<Promise<void>>()
  #position = 0
  #failure: { readonly error: unknown } | undefined

  constructor(file: SftpFile) {
    this.#file = file
  }

  /** After a failure what comes is dropped, as the source cannot be stopped within a file. */
  async write(data: Uint8Array): Promise<void> {
    while (this.#running.size >= WRITES_MAX) await Promise.race(this.#running)
    if (this.#failure !== undefined) return
    const writing: Promise<void> = this.#file
      .write(data, this.#position)
      .catch((error: unknown) => {
        this.#failure ??= { error }
      })
      .finally(() => this.#running.delete(writing))
    this.#running.add(writing)
    this.#position += data.length
  }

  /** Waits for all writes, cuts what an older file had beyond, and closes. */
  async finish(changes: Parameters<SftpFile['setstat']>[0]): Promise<void> {
    await Promise.all(this.#running)
    try {
      if (this.#failure !== undefined) throw this.#failure.error
      await this.#file.setstat(changes)
    } catch (error) {
      await this.#file.close().catch(() => {})
      throw error
    }
    await this.#file.close()
  }

  /** Closes after a failure of the stream. */
  async drop(): Promise<void> {
    await Promise.all(this.#running)
    await this.#file.close().catch(() => {})
  }
}

async function readBlock(file: SftpFile, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  return bytes.subarray(0, await file.read(bytes, position))
}

async function zeros(length: number): Promise<Uint8Array> {
  return new Uint8Array(Math.min(length, DATA_BYTES_MAX))
}

/** Either the value or the error, so that a read ahead may fail before anybody looks. */
function settled<T>(promise: Promise<T>): Promise<{ value?: T; error?: unknown }> {
  return promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error: error ?? new Error('unknown') }),
  )
}
