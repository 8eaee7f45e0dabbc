/** `msb ssh relay`: one agent shared by other runs of `msb`. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { finished, msb, start, temporaryDirectory } from './msb.ts'

const guest = fileURLToPath(new URL('../dist/msb-guest.mjs', import.meta.url))

test('other runs of msb go through a relay until it is told to stop', async () => {
  const home = temporaryDirectory()
  const socket = join(home, 'agent.sock')
  const endpoint = `stdio:'${process.execPath}' '${guest}' --stdio`
  const relay = start(['ssh', 'relay', endpoint, '--listen', socket], home)
  const relayEnd = finished(relay)
  await new Promise<void>((resolve, reject) => {
    relay.stderr?.once('data', () => resolve())
    relay.once('exit', () => reject(new Error('the relay has ended')))
  })
  const words = ['one', 'two'].map((word) =>
    msb(['ssh', `unix:${socket}`, '--', 'echo', word], { home }),
  )
  const ends = await Promise.all(words)
  assert.equal(
    ends.map(({ code, stdout }) => [code, stdout.toString()]),
    [
      [0, 'one\n'],
      [0, 'two\n'],
    ],
  )
  relay.kill('SIGTERM')
  const { code, stderr, stdout } = await relayEnd
  assert.is(code, 0)
  assert.is(stdout.length, 0)
  assert.ok(stderr.startsWith(`   ✓ Relaying     ${endpoint} on ${socket}\n`), stderr)
  assert.not(existsSync(socket))
})

test('each signal ends it with 0; its socket and its agent go, and clients are told', async () => {
  const home = temporaryDirectory()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const socket = join(home, `${signal}.sock`)
    const endpoint = `stdio:'${process.execPath}' '${guest}' --stdio`
    const relay = start(['ssh', 'relay', endpoint, '--listen', socket], home)
    const relayEnd = finished(relay)
    await new Promise((resolve) => relay.stderr?.once('data', resolve))
    // The parent of a session's program is the agent.
    const client = start(['ssh', `unix:${socket}`, '--', 'echo $PPID; exec sleep 1000'], home)
    const clientEnd = finished(client)
    const pid = await new Promise((resolve) => client.stdout?.once('data', resolve))
    relay.kill(signal)
    assert.is((await relayEnd).code, 0, signal)
    assert.not(existsSync(socket), signal)
    const { code, stderr } = await clientEnd
    assert.is(code, 255, signal)
    assert.match(stderr, /^error: the sandbox closed the connection: .*\n$/)
    while (isAlive(Number(String(pid)))) await new Promise((resolve) => setTimeout(resolve, 20))
  }
})

/** One that has ended and that nobody waits for is a zombie, if the first process reaps none. */
function isAlive(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

test('what it cannot reach or make is said in a line', async () => {
  const home = temporaryDirectory()
  const nowhere = await msb(['ssh', 'relay', 'unix:/a', '--listen', '/no/such/agent.sock'], {
    home,
  })
  assert.is(nowhere.code, 1)
  assert.match(nowhere.stderr, /^error: cannot listen on \/no\/such\/agent\.sock: .*\n$/)
  const host = await msb(['ssh', 'relay', 'vsock:2:1', '--listen', join(home, 's')], { home })
  assert.is(host.code, 1)
  assert.match(host.stderr, /^error: vsock context 2 is the host itself, not a sandbox/)
})

test.run()
