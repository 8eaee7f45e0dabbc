// The scp protocol between our two sides, and against hostile ones.
import { memoryPair, type SshError, type Transport } from '@sandbox-ssh/protocol'
import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { SftpFileSystem } from '../src/file-system.ts'
import { memoryFileSystem } from '../src/memory-file-system.ts'
import { decodePath } from '../src/path.ts'
import { type ScpReceiveOptions, type ScpResult, scpReceive, scpSend } from '../src/scp.ts'
import { formatScpCommand, parseScpCommand, scpGet, scpPut, serveScp } from '../src/scp-command.ts'
import { expandScpPath } from '../src/scp-patterns.ts'
import { errnoError } from '../src/status.ts'
import { rejection, within } from './within.ts'

const text = new TextEncoder()

async function put(
  files: SftpFileSystem,
  path: string,
  contents: Uint8Array | string,
): Promise<void> {
  const file = await files.open(path, { write: true, create: true, truncate: true })
  await file.write(typeof contents === 'string' ? text.encode(contents) : contents, 0)
  await file.close()
}

async function get(files: SftpFileSystem, path: string): Promise<string> {
  const file = await files.open(path, { read: true })
  const bytes = new Uint8Array((await file.stat()).size)
  await file.read(bytes, 0)
  await file.close()
  return new TextDecoder().decode(bytes)
}

/** Copies from one file system to another. */
async function copy(
  from: SftpFileSystem,
  paths: readonly string[],
  to: SftpFileSystem,
  target: string,
  options: ScpReceiveOptions = {},
): Promise<[ScpResult, ScpResult]> {
  const [left, right] = memoryPair({ capacityBytes: 5000 })
  const sending = scpSend(left, from, paths, options).finally(() => left.close())
  return within(10_000, Promise.all([sending, scpReceive(right, to, target, options)]))
}

/** A source that sends `script`, answers unread. */
async function hostile(
  script: string,
  options: ScpReceiveOptions = {},
): Promise<{ readonly files: SftpFileSystem; readonly outcome: unknown }> {
  const files = memoryFileSystem()
  await files.mkdir('in')
  const [left, right] = memoryPair()
  void (async () => {
    while ((await left.read()) !== undefined);
  })().catch(() => {})
  await left.write(text.encode(script))
  await left.close()
  const outcome = await within(2000, scpReceive(right, files, 'in', options)).catch(
    (error: unknown) => error,
  )
  return { files, outcome }
}

test('files arrive with their bytes, under their names or a new one', async () => {
  const from = memoryFileSystem()
  await put(from, 'a', 'hello')
  await put(from, 'empty', '')
  const to = memoryFileSystem()
  await to.mkdir('d')
  const [sent, received] = await copy(from, ['a', 'empty'], to, 'd')
  assert.equal(sent, received)
  assert.is(sent.files, 2)
  assert.is(await get(to, 'd/a'), 'hello')
  assert.is(await get(to, 'd/empty'), '')
  await put(to, 'longer', 'something longer')
  await copy(from, ['a'], to, 'longer')
  assert.is(await get(to, 'longer'), 'hello')
})

test('trees arrive whole, with modes and times if wanted', async () => {
  const from = memoryFileSystem()
  await from.mkdir('t')
  await from.mkdir('t/empty', 0o500)
  await from.mkdir('t/d')
  const big = Uint8Array.from({ length: 700_000 }, (_, i) => i % 251)
  await put(from, 't/d/big', big)
  const odd = decodePath(Uint8Array.of(0xff, 0x20, 0xc3))
  await put(from, `t/${odd}`, 'odd')
  await from.setstat('t/d/big', { mode: 0o751 })
  await from.setstat('t/d/big', { atime: 10, mtime: 20 })
  await from.setstat('t/d', { atime: 30, mtime: 40 })
  const to = memoryFileSystem()
  const [sent] = await copy(from, ['t'], to, 'copy', { recursive: true, preserve: true })
  assert.equal(sent, { files: 2, directories: 3, bytes: 700_003, errors: [] })
  assert.is(await get(to, `copy/${odd}`), 'odd')
  assert.is((await to.stat('copy/d/big')).size, 700_000)
  assert.is((await to.stat('copy/d/big')).mode & 0o7777, 0o751)
  assert.is((await to.stat('copy/d/big')).mtime, 20)
  assert.is((await to.stat('copy/d')).mtime, 40)
  assert.is((await to.stat('copy/empty')).mode & 0o7777, 0o500)
})

test('what cannot be copied is named, and the rest still is', async () => {
  const from = memoryFileSystem()
  await put(from, 'a', 'A')
  await from.mkdir('d')
  const to = memoryFileSystem()
  await to.mkdir('in')
  await to.mkdir('in/a')
  await put(from, 'b', 'B')
  const [sent, received] = await copy(from, ['no', 'd', 'a', 'b'], to, 'in')
  assert.is(sent.files, 1)
  assert.is(sent.errors.length, 3)
  assert.is(received.errors.length, 3)
  assert.match(sent.errors[0] ?? '', /no: No such file/)
  assert.match(sent.errors[1] ?? '', /d: not a regular file/)
  assert.match(sent.errors[2] ?? '', /a: Is a directory/)
  assert.is(await get(to, 'in/b'), 'B')
})

