// What a page does with a server behind a WebSocket proxy; browser.test.ts opens it.

import {
  connect,
  PublicKey,
  parsePrivateKey,
  pinned,
  publickey,
  webSocket,
} from '@sandbox-ssh/protocol'
import { openSftp } from '@sandbox-ssh/sftp'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const given = new URLSearchParams(location.search)

function want(name: string): string {
  const value = given.get(name)
  if (value === null) throw new Error(`the page was not given ${name}`)
  return value
}

// By its full name: nothing that runs on Node 20 may say it.
const socket = new globalThis.WebSocket(want('url'))
const client = await connect(webSocket(socket), {
  username: want('username'),
  hostKey: pinned(PublicKey.parse(want('hostKey'))),
  auth: [publickey(await parsePrivateKey(want('key')))],
})
test.after(() => client.close())

/** The same bytes each time, and no two blocks alike. */
function bytes(length: number): Uint8Array {
  const words = new Uint32Array(length / 4)
  for (let at = 0, word = 1; at < words.length; at++) {
    word = Math.imul(word, 1664525) + 1013904223
    words[at] = word
  }
  return new Uint8Array(words.buffer)
}

test('a command gets its input, and its output and status arrive', async () => {
  const data = bytes(5 << 20)
  const { code, stdout, stderr } = await client.run('cat; echo said >&2; exit 7', { stdin: data })
  assert.is(code, 7)
  assert.is(new TextDecoder().decode(stderr), 'said\n')
  assert.is(stdout.length, data.length)
  assert.ok(stdout.every((byte, at) => byte === data[at]))
})

test('a terminal has its size', async () => {
  const shell = await client.exec('stty size; exit 3', { pty: { columns: 91, rows: 37 } })
  assert.match(await new Response(shell.stdout).text(), /^37 91\r\n/)
  assert.is((await shell.exit).code, 3)
})

test('a file is written and read', async () => {
  const sftp = await openSftp(client)
  const path = `${want('folder')}/from a page`
  const data = bytes(1 << 20)
  await sftp.write(path, data)
  assert.is((await sftp.stat(path)).size, data.length)
  const back = await sftp.read(path)
  assert.ok(back.length === data.length && back.every((byte, at) => byte === data[at]))
  await sftp.remove(path)
  await sftp.close()
})

test.run()
