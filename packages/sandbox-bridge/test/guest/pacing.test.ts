// Input towards a guest that looks like microsandbox's agent: never more than fits, on the real
// kernel. Our guest without its extensions stands in for the agent; how much it holds for a
// program that does not read is what would have blocked the real one.
// Also on: bun

import { createHash } from 'node:crypto'
import { createServer } from 'node:net'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { AgentClient } from '../../src/agent/client.ts'
import { within } from '../within.ts'
import { bytesOf, connectGuest, readUntil, textOf } from './connect.ts'

const sh = (script: string) => ({ command: 'sh', args: ['-c', script] })

async function plainClient(): Promise<AgentClient> {
  return (await connectGuest({ features: [] })).client
}

/** True if `work` is still waiting once the client has said and heard enough to have gone on. */
async function waits(client: AgentClient, work: Promise<unknown>): Promise<boolean> {
  let done = false
  void work.then(() => {
    done = true
  })
  const program = await client.exec({ command: 'sleep', args: ['0.7'] })
  await program.exited
  return !done
}

test('a program that never reads gets what its pipe holds, and no more', async () => {
  const client = await plainClient()
  const deaf = await client.exec(sh('exec sleep 70'))
  const writing = deaf.write(new Uint8Array(1024 * 1024))
  assert.is(await waits(client, writing), true)
  // FIONREAD of its stdin: what was sent and is unread.
  const gauge =
    'use Fcntl; sysopen(F, "/proc/$ARGV[0]/fd/0", O_RDONLY | O_NONBLOCK) or die;' +
    '$n = pack("L", 0); ioctl(F, 0x541B, $n); print unpack("L", $n)'
  const asked = await client.exec({ command: 'perl', args: ['-e', gauge, `${deaf.pid}`] })
  const unread = Number(await textOf(asked))
  assert.ok(unread > 30_000 && unread <= 64 * 1024 - 4096, `${unread} bytes in the pipe`)
  deaf.signal('KILL')
  await within(5000, () => writing)
  await client.close()
})

test('a program that reads gets everything, fast or slowly', async () => {
  const client = await plainClient()
  const data = new Uint8Array(4 * 1024 * 1024)
  const fast = await client.exec({ command: 'wc', args: ['-c'] })
  await within(20_000, () => fast.write(data))
  await fast.end()
  assert.is((await textOf(fast)).trim(), `${data.length}`)
  const slow = await client.exec(sh('sleep 0.3; head -c 50000 | wc -c; sleep 0.3; wc -c'))
  await within(20_000, () => slow.write(data.subarray(0, 300_000)))
  await slow.end()
  assert.is(await within(20_000, () => textOf(slow)), '50000\n250000\n')
  await client.close()
})

test('a terminal that is not read gets a few kilobytes, one that is read everything', async () => {
  const client = await plainClient()
  const pty = { columns: 80, rows: 24 }
  const deaf = await client.exec({ ...sh('stty raw -echo; echo up; exec sleep 71'), pty })
  await readUntil(deaf, 'up')
  const writing = deaf.write(new Uint8Array(100_000).fill(97))
  assert.is(await waits(client, writing), true)
  deaf.signal('KILL')
  await within(5000, () => writing)
  const md5 = createHash('md5').update('a'.repeat(60_000)).digest('hex')
  const silent = await client.exec({
    ...sh('stty raw -echo; echo up; head -c 60000 | md5sum'),
    pty,
  })
  await readUntil(silent, 'up')
  await within(30_000, () => silent.write(new Uint8Array(60_000).fill(97)))
  assert.match(await within(10_000, () => textOf(silent)), new RegExp(md5))
  const echoing = await client.exec({ ...sh('echo up; cat >/dev/null'), pty })
  await readUntil(echoing, 'up')
  void textOf(echoing)
  await within(30_000, () => echoing.write(bytesOf('a line that is typed\n'.repeat(1500))))
  await echoing.end()
  assert.equal(await within(10_000, () => echoing.exited), { code: 0 })
  await client.close()
})

test('a connection whose peer does not read gets what its buffers hold', async () => {
  const client = await plainClient()
  let received = 0
  const deaf = createServer((socket) => socket.pause())
  const reader = createServer((socket) =>
    socket.on('data', (chunk) => {
      received += chunk.length
    }),
  )
  const portOf = async (server: typeof deaf): Promise<number> => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }
  try {
    const [deafPort, readerPort] = [await portOf(deaf), await portOf(reader)]
    const stuck = await client.tcpConnect('127.0.0.1', deafPort)
    const writing = stuck.write(new Uint8Array(64 * 1024 * 1024)).catch(() => {})
    assert.is(await waits(client, writing), true)
    const tcp = await client.tcpConnect('127.0.0.1', readerPort)
    await within(30_000, () => tcp.write(new Uint8Array(5_000_000)))
    await tcp.close()
    stuck.abort()
    await within(2000, () => writing)
    await within(2000, () => client.ping())
    while (received < 5_000_000) await new Promise((resolve) => setTimeout(resolve, 5))
  } finally {
    deaf.close()
    reader.close()
    await client.close()
  }
})

test('output that is not read stops its program, and it goes on when it is', async () => {
  const client = await plainClient()
  const program = await client.exec({ command: 'yes' })
  let held = 0
  const settled = await client.exec({ command: 'sleep', args: ['0.5'] })
  await settled.exited
  held = program.bufferedBytes
  const again = await client.exec(sh(`grep State /proc/${program.pid}/status`))
  assert.match(await textOf(again), /T \(stopped\)/)
  assert.is(program.bufferedBytes, held)
  let read = 0
  while (read < held + 1_000_000) read += (await within(5000, () => program.read()))?.length ?? 0
  program.discardOutput()
  program.signal('TERM')
  assert.equal(await within(5000, () => program.exited), { code: -1, signal: 'TERM' })
  await client.close()
})

test.run()
