// Every call can be given up by a signal, at once, while the server does not answer; what comes late
// is put in order, and the session goes on.
import { memoryPair, SshError, type Transport } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openSftp, SftpClient } from '../src/client.ts'
import type { SftpFileSystem } from '../src/file-system.ts'
import { memoryFileSystem } from '../src/memory-file-system.ts'
import { serveSftp } from '../src/server.ts'
import { rejection, within } from './within.ts'

/** A client whose server can be kept from answering, and how many handles the server has open. */
interface Stalled {
  readonly sftp: SftpClient
  /** Nothing of the server arrives until `resume`. */
  stall(): void
  resume(): void
  handles(): number
  dispose(): Promise<void>
}

async function stalled(): Promise<Stalled> {
  const [left, right] = memoryPair()
  let open = Promise.resolve()
  let resume: (() => void) | undefined
  const near: Transport = {
    async read() {
      const chunk = await left.read()
      await open
      return chunk
    },
    write: (chunk) => left.write(chunk),
    close: () => left.close(),
    abort: (reason) => left.abort(reason),
  }
  let handles = 0
  const served = serveSftp(
    right,
    counted(memoryFileSystem(), (change) => {
      handles += change
    }),
  )
  const sftp = await openSftp(near)
  await sftp.mkdirs('/dir/inner')
  await sftp.write('/dir/file', 'contents')
  return {
    sftp,
    stall: () => {
      if (resume !== undefined) return
      open = new Promise((resolve) => {
        resume = resolve
      })
    },
    resume: () => resume?.(),
    handles: () => handles,
    dispose: async () => {
      await sftp.close()
      await served
    },
  }
}

/** The same files, telling of each handle that is opened or closed. */
function counted(files: SftpFileSystem, count: (change: number) => void): SftpFileSystem {
  const told = <T extends { close(): Promise<void> }>(opened: T): T => {
    count(1)
    const { close } = opened
    return Object.assign(opened, {
      close: () => {
        count(-1)
        return close.call(opened)
      },
    })
  }
  return new Proxy(files, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name)
      if (typeof member !== 'function') return member
      if (name === 'open' || name === 'opendir') {
        return async (...args: unknown[]) => told(await member.apply(target, args))
      }
      return member.bind(target)
    },
  })
}

const codeOf = async (waiting: Promise<unknown>): Promise<string> => {
  const error = await rejection(within(2000, waiting))
  assert.instance(error, SshError)
  return (error as SshError).code
}

type Call = (sftp: SftpClient, signal: AbortSignal) => Promise<unknown>

const calls: Readonly<Record<string, Call>> = {
  read: (sftp, signal) => sftp.read('/dir/file', { signal }),
  readText: (sftp, signal) => sftp.readText('/dir/file', { signal }),
  write: (sftp, signal) => sftp.write('/dir/new', 'text', { signal }),
  readable: (sftp, signal) => sftp.readable('/dir/file', { signal }),
  writable: (sftp, signal) => sftp.writable('/dir/new', { signal }),
  open: (sftp, signal) => sftp.open('/dir/file', { read: true }, undefined, { signal }),
  stat: (sftp, signal) => sftp.stat('/dir', { signal }),
  lstat: (sftp, signal) => sftp.lstat('/dir', { signal }),
  exists: (sftp, signal) => sftp.exists('/dir', { signal }),
  setstat: (sftp, signal) => sftp.setstat('/dir/file', { mode: 0o600 }, { signal }),
  lsetstat: (sftp, signal) => sftp.lsetstat('/dir/file', { mode: 0o600 }, { signal }),
  readdir: (sftp, signal) => sftp.readdir('/dir', { signal }).next(),
  list: (sftp, signal) => sftp.list('/dir', { signal }),
  mkdir: (sftp, signal) => sftp.mkdir('/dir/made', 0o700, { signal }),
  mkdirs: (sftp, signal) => sftp.mkdirs('/dir/a/b/c', undefined, { signal }),
  rmdir: (sftp, signal) => sftp.rmdir('/dir/nothing', { signal }),
  remove: (sftp, signal) => sftp.remove('/dir/nothing', { signal }),
  removeAll: (sftp, signal) => sftp.removeAll('/dir/inner', { signal }),
  rename: (sftp, signal) => sftp.rename('/dir/nothing', '/dir/other', { signal }),
  symlink: (sftp, signal) => sftp.symlink('file', '/dir/link', { signal }),
  hardlink: (sftp, signal) => sftp.hardlink('/dir/file', '/dir/hard', { signal }),
  readlink: (sftp, signal) => sftp.readlink('/dir/nothing', { signal }),
  realpath: (sftp, signal) => sftp.realpath('.', { signal }),
  expandPath: (sftp, signal) => sftp.expandPath('~', { signal }),
  homeDirectory: (sftp, signal) => sftp.homeDirectory('', { signal }),
  statvfs: (sftp, signal) => sftp.statvfs('/dir', { signal }),
  copyData: (sftp, signal) => sftp.copyData('/dir/file', '/dir/copy', { signal }),
  usersGroupsById: (sftp, signal) => sftp.usersGroupsById([0], [0], { signal }),
  limits: (sftp, signal) => sftp.limits({ signal }),
  get: (sftp, signal) => sftp.get('/dir', memoryFileSystem(), '/dir', { recursive: true, signal }),
  put: (sftp, signal) => sftp.put(memoryFileSystem(), '/', '/dir', { recursive: true, signal }),
}