test('a file that shrinks or fails while it is read is an error, not a hang or a lie', async () => {
  for (const failing of [false, true]) {
    const from = memoryFileSystem()
    await put(from, 'a', new Uint8Array(600_000))
    await put(from, 'b', 'B')
    const tricky: SftpFileSystem = new Proxy(from, {
      get(target, name) {
        const member: unknown = Reflect.get(target, name)
        if (name !== 'open') return typeof member === 'function' ? member.bind(target) : member
        return async (path: string, flags: object) => {
          const file = await from.open(path, flags)
          if (path !== 'a') return file
          return {
            ...file,
            async read(into: Uint8Array, position: number) {
              if (position < 300_000) return file.read(into, position)
              if (failing) throw errnoError('EIO')
              return 0
            },
          }
        }
      },
    })
    const to = memoryFileSystem()
    await to.mkdir('in')
    const [sent, received] = await copy(tricky, ['a', 'b'], to, 'in')
    assert.is(sent.files, 1)
    assert.is(received.files, 1)
    assert.is(sent.errors.length, 1)
    assert.is(received.errors.length, 1)
    assert.is(await get(to, 'in/b'), 'B')
  }
})

test('a full target is reported, and the session goes on', async () => {
  const from = memoryFileSystem()
  await put(from, 'a', new Uint8Array(500_000))
  await put(from, 'b', 'B')
  const to = memoryFileSystem({ capacityBytes: 1000 })
  await to.mkdir('in')
  const [sent, received] = await copy(from, ['a', 'b'], to, 'in')
  assert.match(sent.errors[0] ?? '', /No space left/)
  assert.is(received.files, 0 + 1)
  assert.is(await get(to, 'in/b'), 'B')
})

test('a target that has to be a directory is checked', async () => {
  const from = memoryFileSystem()
  await put(from, 'a', 'A')
  const to = memoryFileSystem()
  await put(to, 'file', '')
  const [sent, received] = await copy(from, ['a'], to, 'file', { directory: true })
  assert.match(sent.errors[0] ?? '', /Not a directory/)
  assert.is(received.files, 0)
})

test('a hostile source cannot name anything outside the target', async () => {
  for (const name of ['../evil', '..', '.', 'a/b', '/etc/evil', '']) {
    for (const line of [`C0644 1 ${name}\nx\0`, `D0755 0 ${name}\n`]) {
      const { files, outcome } = await hostile(line, { recursive: true })
      assert.is((outcome as SshError).code, 'SSH_PROTOCOL', line)
      assert.instance(await rejection(files.lstat('evil')), Error)
    }
  }
})

test('a hostile source cannot send what nobody asked for (CVE-2019-6111)', async () => {
  const expected = (name: string): boolean => name === 'wanted'
  const { outcome, files } = await hostile('C0644 1 .bashrc\nx\0', { expected })
  assert.is((outcome as SshError).code, 'SSH_PROTOCOL')
  assert.instance(await rejection(files.lstat('in/.bashrc')), Error)
  assert.is(
    ((await hostile('D0755 0 wanted\n', { expected })).outcome as SshError).code,
    'SSH_PROTOCOL',
  )
  const good = await hostile('C0644 1 wanted\nx\0', { expected })
  assert.is((good.outcome as ScpResult).files, 1)
})

test('malformed lines, depths and ends are refused', async () => {
  const cases = [
    'E\n',
    'Hello, this is a login banner\n',
    'C644 1 a\n',
    'C0644 -1 a\n',
    'C0644 99999999999999999999 a\n',
    'C0644 1\n',
    'Tnow\n',
    `C0644 1 ${'n'.repeat(10_000)}\n`,
  ]
  for (const script of cases) {
    const { outcome } = await hostile(script, { recursive: true })
    assert.is((outcome as SshError).code, 'SSH_PROTOCOL', script.slice(0, 30))
  }
  const deep = await hostile('D0755 0 d\n'.repeat(100), { recursive: true })
  assert.is((deep.outcome as SshError).code, 'SSH_LIMIT')
  for (const cut of ['C0644 10 a\nxx', 'C06', 'D0755 0 d\n', 'C0644 1 a\nx']) {
    const { outcome } = await hostile(cut, { recursive: true })
    assert.is((outcome as SshError).code, 'SSH_CONNECTION_LOST', cut)
  }
  const fatal = await hostile('\u0002scp: no\u001b[m\n')
  assert.is((fatal.outcome as SshError).code, 'SSH_REQUEST_REFUSED')
  assert.match((fatal.outcome as Error).message, /no\\x1b\[m/)
})

test('any bytes from a source or sink end the session with an error of ours or a result', async () => {
  const piece = fc.oneof(
    fc.constantFrom('C0644 3 a\n', 'abc\0', 'D0755 0 d\n', 'E\n', 'T1 0 1 0\n', '\u0001no\n', '\0'),
    fc.string({ maxLength: 10 }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) => {
      const { outcome } = await hostile(pieces.join(''), { recursive: true, preserve: true })
      if (outcome instanceof Error) assert.match((outcome as SshError).code, /^SSH_/)
      const from = memoryFileSystem()
      await put(from, 'a', 'A')
      const [left, right] = memoryPair()
      await right.write(text.encode(pieces.join('')))
      await right.close()
      await within(2000, scpSend(left, from, ['a', 'a', 'a'])).catch((error: unknown) =>
        assert.match((error as SshError).code, /^SSH_/),
      )
    }),
    { numRuns: 200 },
  )
})

