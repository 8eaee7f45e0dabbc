/** A server's files as a file system: each call is one request, or as few as do. */

import { SshError } from '@sandbox-ssh/protocol'
import * as fast from './fast.ts'
import { draftWrite, encodeRead, sealWrite } from './fast.ts'
import type {
  AttributeChanges,
  DirectoryEntry,
  FileAttributes,
  FileStat,
  FileSystemStat,
  OpenFlags,
  SftpDirectory,
  SftpFile,
  SftpFileSystem,
  UsersAndGroups,
} from './file-system.ts'
import { DATA_BYTES_MAX, DATA_BYTES_SAFE, IDS_MAX } from './limits.ts'
import { frame } from './packets.ts'
import { expect, expectOk, orAborted, type Requester, type Requests } from './requests.ts'
import { SftpError, STATUS } from './status.ts'
import { symlinkOrder } from './symlink-order.ts'
import * as wire from './wire.ts'

/** How much one READ and one WRITE may carry. */
export interface BlockSizes {
  readonly readBytes: number
  readonly writeBytes: number
}

/** A name in a server's directory, with the line it would print for it. */
export interface RemoteEntry extends DirectoryEntry {
  /** As `ls -l` would print it; its form is the server's own. */
  readonly longname: string
}

/** The files of the server at the other end of a session. */
export class RemoteFileSystem implements SftpFileSystem {
  readonly #session: Requests
  readonly #serverIdentification: string | undefined
  readonly #requests: Requester
  /** The one without a signal, and the signal. */
  readonly #bound: { readonly to: RemoteFileSystem; readonly signal: AbortSignal } | undefined
  readonly #symlinkOrder: 'target-first' | 'link-first'
  #sizes: Promise<BlockSizes> | undefined

  constructor(
    session: Requests,
    serverIdentification: string | undefined,
    bound?: { readonly to: RemoteFileSystem; readonly signal: AbortSignal },
  ) {
    this.#session = session
    this.#serverIdentification = serverIdentification
    this.#bound = bound
    this.#requests = bound === undefined ? session : session.under(bound.signal)
    this.#symlinkOrder = symlinkOrder(serverIdentification)
  }