/** Not given up by a signal of their own: they end the session, or belong to it. */
const others = ['constructor', 'fsync', 'close', 'abort']

test('the table below has every method', () => {
  const methods = Object.entries(Object.getOwnPropertyDescriptors(SftpClient.prototype))
  const names = methods.filter(([, { value }]) => typeof value === 'function').map(([name]) => name)
  assert.equal(names.sort(), [...Object.keys(calls), ...others].sort())
})

for (const [name, call] of Object.entries(calls)) {
  test(`${name} is given up at once, and what comes late leaves nothing behind`, async () => {
    const { sftp, stall, resume, handles, dispose } = await stalled()
    const already = AbortSignal.abort()
    assert.is(await codeOf(call(sftp, already)), 'SSH_ABORTED')

    stall()
    const controller = new AbortController()
    const waiting = call(sftp, controller.signal)
    waiting.catch(() => {})
    controller.abort()
    assert.is(await codeOf(waiting), 'SSH_ABORTED')

    resume()
    // Answered behind all that was given up, so that is over now; then what came late is closed.
    assert.ok(await within(2000, sftp.exists('/dir')))
    await within(2000, sftp.stat('/dir'))
    assert.is(handles(), 0)
    await within(2000, dispose())
  })
}

test('a copy is given up in the midst of it', async () => {
  const { sftp, stall, resume, handles, dispose } = await stalled()
  await sftp.write('/dir/large', new Uint8Array(3_000_000))
  const controller = new AbortController()
  const { signal } = controller
  const onProgress = (): void => stall()
  const copying = sftp.get('/dir', memoryFileSystem(), '/dir', {
    recursive: true,
    signal,
    onProgress,
  })
  copying.catch(() => {})
  await new Promise((resolve) => setTimeout(resolve, 0))
  controller.abort()
  assert.is(await codeOf(copying), 'SSH_ABORTED')
  resume()
  await within(2000, sftp.stat('/dir'))
  await within(2000, sftp.stat('/dir'))
  assert.is(handles(), 0)
  await dispose()
})

test('calls on an open file are given up, and the file goes on', async () => {
  const { sftp, stall, resume, handles, dispose } = await stalled()
  const file = await sftp.open('/dir/file', { read: true, write: true })
  stall()
  const controller = new AbortController()
  const { signal } = controller
  const waiting = [
    file.read(new Uint8Array(4), 0, signal),
    file.view(4, 0, signal),
    file.write(new Uint8Array(4), 0, signal),
    file.stat(signal),
    file.setstat({ mode: 0o600 }, signal),
    file.truncate(4, signal),
    file.sync(signal),
    file.statvfs(signal),
    sftp.fsync(file, { signal }),
  ].map(codeOf)
  controller.abort()
  assert.equal(new Set(await Promise.all(waiting)), new Set(['SSH_ABORTED']))
  // Closing is always asked for; the signal ends only the waiting.
  assert.is(await codeOf(file.close(AbortSignal.abort())), 'SSH_ABORTED')
  resume()
  await within(2000, sftp.stat('/dir'))
  assert.is(handles(), 0)
  await dispose()
})

test('a deadline is told from an abort, and opening a session has one, too', async () => {
  const { sftp, stall, resume, dispose } = await stalled()
  stall()
  assert.is(await codeOf(sftp.stat('/', { signal: AbortSignal.timeout(5) })), 'SSH_TIMEOUT')
  resume()
  await dispose()
  const never = {
    subsystem: (_: string, { signal }: { signal?: AbortSignal | undefined } = {}) =>
      new Promise<Transport>((_, reject) => {
        signal?.addEventListener('abort', () => reject(new SshError('SSH_ABORTED', 'given up')))
      }),
  }
  const controller = new AbortController()
  const opening = openSftp(never, { signal: controller.signal })
  controller.abort()
  assert.is(await codeOf(opening), 'SSH_ABORTED')
})

test('the signal of the opening means nothing to the session', async () => {
  const [left, right] = memoryPair()
  const served = serveSftp(right, memoryFileSystem())
  const seen: (AbortSignal | undefined)[] = []
  const source = {
    subsystem: async (_: string, options: { signal?: AbortSignal | undefined } = {}) => {
      seen.push(options.signal)
      return left
    },
  }
  const controller = new AbortController()
  const sftp = await openSftp(source, { signal: controller.signal })
  controller.abort()
  assert.equal(
    seen.map((signal) => signal?.aborted),
    [false],
  )
  assert.ok(await sftp.exists('/'))
  await sftp.close()
  await served
})

test.run()