test('an abort ends a copy that waits', async () => {
  const [, right] = memoryPair()
  const signal = AbortSignal.timeout(10)
  const error = await rejection(
    within(2000, scpReceive(right, memoryFileSystem(), 'x', { signal })),
  )
  assert.is((error as SshError).code, 'SSH_TIMEOUT')
})

test('command lines are written and read back', () => {
  void fc.assert(
    fc.property(
      fc.string({ minLength: 1 }).filter((path) => !/[\0\n]/.test(path)),
      fc.boolean(),
      fc.boolean(),
      (path, recursive, preserve) => {
        const command = {
          side: 'sink',
          recursive,
          preserve,
          directory: false,
          paths: [path],
        } as const
        assert.equal(parseScpCommand(formatScpCommand(command)), command)
      },
    ),
  )
})

test('command lines of real clients are understood, and those for a shell are left to it', () => {
  const sink = parseScpCommand('scp -v -t -p -r -- "my dir/a"')
  assert.equal(sink, {
    side: 'sink',
    recursive: true,
    preserve: true,
    directory: false,
    paths: ['my dir/a'],
  })
  assert.equal(parseScpCommand('/usr/bin/scp -f a\\ b c')?.paths, ['a b', 'c'])
  assert.equal(parseScpCommand('scp -td .')?.directory, true)
  for (const line of [
    'ls',
    'scp',
    'scp -t',
    'scp a b',
    'scp -f [ab].txt',
    'scp -t *',
    'scp -? a',
    'scp -f $HOME',
    'scp -f "$(id)"',
    'scp -t a; rm -rf b',
    'scp -t a | cat',
    'scp -t `id`',
    "scp -t 'open",
    'scp -t a b',
    'scp -t -S prog a',
    'env scp -t a',
  ]) {
    assert.is(parseScpCommand(line), undefined, line)
  }
})

test('patterns of a source are expanded as a shell would', async () => {
  const files = memoryFileSystem({ home: '/home/ada' })
  await files.mkdir('/home/ada/logs')
  await files.mkdir('/home/ada/more')
  for (const name of [
    'a.txt',
    'b.txt',
    'c.log',
    '.hidden.txt',
    '*.txt',
    'logs/x.txt',
    'more/y.txt',
  ]) {
    const file = await files.open(`/home/ada/${name}`, { write: true, create: true })
    await file.close()
  }
  const expand = async (line: string): Promise<readonly string[]> => {
    const command = parseScpCommand(line)
    assert.ok(command)
    const [text = ''] = command?.paths ?? []
    return expandScpPath(files, { text, wildcards: command?.wildcards?.[0] ?? [] })
  }
  assert.equal(await expand('scp -f *.txt'), ['*.txt', 'a.txt', 'b.txt'])
  assert.equal(await expand("scp -f '*.txt'"), ['*.txt'])
  assert.equal(await expand('scp -f \\**'), ['*.txt'])
  assert.equal(await expand('scp -f ?.log'), ['c.log'])
  assert.equal(await expand('scp -f .h*'), ['.hidden.txt'])
  assert.equal(await expand('scp -f /home/*/*/?.txt'), [
    '/home/ada/logs/x.txt',
    '/home/ada/more/y.txt',
  ])
  assert.equal(await expand('scp -f none*'), ['none*'])
  assert.equal(await expand('scp -f missing/*'), ['missing/*'])
})

/** An SSH client whose server stands in for scp. */
function clientOf(files: SftpFileSystem): {
  exec: (command: Uint8Array) => Promise<{ channel: Transport }>
} {
  return {
    async exec(line) {
      const command = parseScpCommand(decodePath(line))
      assert.ok(command)
      const [left, right] = memoryPair()
      if (command !== undefined) {
        void serveScp(right, files, command)
          .finally(() => right.close())
          .catch(() => {})
      }
      return { channel: left }
    },
  }
}

test('scpGet and scpPut use the scp at the other end', async () => {
  const far = memoryFileSystem({ home: '/home/ada' })
  const near = memoryFileSystem()
  await put(near, 'a', 'hello')
  assert.is((await scpPut(clientOf(far), near, 'a', '~/b c')).files, 1)
  assert.is(await get(far, '/home/ada/b c'), 'hello')
  assert.is((await scpGet(clientOf(far), '~/b c', near, 'back')).files, 1)
  assert.is(await get(near, 'back'), 'hello')
  const missing = await scpGet(clientOf(far), 'no', near, 'x')
  assert.match(missing.errors[0] ?? '', /No such file/)
})

test.run()