  /**
   * The same files, whose operations, and those of files and directories opened there, all reject once
   * `signal` fires. Handles are closed nevertheless, also those the server gives too late.
   */
  under(signal: AbortSignal | undefined): RemoteFileSystem {
    if (signal === undefined) return this
    const to = this.#bound?.to ?? this
    return new RemoteFileSystem(this.#session, this.#serverIdentification, { to, signal })
  }

  /** Asked for once; servers that say nothing get what every server takes. */
  sizes(signal?: AbortSignal): Promise<BlockSizes> {
    if (this.#bound !== undefined) return this.#bound.to.sizes(signal ?? this.#bound.signal)
    this.#sizes ??= this.#askSizes()
    return orAborted(this.#sizes, signal)
  }

  async #askSizes(): Promise<BlockSizes> {
    const safe = { readBytes: DATA_BYTES_SAFE, writeBytes: DATA_BYTES_SAFE }
    if (!this.supports('limits@openssh.com')) return safe
    const limits = await this.limits().catch((error: unknown) => {
      if (error instanceof SftpError) return undefined
      throw error
    })
    if (limits === undefined) return safe
    const within = (limit: number): number => Math.min(limit || DATA_BYTES_SAFE, DATA_BYTES_MAX)
    return { readBytes: within(limits.readBytesMax), writeBytes: within(limits.writeBytesMax) }
  }

  supports(extension: string): boolean {
    return this.#requests.extensions.has(extension)
  }

  async limits(): Promise<wire.Limits> {
    return wire.limits.decode(await this.#extended('limits@openssh.com', wire.nothing.encode({})))
  }

  async open(
    path: string,
    flags: OpenFlags,
    mode?: number,
    signal?: AbortSignal,
  ): Promise<RemoteFile> {
    const sizes = await this.sizes(signal)
    const packet = await this.#requests.request(
      (id) => frame(wire.open.encode({ id, path, flags, attributes: { mode } })),
      signal,
      undefined,
      (late) => this.#closeLate(late),
    )
    const { handle } = expect(wire.handle, packet)
    return new RemoteFile(this.#requests, this, handle.slice(), sizes)
  }

  async opendir(path: string): Promise<RemoteDirectory> {
    const packet = await this.#requests.request(
      (id) => frame(wire.opendir.encode({ id, path })),
      undefined,
      undefined,
      (late) => this.#closeLate(late),
    )
    return new RemoteDirectory(this.#requests, expect(wire.handle, packet).handle.slice())
  }

  /** A handle that comes when nobody waits for it any more would stay open for good. */
  #closeLate(packet: Uint8Array): void {
    if (packet[0] !== wire.FXP.HANDLE) return
    const { handle } = wire.handle.decode(packet)
    this.#session.closeHandle(handle.slice()).catch(() => {})
  }

  async stat(path: string): Promise<FileStat> {
    return complete(await this.attributes(path, true))
  }

  async lstat(path: string): Promise<FileStat> {
    return complete(await this.attributes(path, false))
  }

  /** What the server tells of a file, which may be less than everything. */
  async attributes(path: string, follow: boolean): Promise<FileAttributes> {
    const codec = follow ? wire.stat : wire.lstat
    const packet = await this.#requests.request((id) => frame(codec.encode({ id, path })))
    return expect(wire.attrs, packet).attributes
  }

  async setstat(path: string, changes: AttributeChanges): Promise<void> {
    await this.#act((id) => wire.setstat.encode({ id, path, attributes: changes }))
  }

  async lsetstat(path: string, changes: AttributeChanges): Promise<void> {
    const data = wire.pathAttributes.encode({ path, attributes: changes })
    await this.#actExtended('lsetstat@openssh.com', data)
  }

  async mkdir(path: string, mode?: number): Promise<void> {
    await this.#act((id) => wire.mkdir.encode({ id, path, attributes: { mode } }))
  }

  async rmdir(path: string): Promise<void> {
    await this.#act((id) => wire.rmdir.encode({ id, path }))
  }

  async remove(path: string): Promise<void> {
    await this.#act((id) => wire.remove.encode({ id, path }))
  }

  async rename(oldPath: string, newPath: string): Promise<void> {
    await this.#act((id) => wire.rename.encode({ id, oldPath, newPath }))
  }

  async posixRename(oldPath: string, newPath: string): Promise<void> {
    await this.#actExtended('posix-rename@openssh.com', wire.twoPaths.encode({ oldPath, newPath }))
  }

  async symlink(target: string, linkPath: string): Promise<void> {
    const [first, second] =
      this.#symlinkOrder === 'target-first' ? [target, linkPath] : [linkPath, target]
    await this.#act((id) => wire.symlink.encode({ id, first, second }))
  }

  async readlink(path: string): Promise<string> {
    const packet = await this.#requests.request((id) => frame(wire.readlink.encode({ id, path })))
    return onlyName(packet)
  }

  async realpath(path: string): Promise<string> {
    const packet = await this.#requests.request((id) => frame(wire.realpath.encode({ id, path })))
    return onlyName(packet)
  }

  async hardlink(existingPath: string, linkPath: string): Promise<void> {
    const data = wire.twoPaths.encode({ oldPath: existingPath, newPath: linkPath })
    await this.#actExtended('hardlink@openssh.com', data)
  }

  async statvfs(path: string): Promise<FileSystemStat> {
    const data = await this.#extended('statvfs@openssh.com', wire.onePath.encode({ path }))
    return wire.fileSystemStat.decode(data)
  }

  async copyData(
    source: SftpFile,
    sourcePosition: number,
    length: number,
    destination: SftpFile,
    destinationPosition: number,
  ): Promise<void> {
    if (!(source instanceof RemoteFile && destination instanceof RemoteFile)) {
      throw new TypeError('source and destination must be files of this server')
    }
    const data = wire.copyData.encode({
      source: source.handle,
      sourcePosition,
      length,
      destination: destination.handle,
      destinationPosition,
    })
    await this.#actExtended('copy-data', data)
  }

  async usersGroupsById(uids: readonly number[], gids: readonly number[]): Promise<UsersAndGroups> {
    if (uids.length > IDS_MAX || gids.length > IDS_MAX) {
      throw new RangeError(`at most ${IDS_MAX} ids at once`)
    }
    const data = wire.usersGroupsById.encode({ uids, gids })
    return wire.usersAndGroups.decode(await this.#extended('users-groups-by-id@openssh.com', data))
  }

  async homeDirectory(username: string): Promise<string> {
    const data = wire.homeDirectory.encode({ username })
    return onlyName(await this.#askExtended('home-directory', data))
  }

  async expandPath(path: string): Promise<string> {
    const data = wire.onePath.encode({ path })
    return onlyName(await this.#askExtended('expand-path@openssh.com', data))
  }

  /** `fsync@openssh.com` for a file. */
  async sync(handle: Uint8Array): Promise<void> {
    await this.#actExtended('fsync@openssh.com', wire.oneHandle.encode({ handle }))
  }

  /** `fstatvfs@openssh.com` for a file. */
  async fstatvfs(handle: Uint8Array): Promise<FileSystemStat> {
    const data = await this.#extended('fstatvfs@openssh.com', wire.oneHandle.encode({ handle }))
    return wire.fileSystemStat.decode(data)
  }

  async #act(encode: (id: number) => Uint8Array): Promise<void> {
    expectOk(await this.#requests.request((id) => frame(encode(id))))
  }

  async #actExtended(request: string, data: Uint8Array): Promise<void> {
    expectOk(await this.#askExtended(request, data))
  }

  async #extended(request: string, data: Uint8Array): Promise<Uint8Array> {
    return expect(wire.extendedReply, await this.#askExtended(request, data)).data
  }

  /** Does not ask a server that did not offer: some answer such requests wrongly, or not at all. */
  #askExtended(request: string, data: Uint8Array): Promise<Uint8Array> {
    if (!this.supports(request)) {
      const message = `the server does not offer ${request}`
      return Promise.reject(new SftpError(STATUS.OP_UNSUPPORTED, message))
    }
    return this.#requests.request((id) => frame(wire.extended.encode({ id, request, data })))
  }
}

/**
 * A file open at a server. Requests may overlap; none is retried.
 *
 * @example
 * const file = await sftp.open('/etc/motd', { read: true, write: true })
 * await file.write(new TextEncoder().encode('ALL'), 0)
 * const start = await file.view(9, 0)
 * console.log(new TextDecoder().decode(start)) // ALL quiet
 *
 * // The same without a copy: what is written is filled in where it leaves from, and what was read
 * // goes back, for the next packet to come into.
 * file.release(start)
 * const draft = file.draft(3)
 * new TextEncoder().encodeInto('All', draft.body)
 * await file.send(draft, 0, 3)
 * console.log(new TextDecoder().decode(await file.view(9, 0))) // All quiet
 * await file.close()
 */
export class RemoteFile implements SftpFile {
  readonly #requests: Requester
  readonly #files: RemoteFileSystem
  readonly #sizes: BlockSizes
  /** The server's name for it; opaque. */
  readonly handle: Uint8Array

  constructor(requests: Requester, files: RemoteFileSystem, handle: Uint8Array, sizes: BlockSizes) {
    this.#requests = requests
    this.#files = files
    this.handle = handle
    this.#sizes = sizes
  }

  /** Most bytes one `view` gets and one sealed draft carries. */
  get sizes(): BlockSizes {
    return this.#sizes
  }

  async read(into: Uint8Array, position: number, signal?: AbortSignal): Promise<number> {
    const data = await this.view(into.length, position, signal)
    into.set(data)
    this.release(data)
    return data.length
  }

  /**
   * Up to `length` bytes at `position`, as a view of the packet that brought them, which is the
   * caller's to keep; empty at the end of the file.
   */
  async view(length: number, position: number, signal?: AbortSignal): Promise<Uint8Array> {
    const asked = Math.min(length, this.#sizes.readBytes)
    if (asked === 0) return new Uint8Array(0)
    const packet = await this.#requests.request(
      (id) => encodeRead(id, this.handle, position, asked),
      signal,
    )
    if (packet[0] === wire.FXP.DATA) {
      const { data } = fast.decodeData(packet)
      if (data.length > asked) {
        throw new SshError('SSH_PROTOCOL', `${data.length} bytes where ${asked} were asked for`)
      }
      return data
    }
    const { status } = wire.status.decode(packet)
    if (status !== STATUS.EOF) expectOk(packet)
    return new Uint8Array(0)
  }

  async write(data: Uint8Array, position: number, signal?: AbortSignal): Promise<void> {
    for (let at = 0; at < data.length; ) {
      const part = data.subarray(at, at + this.#sizes.writeBytes)
      const draft = this.draft(part.length)
      draft.body.set(part)
      await this.send(draft, position + at, part.length, signal)
      at += part.length
    }
  }

  /** Room for one write of up to `length` bytes, to be filled in place. */
  draft(length: number): fast.Draft {
    return draftWrite(this.handle, Math.min(length, this.#sizes.writeBytes), this.#requests.buffers)
  }

  /** Takes back a view that nobody looks at any more, or a draft's body. Not necessary. */
  release(bytes: Uint8Array): void {
    this.#requests.buffers.give(bytes)
  }

  /** Writes the first `length` bytes of a draft, which is used up by it. */
  async send(
    draft: fast.Draft,
    position: number,
    length: number,
    signal?: AbortSignal,
  ): Promise<void> {
    let isSent = false
    const encode = (id: number): Uint8Array => sealWrite(draft, id, position, length)
    const reply = await this.#requests.request(encode, signal, () => {
      isSent = true
    })
    // A reply that overtakes its request does not make the request's bytes free.
    if (isSent) this.release(draft.body)
    expectOk(reply)
  }

  async stat(signal?: AbortSignal): Promise<FileStat> {
    return complete(await this.attributes(signal))
  }

  /** What the server tells of the file, which may be less than everything. */
  async attributes(signal?: AbortSignal): Promise<FileAttributes> {
    const { handle } = this
    const packet = await this.#requests.request(
      (id) => frame(wire.fstat.encode({ id, handle })),
      signal,
    )
    return expect(wire.attrs, packet).attributes
  }

  async setstat(changes: AttributeChanges, signal?: AbortSignal): Promise<void> {
    const request = { handle: this.handle, attributes: changes }
    expectOk(
      await this.#requests.request((id) => frame(wire.fsetstat.encode({ id, ...request })), signal),
    )
  }

  /** Cuts the file, or fills it with zeros, to `size` bytes. */
  truncate(size: number, signal?: AbortSignal): Promise<void> {
    return this.setstat({ size }, signal)
  }

  sync(signal?: AbortSignal): Promise<void> {
    return this.#files.under(signal).sync(this.handle)
  }

  statvfs(signal?: AbortSignal): Promise<FileSystemStat> {
    return this.#files.under(signal).fstatvfs(this.handle)
  }

  /** Closes it; a signal ends the waiting for the answer, which tells of writes that failed. */
  close(signal?: AbortSignal): Promise<void> {
    return this.#requests.closeHandle(this.handle, signal)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** A directory open at a server. */
export class RemoteDirectory implements SftpDirectory {
  readonly #requests: Requester
  readonly #handle: Uint8Array

  constructor(requests: Requester, handle: Uint8Array) {
    this.#requests = requests
    this.#handle = handle
  }

  /** What the server sends at once, `.` and `..` left out; how much that is, it decides. */
  async read(): Promise<readonly RemoteEntry[] | undefined> {
    const handle = this.#handle
    const packet = await this.#requests.request((id) => frame(wire.readdir.encode({ id, handle })))
    try {
      const { entries } = expect(wire.name, packet)
      return entries.filter(({ name }) => name !== '.' && name !== '..')
    } catch (error) {
      if (error instanceof SftpError && error.status === STATUS.EOF) return undefined
      throw error
    }
  }

  close(): Promise<void> {
    return this.#requests.closeHandle(this.#handle)
  }
}

/** Parts a server left out as zeros: unknown type, nobody's, empty, long ago. */
function complete(attributes: FileAttributes): FileStat {
  const { size = 0, uid = 0, gid = 0, mode = 0, atime = 0, mtime = 0 } = attributes
  return { size, uid, gid, mode, atime, mtime }
}

function onlyName(packet: Uint8Array): string {
  const { entries } = expect(wire.name, packet)
  const [entry] = entries
  if (entry === undefined || entries.length !== 1) {
    throw new SshError('SSH_PROTOCOL', `${entries.length} names where one was asked for`)
  }
  return entry.name
}
