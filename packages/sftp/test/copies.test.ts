import { connect, generateKey, memoryPair, pinned, publickey, serve } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type CopyClient, getFiles, putFiles } from '../src/copies.ts'
import type { SftpFileSystem } from '../src/file-system.ts'
import { memoryFileSystem } from '../src/memory-file-system.ts'
import { parseScpCommand, serveScp } from '../src/scp-command.ts'
import { sftpServer } from '../src/server.ts'
import { SftpError, STATUS } from '../src/status.ts'

const key = generateKey('ed25519')

/** A client of a server that has the given ways to its files, and no shell. */
async function clientOf(
  files: SftpFileSystem,
  has: { readonly sftp: boolean; readonly scp: boolean },
): Promise<CopyClient & { close(): Promise<void> }> {
  const [left, right] = memoryPair()
  const serving = serve(right, {
    hostKeys: [key],
    auth: { publickey: () => true },
    ...(has.sftp && { subsystems: { sftp: sftpServer(files) } }),
    exec: (session) => {
      const command = has.scp ? parseScpCommand(session.command) : undefined
      return command === undefined ? 127 : serveScp(session.transport, files, command)
    },
  })
  const client = await connect(left, {
    username: 'ada',
    hostKey: pinned(key.publicKey),
    auth: [publickey(key)],
  })
  await serving
  return client
}

async function write(files: SftpFileSystem, path: string, text: string): Promise<void> {
  const file = await files.open(path, { write: true, create: true })
  await file.write(new TextEncoder().encode(text), 0)
  await file.close()
}

async function read(files: SftpFileSystem, path: string): Promise<string> {
  const file = await files.open(path, { read: true })
  const bytes = new Uint8Array(100)
  const length = await file.read(bytes, 0)
  await file.close()
  return new TextDecoder().decode(bytes.subarray(0, length))
}

for (const by of ['sftp', 'scp'] as const) {
  test(`files and trees are copied both ways by ${by}`, async () => {
    const [near, far] = [memoryFileSystem(), memoryFileSystem()]
    await near.mkdir('/tree')
    await write(near, '/tree/leaf', 'green')
    const client = await clientOf(far, { sftp: by === 'sftp', scp: true })
    let last = 0
    const put = await putFiles(client, near, '/tree', '/copy', {
      recursive: true,
      onProgress: ({ totalBytes }) => {
        last = totalBytes
      },
    })
    assert.equal(put, { files: 1, directories: 1, bytes: 5, by })
    assert.is(last, 5)
    assert.is(await read(far, '/copy/leaf'), 'green')
    assert.is((await getFiles(client, '/copy/leaf', near, '/back')).by, by)
    assert.is(await read(near, '/back'), 'green')
    await client.close()
  })
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => assert.unreachable('it was copied'),
    (error: unknown) => error,
  )
}

test('what scp cannot do, or could not, is an error', async () => {
  const [near, far] = [memoryFileSystem(), memoryFileSystem()]
  await write(near, '/file', 'text')
  const client = await clientOf(far, { sftp: false, scp: true })
  for (const options of [{ resume: true }, { links: 'copy' }] as const) {
    const error = await rejection(putFiles(client, near, '/file', '/file', options))
    assert.is((error as SftpError).status, STATUS.OP_UNSUPPORTED)
  }
  const missing = await rejection(getFiles(client, '/missing', near, '/x'))
  assert.instance(missing, SftpError)
  assert.match((missing as SftpError).message, /missing/)
  const told: string[] = []
  const onError = (path: string): void => void told.push(path)
  assert.is((await getFiles(client, '/missing', near, '/x', { onError })).files, 0)
  assert.equal(told, ['/missing'])
  await client.close()
})

test('a server with neither refuses', async () => {
  const client = await clientOf(memoryFileSystem(), { sftp: false, scp: false })
  const near = memoryFileSystem()
  await write(near, '/file', 'text')
  for (const attempt of [
    getFiles(client, '/x', near, '/x'),
    putFiles(client, near, '/file', '/x'),
  ]) {
    const error = await rejection(attempt)
    // That a command is not there shows in how soon its channel ends.
    assert.match((error as SftpError).code, /^SSH_(REQUEST_REFUSED|CONNECTION_LOST)$/)
  }
  await client.close()
})

test.run()
